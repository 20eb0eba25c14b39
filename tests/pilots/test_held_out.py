"""Pilots that choose: tested on held-out training images, with the correctness of each image."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import Split, validation_view
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.contents import PilotResult
from toolkit.pilots.foreground import run_pilot
from toolkit.pilots.request import PilotRequest, pilot_command
from toolkit.pilots.results import comparisons, describe, images_right
from toolkit.production.bundle import export_bundle
from toolkit.runs.folder import RunFolder
from toolkit.training.weights import load_network


def config(**changes: Any) -> PilotConfig:
    values: dict[str, Any] = {
        "dataset": "demo",
        "size": 16,
        "initial": 5,
        "increment": 5,
        "codec": "jpeg:quality=40",
        "budget": "3img",
        "steps": 6,
        "batch_size": 16,
    }
    return make_pilot_config(**{**values, **changes})


def by_class(right: np.ndarray, labels: np.ndarray) -> float:
    """Accuracy with equal weight for each class."""
    return float(np.mean([right[labels == label].mean() for label in np.unique(labels)]))


@pytest.fixture(scope="module")
def held(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, PilotResult]:
    runs_dir = tmp_path_factory.mktemp("runs")
    return runs_dir, run_pilot(config(held_out=True), 0, runs_dir)


def test_no_test_image_is_opened(
    tmp_path: Path, held: tuple[Path, PilotResult], monkeypatch: pytest.MonkeyPatch
) -> None:
    dataset = load_dataset("demo", 16)
    view = validation_view(dataset)
    assert held[1]["test_images"] == len(view.test) == 320
    noise = Split(np.zeros_like(dataset.test.images), dataset.test.labels[::-1].copy(), dataset.test.file_bytes)
    monkeypatch.setattr("toolkit.pilots.pilot.load_dataset", lambda *_, **__: replace(dataset, test=noise))
    again = run_pilot(config(held_out=True), 0, tmp_path)
    assert again["accuracy_matrix"] == held[1]["accuracy_matrix"]


@pytest.mark.parametrize("align", ["none", "both"])
def test_the_correctness_of_each_image_gives_the_accuracy(tmp_path: Path, align: str) -> None:
    result = run_pilot(config(align=align), 1, tmp_path)
    right = images_right(result)
    assert right is not None
    labels = load_dataset("demo", 16).test.labels
    assert right.shape == labels.shape
    assert by_class(right, labels) == pytest.approx(result["last_accuracy"])
    if align == "none":  # from the saved network alone
        dataset = load_dataset("demo", 16)
        (path,) = tmp_path.glob("*/network.pt")
        with torch.inference_mode():
            scores = load_network(path)(torch.from_numpy(np.array(dataset.test.images)).permute(0, 3, 1, 2))
        predicted = np.array(result["class_order"])[scores.argmax(dim=1).numpy()]
        assert np.mean((predicted == labels) == right) > 0.99  # float32 instead of bfloat16


def test_held_out_images_are_those_of_the_validation_view(held: tuple[Path, PilotResult]) -> None:
    labels = validation_view(load_dataset("demo", 16)).test.labels
    right = images_right(held[1])
    assert right is not None
    assert by_class(right, labels) == pytest.approx(held[1]["last_accuracy"])
    del (old := dict(held[1]))["correct"]
    assert images_right(old) is None  # type: ignore[arg-type]


def test_held_out_pilots_are_compared_with_their_like_alone(held: tuple[Path, PilotResult]) -> None:
    run_pilot(config(), 0, held[0])
    runs = [RunFolder(path) for path in sorted(held[0].glob("pilot-*"))]
    groups = comparisons(runs, "demo", 16)
    assert sorted(group.common["held_out"] for group in groups) == [False, True]
    assert sorted(describe(group.common).endswith("tested on held-out training images") for group in groups) == [
        False,
        True,
    ]


def test_the_command_repeats_it_and_a_bundle_refuses_it(held: tuple[Path, PilotResult], tmp_path: Path) -> None:
    assert pilot_command(config(held_out=True), [0]).count("--held-out ") == 1
    assert "--held-out" not in pilot_command(config(), [0])
    (run,) = [RunFolder(path) for path in held[0].glob("pilot-*") if PilotRequest.of(RunFolder(path)).config.held_out]
    with pytest.raises(UsageError, match="held out a fifth of the training images for a choice"):
        export_bundle(run, tmp_path / "bundle")


def test_a_wrong_number_of_bits_is_a_damaged_result(held: tuple[Path, PilotResult]) -> None:
    request = PilotRequest(config(held_out=True), 0)
    run = request.folder_at(held[0])
    assert run is not None
    whole = run.result_path.read_text()
    try:
        run.result_path.write_text(whole.replace(held[1]["correct"], held[1]["correct"][2:]))
        with pytest.raises(WorkError, match="correct must have a bit for each of test_images"):
            request.folder_at(held[0])
    finally:
        run.result_path.write_text(whole)
