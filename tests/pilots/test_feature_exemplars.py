"""Pilots that replay stored features instead of images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from toolkit.codecs.features import StoresFeatures
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.features.extractor import build_extractor
from toolkit.foundation.errors import UsageError
from toolkit.memory.store import ExemplarMemory
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.foreground import run_pilot
from toolkit.probe.table import probe_codecs
from toolkit.production.build import build_memory
from toolkit.training.weights import load_network


def config(checkpoint: str, **changes: object) -> PilotConfig:
    usual: dict[str, object] = {
        "dataset": "demo",
        "size": 16,
        "initial": 4,
        "increment": 3,
        "codec": "features:bits=4",
        "budget": "30img",
        "steps": 12,
        "batch_size": 16,
        "network": checkpoint,
        "tune": "head",
    }
    return make_pilot_config(**{**usual, **changes})


@pytest.mark.parametrize(
    ("changes", "problem"),
    [
        ({"tune": "all"}, "features:bits=4 stores outputs of frozen layers, but replay trains all of checkpoint:"),
        ({"network": "auto", "tune": "all"}, "take tune=head or last-block, or an image codec"),
        ({"method": "icarl", "tune": "all"}, "but icarl trains all of"),
        ({"method": "ncm"}, "but stage0 is trained: take an extractor timm:NAME or checkpoint:PATH"),
        ({"views": 2}, "features:bits=4 stores one view of an image: take views=1"),
        ({"codec": "features:bits=5"}, "bits must be 2|4|8|16"),
    ],
)
def test_configurations_that_train_the_stored_layers_are_one_line(
    checkpoint: str, changes: dict[str, object], problem: str
) -> None:
    with pytest.raises(UsageError) as error:
        config(checkpoint, **changes)
    assert problem in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize("tune", ["head", "last-block"])
def test_exact_features_train_as_the_images_do(checkpoint: str, tune: str, tmp_path: Path) -> None:
    images, features = (
        run_pilot(config(checkpoint, codec=codec, tune=tune, views=1, budget="2000img"), 0, tmp_path)
        for codec in ("raw", "features:bits=16")
    )
    assert features["exemplars"] == images["exemplars"]  # all of them
    assert features["accuracy_matrix"] == images["accuracy_matrix"]
    assert features["accuracy_on_coded"] == images["accuracy_on_original"]


@pytest.mark.parametrize("align", ["none", "train", "both"])
@pytest.mark.parametrize("method", ["replay", "icarl", "derpp"])
def test_methods_that_train_above_the_layers_replay_features(
    checkpoint: str, method: str, align: str, tmp_path: Path
) -> None:
    chosen = config(checkpoint, method=method, align=align)
    result = run_pilot(chosen, 0, tmp_path)
    assert result["memory_bytes"] <= result["budget_bytes"]
    with ExemplarMemory(tmp_path / result["run_dir"] / "memory.recall") as memory:
        features, labels, damaged = memory.decode_all()
        assert memory.verify() == damaged == []
    assert features.shape == (sum(result["exemplars"]), 64)
    # the stored features of a class are near those of the whole network in float32
    network = load_network(Path(checkpoint.removeprefix("checkpoint:")))
    train = load_dataset("demo", 16).train
    with torch.inference_mode():
        images = torch.from_numpy(np.array(train.images)).permute(0, 3, 1, 2)
        expected = network.features(images).numpy()
    for label in range(10):
        of_class = expected[train.labels == label]
        nearest = np.square(features[labels == label][:, None] - of_class[None]).mean(axis=2).min(axis=1)
        assert nearest.mean() < 0.02 * of_class.var()


def test_methods_on_frozen_features_use_them(checkpoint: str, tmp_path: Path) -> None:
    result = run_pilot(config(checkpoint, method="ncm", extractor=checkpoint), 0, tmp_path)
    assert sum(result["exemplars"]) > 0


def test_the_probe_measures_features_without_pixels(checkpoint: str) -> None:
    demo = load_dataset("demo", 16)
    extractor = build_extractor(checkpoint, demo, device=torch.device("cpu"))
    settings = ["raw", "features:bits=2", "features:bits=8"]
    table = probe_codecs(demo, settings, budget=100_000, extractor=extractor, images=120)
    raw, coarse, fine = table["settings"]
    assert (coarse["psnr"], coarse["ssim"], fine["psnr"]) == (None, None, None)
    assert (coarse["stored_bytes"], fine["stored_bytes"]) == (64 * 2 / 8, 64)
    assert 0.2 > coarse["fmse_relative"] > 20 * fine["fmse_relative"] > 0
    assert fine["exemplars"] > raw["exemplars"]
    trained = build_extractor("random", demo, device=torch.device("cpu"))
    with pytest.raises(UsageError, match="extractor random has no frozen layers whose outputs could be stored"):
        probe_codecs(demo, settings, budget=100_000, extractor=trained, images=120)


@pytest.mark.parametrize("selection", ["herding", "random"])
def test_a_memory_is_built_from_features(checkpoint: str, selection: str, tmp_path: Path) -> None:
    path = tmp_path / "memory.recall"
    facts = build_memory(
        "demo", path, codec="features:bits=4", budget="20KiB", size=16, extractor=checkpoint, selection=selection
    )
    assert facts["file_bytes"] <= 20 * 1024
    with ExemplarMemory(path) as memory:
        assert isinstance(memory.codec, StoresFeatures)
        assert memory.decode_all()[0].shape == (facts["exemplars"], 64)


def test_what_needs_pictures_refuses_features(checkpoint: str, tmp_path: Path) -> None:
    from toolkit.probe.images import measure_images
    from toolkit.probe.inspection import inspect_image
    from toolkit.production.build_sharded import build_sharded_memory
    from toolkit.production.bundle import export_bundle
    from toolkit.runs.folder import RunFolder

    demo = load_dataset("demo", 16)
    extractor = build_extractor(checkpoint, demo, device=torch.device("cpu"))
    reason = "it stores features, from which no image can be decoded"
    with pytest.raises(UsageError, match=f"a measurement of single images cannot use features:bits=4: {reason}"):
        measure_images(demo, "features:bits=4", extractor)
    with pytest.raises(UsageError, match=f"a page of images cannot use features:bits=4: {reason}"):
        inspect_image(str(parse_codec("features")), np.asarray(demo.train.images[0]))
    with pytest.raises(UsageError, match=f"a sharded memory cannot use features:bits=4: {reason}"):
        build_sharded_memory("demo", tmp_path / "sharded", codec="features", budget="1MiB")
    result = run_pilot(config(checkpoint), 0, tmp_path)
    with pytest.raises(UsageError, match=f"a bundle cannot use features:bits=4: {reason}"):
        export_bundle(RunFolder(tmp_path / result["run_dir"]), tmp_path / "bundle")
