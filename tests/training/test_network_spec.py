"""Specs of networks."""

from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.foundation.errors import UsageError
from toolkit.training.network_spec import canonical_network, parse_network, starts_trained


@pytest.mark.parametrize(
    ("spec", "canonical", "trained"),
    [
        ("resnet8", "resnet8", False),
        ("timm:resnet18", "timm:resnet18", True),
        ("timm:resnet18,pretrained=yes", "timm:resnet18", True),
        ("timm:resnet18,pretrained=no", "timm:resnet18,pretrained=no", False),
        ("checkpoint:/a/b.pt", "checkpoint:/a/b.pt", True),
        ("checkpoint:/a,b.pt,network=timm:resnet18", "checkpoint:/a,b.pt,network=timm:resnet18", True),
        (
            "checkpoint:/a.pt,std=0.5,network=torchvision:resnet50,mean=0.4/0.5/0.6",
            "checkpoint:/a.pt,network=torchvision:resnet50,mean=0.4/0.5/0.6,std=0.5/0.5/0.5",
            True,
        ),
    ],
)
def test_specs_are_written_in_one_way(spec: str, canonical: str, trained: bool) -> None:
    assert str(parse_network(spec)) == canonical
    assert str(parse_network(canonical)) == canonical
    assert starts_trained(spec) == trained


def test_the_path_of_a_checkpoint_becomes_absolute(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    assert str(parse_network("checkpoint:n.pt")) == f"checkpoint:{tmp_path / 'n.pt'}"


@pytest.mark.parametrize(("size", "expected"), [(32, "auto"), (95, "auto"), (96, "timm:tf_efficientnet_lite0")])
def test_auto_is_the_pretrained_network_from_96_pixels_on(size: int, expected: str) -> None:
    assert canonical_network("auto", size) == expected
    assert canonical_network("resnet8", size) == "resnet8"
    assert not starts_trained("auto")


@pytest.mark.parametrize(
    "spec",
    [
        "resnet18",
        "timm:",
        "timm:resnet18,weights=no",
        "timm:resnet18,pretrained=maybe",
        "checkpoint:",
        "checkpoint:/a.pt,network=resnet18",
        "checkpoint:/a.pt,network=timm:",
        "checkpoint:/a.pt,network=timm:a,network=timm:b",
        "checkpoint:/a.pt,mean=1/2",
        "checkpoint:/a.pt,mean=red",
        "checkpoint:/a.pt,std=0",
        "checkpoint:/a.pt,mean=nan",
        "",
    ],
)
def test_wrong_specs_are_one_line(spec: str) -> None:
    with pytest.raises(UsageError) as error:
        parse_network(spec)
    assert "\n" not in str(error.value)
