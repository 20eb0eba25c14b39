"""Reading unfinished and finished runs."""

from __future__ import annotations

from pathlib import Path

import pytest
from run_samples import pilot_config, pilot_folder

from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import write_json
from toolkit.jobs.kinds import LIGHT_KINDS
from toolkit.jobs.listing import list_runs
from toolkit.jpeg_dl.config import make_jpeg_config
from toolkit.jpeg_dl.request import AttackRequest, ExportRequest, JPEGRequest, open_training
from toolkit.jpeg_dl.results import trainings
from toolkit.pilots.results import accuracy_so_far, comparisons, differences, losses_so_far, setting_name


def test_accuracy_so_far_weights_classes_equally_on_the_images_of_the_alignment(tmp_path: Path) -> None:
    config = pilot_config(codec="jpeg:quality=50", align="both", initial=4, increment=4)
    run = pilot_folder(tmp_path, config, 0)
    run.log("stage", stage=0, accuracy={"original": [0.1], "coded": [0.8]}, memory={})
    run.log("stage", stage=1, accuracy={"original": [0.1, 0.1], "coded": [0.5, 0.7]}, memory={})
    run.log("stage", stage=2, accuracy={"original": [0.1] * 3, "coded": [0.4, 0.4, 0.9]}, memory={})
    expected = [0.8, (4 * 0.5 + 4 * 0.7) / 8, (4 * 0.4 + 4 * 0.4 + 2 * 0.9) / 10]
    assert accuracy_so_far(run, config, classes=10) == pytest.approx(expected)


def test_losses_so_far_exclude_progress_of_other_work(tmp_path: Path) -> None:
    run = pilot_folder(tmp_path, pilot_config(), 0)
    run.log("progress", what="decoding", done=5, total=10)
    run.log("progress", what="training", done=10, total=20, loss=2.5)
    run.log("progress", what="training", done=20, total=20, loss=1.5)
    assert losses_so_far(run) == [(10, 2.5), (20, 1.5)]


def test_differences_contain_only_differing_fields() -> None:
    rows = [{"a": 1, "b": 2}, {"a": 1, "b": 3, "c": 4}]
    assert differences(rows) == {"b": [2, 3], "c": [None, 4]}
    assert differences(rows[:1]) == {}


def test_a_lossless_setting_is_named_without_alignment() -> None:
    assert setting_name("png", "both") == "png"
    assert setting_name("jpeg:quality=50", "both") == "jpeg:quality=50, align both"


def test_a_comparison_gives_one_command_per_configuration_with_all_seeds(tmp_path: Path) -> None:
    for seed in (1, 0):
        pilot_folder(tmp_path, pilot_config(), seed, 0.4)
    (found,) = comparisons(list_runs(tmp_path, "pilot"), "demo", 32)
    (command,) = found.commands(tmp_path)
    assert "--codec raw" in command
    assert command.endswith(f"--seeds 0,1 --runs-dir {tmp_path}")


def test_a_comparison_names_the_versions_that_encoded_its_runs(tmp_path: Path) -> None:
    for seed, libraries in enumerate(
        (
            {"imagecodecs": "2026.1.14", "pillow": "12.0.0", "torch": "2.15.0"},
            {"imagecodecs": "2026.1.14", "pillow": "13.0.0"},
            {"imagecodecs": "2026.1.14", "pillow": "13.0.0"},
            {"torch": "2.15.0"},
            None,
        )
    ):
        run = pilot_folder(tmp_path, pilot_config(), seed, 0.5)
        if libraries is not None:
            write_json(run.path / "environment.json", {"libraries": libraries})
    (comparison,) = comparisons(list_runs(tmp_path, "pilot"), "demo", 32)
    assert comparison.encoders() == ["imagecodecs 2026.1.14, pillow 12.0.0", "imagecodecs 2026.1.14, pillow 13.0.0"]


def test_trainings_are_grouped_by_configuration(tmp_path: Path) -> None:
    for seed in (1, 0):
        JPEGRequest(make_jpeg_config(dataset="demo", size=32, steps=10), seed).folder(tmp_path)
    JPEGRequest(make_jpeg_config(dataset="demo", size=32, steps=20), 0).folder(tmp_path)
    JPEGRequest(make_jpeg_config(dataset="demo", size=16, steps=10), 0).folder(tmp_path)
    found = trainings(list_runs(tmp_path), "demo", 32)
    assert sorted((one.config.steps, [seed for _, seed in one.runs]) for one in found) == [(10, [0, 1]), (20, [0])]
    assert all(one.result() is None for one in found)


def test_requests_about_a_training_have_equivalent_commands(tmp_path: Path) -> None:
    attack = AttackRequest("/runs/jpeg-x-s0", images=50)
    assert attack.command() == "recallrate jpeg attack /runs/jpeg-x-s0 --images 50"
    assert attack.bounds() == pytest.approx((1 / 255, 2 / 255, 3 / 255, 4 / 255))
    export = ExportRequest("/runs/jpeg-x-s0", "ste", "/t.json")
    assert export.command() == "recallrate jpeg export /runs/jpeg-x-s0 --output /t.json --variant ste"
    assert attack.run_name().startswith("attack-x-s0-jpeg-")
    with pytest.raises(UsageError, match="eps takes numbers"):
        AttackRequest("x", eps="big").bounds()
    with pytest.raises(UsageError, match="not the run folder"):
        open_training(tmp_path)


def test_attacks_do_not_run_next_to_a_training() -> None:
    assert {"probe", "advise", "images", "export", "study"} == LIGHT_KINDS
