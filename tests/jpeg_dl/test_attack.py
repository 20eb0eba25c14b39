"""A finished training under attack."""

from __future__ import annotations

from typing import Any

import pytest

from toolkit.foundation.errors import UsageError
from toolkit.jpeg_dl.attack import attack_run
from toolkit.jpeg_dl.request import AttackRequest
from toolkit.runs.folder import RunFolder


def test_the_report_names_run_variant_and_every_attack(trained: tuple[RunFolder, dict[str, Any]]) -> None:
    run, _ = trained
    report = attack_run(run, eps=(2 / 255,), images=6, queries=3, device="cpu")
    assert report["run"] == run.name
    assert report["variant"] == "jpeg"
    for model in ("plain", "layered"):
        found = report["models"][model]
        assert found["worst"][0] <= min(row[0] for row in found["attacks"].values())


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"mode": "ste"}, "mode must be one of soft, hard, got 'ste'"),
        ({"variant": "zero-dc"}, "zero-dc has no quantiser to attack"),
        ({"variant": "plain"}, "plain has no quantiser to attack"),
        ({"eps": (0.0,)}, "eps"),
        ({"eps": (2.0,)}, "eps"),
    ],
)
def test_impossible_attacks_are_refused(
    trained: tuple[RunFolder, dict[str, Any]], choices: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        attack_run(trained[0], **{"eps": (1 / 255,), "images": 4, "queries": 2, "device": "cpu", **choices})


@pytest.mark.parametrize("eps", ["0", "1,0,2", "-1", "300", "nan"])
def test_bounds_are_refused_in_their_given_units(eps: str) -> None:
    with pytest.raises(UsageError) as caught:
        AttackRequest("x", eps=eps).bounds()
    assert str(caught.value) == f"eps must be above 0 and at most 255, in units of 1/255, got {eps!r}"
