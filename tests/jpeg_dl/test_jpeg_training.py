"""Training with the layer: variants, resuming, and errors."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
import torch
from jpeg_samples import small_config

from toolkit.foundation.errors import UsageError, WorkError
from toolkit.jpeg_dl.config import CONTROLS
from toolkit.jpeg_dl.experiment import load_trained
from toolkit.jpeg_dl.foreground import run_jpeg
from toolkit.jpeg_dl.request import JPEGRequest
from toolkit.runs.execution import carry_out
from toolkit.runs.folder import RunFolder


def without_times(result: dict[str, Any]) -> str:
    kept = {name: value for name, value in result.items() if name not in ("seconds", "run_dir")}
    if "runs" in kept:
        kept["runs"] = [without_times(run) for run in kept["runs"]]
    return json.dumps(kept, sort_keys=True)


def test_every_variant_is_trained_and_measured(trained: tuple[RunFolder, dict[str, Any]]) -> None:
    run, result = trained
    assert list(result["variants"]) == ["plain", "jpeg", *CONTROLS]
    (record,) = result["runs"]
    for name in ("jpeg", "standard", "ste", "noise", "unclipped"):
        measured = record["variants"][name]
        assert 0 <= measured["soft_accuracy"] <= 1
        assert 0 <= measured["hard_accuracy"] <= 1
        assert measured["bits_per_pixel"] > 0
        assert 0 <= measured["clip_rate"]["initial"]["luma"] <= 1
        if name in ("unclipped", "noise", "standard"):
            assert set(measured["clip_rate"]["final"].values()) == {0}
        tables = torch.tensor([measured["tables"]["luma"], measured["tables"]["chroma"]])
        start = torch.tensor([measured["initial_tables"]["luma"], measured["initial_tables"]["chroma"]])
        assert (tables != start).any() == (name != "standard")
    assert "tables" not in record["variants"]["plain"]
    assert result["variants"]["jpeg"]["ci95"]["accuracy"] is None
    assert record["rate_estimate"]["rank_correlation"] > 0.95
    assert not list(run.path.glob("*checkpoint*"))


def test_the_standard_control_has_nearly_the_learned_rate(trained: tuple[RunFolder, dict[str, Any]]) -> None:
    variants = trained[1]["runs"][0]["variants"]
    assert variants["standard"]["bits_per_pixel"] == pytest.approx(variants["jpeg"]["bits_per_pixel"], rel=0.05)


def test_a_finished_variant_is_loaded_with_its_tables(trained: tuple[RunFolder, dict[str, Any]]) -> None:
    run, result = trained
    _, network, layer = load_trained(run, "ste")
    assert layer is not None
    assert layer.mode == "ste"
    assert layer.tables()[0].tolist() == result["runs"][0]["variants"]["ste"]["tables"]["luma"]
    assert network(torch.zeros(1, 3, 16, 16)).shape == (1, 10)
    assert load_trained(run, "plain")[2] is None


def test_seeds_give_means_and_paired_gains(tmp_path: Path) -> None:
    result = run_jpeg(small_config(variants=("plain", "jpeg"), steps=2), [0, 1, 2], tmp_path)
    accuracies = [run["variants"]["jpeg"]["accuracy"] for run in result["runs"]]
    gains = [run["variants"]["jpeg"]["accuracy"] - run["variants"]["plain"]["accuracy"] for run in result["runs"]]
    assert result["variants"]["jpeg"]["mean"]["accuracy"] == pytest.approx(sum(accuracies) / 3)
    assert result["variants"]["jpeg"]["mean"]["gain_over_plain"] == pytest.approx(sum(gains) / 3)
    assert result["variants"]["jpeg"]["ci95"]["accuracy"] is not None


def test_a_stopped_training_resumes_to_the_same_result(tmp_path: Path) -> None:
    config = small_config(variants=("plain", "jpeg"), init="quality=50", rate_weight=0.01, bits=12, alpha=0.05)
    whole = run_jpeg(config, [0], tmp_path / "whole")["runs"][0]

    class Killed(Exception):
        pass

    stops = iter([("training plain", 5), ("training jpeg", 7)])
    stop = next(stops)

    def progress(what: str, done: int, total: int) -> None:
        nonlocal stop
        if (what, done) == stop:
            stop = next(stops, ("", 0))
            raise Killed

    for _ in range(2):
        with pytest.raises(Killed):
            run_jpeg(config, [0], tmp_path / "parts", progress)
    parts = run_jpeg(config, [0], tmp_path / "parts", progress)["runs"][0]
    assert without_times(parts) == without_times(whole)


def test_tables_alone_can_be_trained(tmp_path: Path) -> None:
    config = small_config(variants=("plain", "jpeg"), start="plain", freeze=True, init="quality=30", alpha=0.01)
    run_jpeg(config, [0], tmp_path)
    run = RunFolder(tmp_path / config.run_name(0))
    _, plain, _ = load_trained(run, "plain")
    _, network, layer = load_trained(run, "jpeg")
    for name, value in plain.state_dict().items():
        assert torch.equal(network.state_dict()[name], value), name
    assert layer is not None
    record = run.result["variants"]["jpeg"]
    assert record["tables"] != record["initial_tables"]


def test_runs_of_a_folder_share_the_plain_network(tmp_path: Path) -> None:
    run_jpeg(small_config(variants=("plain", "jpeg"), steps=3), [0], tmp_path)
    trained: list[str] = []
    other = small_config(variants=("plain", "jpeg"), steps=3, init="ones")
    run_jpeg(other, [0], tmp_path, lambda what, done, total: trained.append(what))
    assert "training jpeg" in trained
    assert "training plain" not in trained
    alone = run_jpeg(other, [0], tmp_path / "alone")
    assert without_times(run_jpeg(other, [0], tmp_path)) == without_times(alone)


def test_held_out_images_come_from_the_training_split(tmp_path: Path) -> None:
    result = run_jpeg(small_config(variants=("plain",), steps=1, held_out=True), [0], tmp_path)
    assert result["runs"][0]["tested_on"] == "held-out training images"


def test_images_may_pass_a_codec_first(tmp_path: Path) -> None:
    sizes = [
        run_jpeg(small_config(variants=("plain",), steps=1, codec=codec), [0], tmp_path)["runs"][0]["test_image_bytes"]
        for codec in ("raw", "jpeg:quality=10")
    ]
    assert sizes[0] == 3 * 16 * 16
    assert sizes[1] < 150


def test_a_nan_loss_stops_with_step_and_checkpoint(tmp_path: Path) -> None:
    config = small_config(variants=("plain",), steps=60, checkpoint_every=1, lr=1e12)
    with pytest.raises(WorkError, match=r"plain: the loss is nan at step 25.*last good checkpoint is plain-checkpoint"):
        run_jpeg(config, [0], tmp_path)
    run = RunFolder(tmp_path / config.run_name(0))
    assert run.status() == "failed"
    assert "last good checkpoint" in run.error()


def test_weights_of_another_network_are_refused(trained: tuple[RunFolder, dict[str, Any]], tmp_path: Path) -> None:
    other = small_config(variants=("plain", "jpeg"), steps=1, network="resnet20")
    run_jpeg(other, [0], tmp_path)
    run = RunFolder(tmp_path / other.run_name(0))
    saved = torch.load(run.path / "jpeg.pt", weights_only=True)
    torch.save({"network": "resnet8", "state_dict": saved["state_dict"]}, run.path / "jpeg.pt")
    with pytest.raises(UsageError, match="does not hold the weights of a resnet8 classifier"):
        load_trained(run, "jpeg")
    torch.save({"something": 1}, run.path / "plain.pt")
    with pytest.raises(UsageError, match="expected"):
        load_trained(run, "plain")


@pytest.mark.parametrize("content", [b"no weights", None])
def test_a_damaged_layer_is_refused(
    trained: tuple[RunFolder, dict[str, Any]], content: bytes | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, _ = trained
    path = run.path / "noise-layer.pt"
    kept = path.read_bytes()
    try:
        if content is None:
            torch.save({"steps": torch.ones(3)}, path)
        else:
            path.write_bytes(content)
        with pytest.raises(UsageError, match=r"not plain weights|is not the state of a JPEG layer"):
            load_trained(run, "noise")
    finally:
        path.write_bytes(kept)


def test_a_missing_variant_is_named(trained: tuple[RunFolder, dict[str, Any]]) -> None:
    with pytest.raises(UsageError, match="has no trained variant 'dct': it has plain, jpeg, standard"):
        load_trained(trained[0], "dct")


@pytest.mark.parametrize(
    ("choices", "message"),
    [
        ({"init": "quality=0"}, "init: must be one of ones, quality=Q"),
        ({"init": "random"}, "init: must be one of ones, quality=Q"),
        ({"alpha": 0}, "alpha: Input should be greater than 0, got 0"),
        ({"alpha": -2.0}, "alpha: Input should be greater than 0"),
        ({"alpha": float("nan")}, "alpha: "),
        ({"size": 7}, "size must be 8..1024 pixels, got 7"),
        ({"variants": ("plain", "dct")}, "variants: dct is not one of plain, jpeg"),
        ({"variants": ("jpeg", "plain")}, "variants: plain must come first"),
        ({"variants": ("plain", "standard")}, "variants: standard uses the rate of jpeg"),
        ({"freeze": True}, "freeze needs start=plain"),
        ({"codec": "jpeg:quality=0"}, "quality must be 1..100"),
        ({"rate_weight": -1}, "rate_weight: "),
        ({"bits": 2}, "bits: Input should be greater than or equal to 3, got 2"),
        ({"bits": 13}, "bits: Input should be less than or equal to 12, got 13"),
        ({"lr": float("inf")}, "lr: Input should be a finite number, got inf"),
        ({"table_lr": float("inf")}, "table_lr: Input should be a finite number, got inf"),
        ({"weight_decay": float("inf")}, "weight_decay: Input should be a finite number, got inf"),
        ({"codec": "jpeg:quality=0"}, "^codec: jpeg: quality must be 1..100, got '0'$"),
    ],
)
def test_impossible_configurations_are_refused(choices: dict[str, Any], message: str) -> None:
    with pytest.raises(UsageError, match=message):
        small_config(**choices)


@pytest.mark.skipif(torch.cuda.is_available(), reason="there is a CUDA device")
def test_cuda_is_refused_without_a_device(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="device cuda was requested"):
        run_jpeg(small_config(device="cuda"), [0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_an_unknown_network_is_refused_before_anything_is_written(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="or timm:NAME, got 'resnet9'"):
        run_jpeg(small_config(network="resnet9"), [0], tmp_path)
    assert not list(tmp_path.iterdir())


def test_a_finished_run_is_only_read(trained: tuple[RunFolder, dict[str, Any]]) -> None:
    run, result = trained
    assert carry_out(JPEGRequest.of(run), run) == result["runs"][0]
