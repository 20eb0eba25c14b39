"""Pilots on pretrained networks: defaults, frozen layers, and configurations that make no sense."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from toolkit.data.catalog import load_dataset
from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import cache_root
from toolkit.pilots import learner, pools
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.foreground import run_pilot
from toolkit.training.weights import load_network

PRETRAINED = "timm:tf_efficientnet_lite0"


def config(**changes: object) -> PilotConfig:
    usual: dict[str, object] = {
        "dataset": "demo",
        "size": 96,
        "initial": 4,
        "increment": 3,
        "codec": "jpeg:quality=30",
        "budget": "0.5img",
        "steps": 12,
        "batch_size": 16,
        "views": 2,
    }
    return make_pilot_config(**{**usual, **changes})


def test_from_96_pixels_on_the_head_of_the_pretrained_network_is_trained_by_default() -> None:
    shared = {"dataset": "demo", "initial": 2, "increment": 2, "codec": "raw", "budget": "2img"}
    small = make_pilot_config(size=64, **shared)
    assert (small.network, small.tune, small.optimizer, small.lr, small.steps) == ("auto", "all", "sgd", 0.1, 200)
    large = make_pilot_config(size=96, **shared)
    assert (large.network, large.tune, large.views) == (PRETRAINED, "head", 1)
    assert (large.optimizer, large.lr, large.steps, large.batch_size, large.extractor) == (
        "sgd",
        0.1,
        200,
        128,
        "stage0",
    )
    block = make_pilot_config(size=96, tune="last-block", **shared)
    assert (block.optimizer, block.lr, block.steps, block.batch_size) == ("adamw", 1e-3, 50, 32)
    given = config(tune="last-block", lr=0.5, optimizer="sgd", views=1)
    assert (given.lr, given.optimizer, given.views, given.weight_decay) == (0.5, "sgd", 1, 0.01)
    whole = make_pilot_config(size=96, tune="all", **shared)
    assert (whole.backbone_lr, whole.batch_size) == (0.1, 32)
    random = config(network="resnet8")
    assert (random.tune, random.optimizer) == ("all", "sgd")


def test_frozen_features_and_guided_codecs_use_the_pretrained_network_from_96_pixels_on() -> None:
    assert config(method="ncm").extractor == PRETRAINED
    assert config(codec="foreground|jpeg:quality=50").extractor == PRETRAINED
    assert config(method="ncm", extractor="stage0").extractor == "stage0"
    assert config(method="ncm", size=64).extractor == "stage0"


def test_a_stored_configuration_keeps_its_meaning() -> None:
    stored = {"dataset": "demo", "size": 128, "initial": 2, "increment": 2, "codec": "raw", "budget": "2img"}
    kept = PilotConfig.model_validate({**stored, "network": "auto"})
    assert (kept.network, kept.tune, kept.optimizer) == ("auto", "all", "sgd")


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"network": "resnet8", "tune": "head"}, "tune=head freezes layers with random weights"),
        (
            {"network": "timm:resnet18,pretrained=no", "tune": "last-block"},
            "tune=last-block freezes layers with random",
        ),
        ({"method": "der"}, "der changes more than a head: take tune=last-block or all"),
        ({"method": "podnet", "tune": "head"}, "podnet changes more than a head"),
        ({"network": "best"}, "timm:NAME or checkpoint:PATH,network=NAME, got 'best'"),
        ({"network": "timm:resnet18,pretrained=perhaps"}, "pretrained must be yes|no"),
        ({"extractor": "timm:"}, "unknown extractor"),
        ({"tune": "tail"}, "tune: "),
        ({"views": 0}, "views: "),
        ({"views": 11}, "views: "),
        ({"optimizer": "lion"}, "optimizer: "),
        ({"budget": "0.0001img"}, "a size must be"),
    ],
)
def test_configurations_that_make_no_sense_are_one_line(changes: dict[str, object], problem: str) -> None:
    with pytest.raises(UsageError) as error:
        config(**changes)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


TUNED = {"head": set(), "last-block": {"stage3"}, "all": {"conv1", "bn1", "stage1", "stage2", "stage3"}}


@pytest.mark.parametrize("tune", list(TUNED))
def test_the_saved_network_is_the_whole_one(checkpoint: str, tune: str, tmp_path: Path) -> None:
    result = run_pilot(config(size=16, network=checkpoint, tune=tune, steps=30), 0, tmp_path)
    assert (result["network"], result["weights"]) == ("resnet8", "file n.pt")
    saved = load_network(tmp_path / result["run_dir"] / "network.pt")
    test = load_dataset("demo", 16).test
    images = torch.from_numpy(np.array(test.images)).permute(0, 3, 1, 2)
    with torch.inference_mode():
        found = np.array(result["class_order"])[saved(images).argmax(dim=1)]
    # in float32 here, frozen layers in bfloat16 there
    assert float((found == test.labels).mean()) == pytest.approx(result["accuracy_on_original"], abs=0.03)
    before = load_network(Path(checkpoint.removeprefix("checkpoint:"))).backbone.state_dict()
    after = saved.backbone.state_dict()
    assert {name.split(".")[0] for name in before if not torch.equal(before[name], after[name])} == TUNED[tune]


@pytest.mark.parametrize("method", ["icarl", "bic", "wa", "er-ace", "derpp", "joint", "finetune"])
def test_methods_train_on_frozen_layers(checkpoint: str, method: str, tmp_path: Path) -> None:
    result = run_pilot(config(size=16, network=checkpoint, tune="head", method=method), 0, tmp_path)
    assert result["optimizer_steps"] == 12 * 3


@pytest.mark.parametrize("method", ["podnet", "memo", "der", "foster"])
def test_methods_that_add_layers_train_on_the_last_block(checkpoint: str, method: str, tmp_path: Path) -> None:
    result = run_pilot(config(size=16, network=checkpoint, tune="last-block", method=method), 0, tmp_path)
    assert result["optimizer_steps"] == 12 * 3


@pytest.mark.parametrize("align", ["none", "both"])
def test_exemplars_that_do_not_fit_into_memory_are_read_per_batch_with_the_same_result(
    checkpoint: str, align: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config(size=16, network=checkpoint, tune="last-block", align=align, steps=4)
    held = run_pilot(chosen, 0, tmp_path / "held")
    monkeypatch.setattr(pools, "DECODED_SHARE", 0.0)
    streamed = run_pilot(chosen, 0, tmp_path / "streamed")
    assert (held["exemplars_decoded"], streamed["exemplars_decoded"]) == ("once a stage", "for each batch")
    assert streamed["accuracy_matrix"] == held["accuracy_matrix"]


def test_other_seeds_and_methods_compute_nothing_again(
    checkpoint: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    shared = config(size=16, network=checkpoint, tune="head", budget="100img", codec="jpeg:quality=31", views=1)
    run_pilot(shared, 0, tmp_path)

    def refuse(self: object, images: torch.Tensor) -> torch.Tensor:
        raise AssertionError("computed again")

    monkeypatch.setattr("toolkit.training.trunk.Trunk.__call__", refuse)
    run_pilot(shared, 1, tmp_path)
    run_pilot(shared.model_copy(update={"method": "icarl"}), 2, tmp_path)


@pytest.mark.parametrize("method", ["ncm", "ridge"])
def test_frozen_methods_read_the_features_of_an_extractor_from_elsewhere_from_the_cache(
    checkpoint: str, method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    chosen = config(size=16, method=method, extractor=checkpoint)
    cached = run_pilot(chosen, 0, tmp_path / "cached")
    assert list((cache_root() / "activations").glob("*.sqlite"))
    monkeypatch.setattr(learner, "tuned_part", lambda config: "all")  # the whole network for every batch, in float32
    plain = run_pilot(chosen, 0, tmp_path / "plain")
    assert cached["last_accuracy"] == pytest.approx(plain["last_accuracy"], abs=0.03)
    assert sum(cached["exemplars"]) == pytest.approx(sum(plain["exemplars"]), abs=3)  # herding in bfloat16


@pytest.mark.slow
def test_the_pretrained_network_learns_the_demo_in_a_few_steps(tmp_path: Path) -> None:
    result = run_pilot(config(steps=30, budget="20img"), 0, tmp_path)
    assert result["weights"].startswith("ImageNet-1k")
    assert result["last_accuracy"] > 0.3  # chance is 0.1
