"""``jpeg train|export|attack`` as used by scripts."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from cli_samples import call

from toolkit.cli import run

SMALL = ("demo", "--size", "16", "--network", "resnet8", "--steps", "3", "--batch-size", "8", "--device", "cpu")


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    """A run folder of one seed, and the JSON of the command that made it."""
    folder = tmp_path_factory.mktemp("runs")
    json_file = folder / "result.json"
    status = run(["jpeg", "train", *SMALL, "--controls", "ste", "--runs-dir", str(folder), "--json", str(json_file)])
    assert status == 0
    result = json.loads(json_file.read_text())
    return folder / result["runs"][0]["run_dir"], result


def test_training_reports_every_network(trained: tuple[Path, dict[str, Any]]) -> None:
    _, result = trained
    assert list(result["variants"]) == ["plain", "jpeg", "ste"]
    assert result["config"]["init"] == "sensitivity"
    assert {"soft_accuracy", "hard_accuracy", "bits_per_pixel", "gain_over_plain"} <= set(
        result["variants"]["jpeg"]["mean"]
    )


def test_exported_tables_work_as_a_codec(
    capsys: pytest.CaptureFixture[str], trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    tables = tmp_path / "tables.json"
    status, out, err = call(capsys, "jpeg", "export", trained[0], "-o", tables, "--json", "-")
    assert status == 0, err
    written = json.loads(out)
    assert all(1 <= step <= 255 for row in written["luma"] for step in row)
    assert f"learned-jpeg:tables={tables}" in err
    grid = f"learned-jpeg:tables={tables};jpeg:quality=50"
    status, out, err = call(capsys, "probe", "demo", "--size", 16, "--images", 20, "--codecs", grid, "--json", "-")
    assert status == 0, err
    assert any(setting["codec"].startswith("learned-jpeg") for setting in json.loads(out)["settings"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (("--alpha", "0"), "alpha: Input should be greater than 0, got 0"),
        (("--init", "quality=101"), "init: must be one of ones, quality=Q"),
        (("--size", "4"), "size must be 8..1024 pixels, got 4"),
        (("--controls", "ste,dct"), "variants: dct is not one of plain, jpeg"),
        (("--seeds", "0,0"), "seeds must be distinct"),
        (("--seeds", "x"), "seeds must be whole numbers"),
        (("--network", "resnet9"), "or timm:NAME, got 'resnet9'"),
        (("--freeze",), "freeze needs start=plain"),
        (("--codec", "learned-jpeg:tables=nowhere.json"), "nowhere.json"),
    ],
)
def test_wrong_options_end_with_status_2_and_one_line(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, arguments: tuple[str, ...], message: str
) -> None:
    status, out, err = call(capsys, "jpeg", "train", *SMALL, "--runs-dir", tmp_path / "runs", *arguments)
    assert status == 2
    assert out == ""
    assert message in err
    assert len(err.strip().splitlines()) == 1
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize("command", [("export", "-o", "t.json"), ("attack",)])
def test_a_folder_without_a_training_is_refused(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, command: tuple[str, ...]
) -> None:
    status, _, err = call(capsys, "jpeg", command[0], tmp_path, *command[1:])
    assert status == 2
    assert "is not the run folder of a `jpeg train`" in err


def test_a_variant_that_was_not_trained_is_refused(
    capsys: pytest.CaptureFixture[str], trained: tuple[Path, dict[str, Any]], tmp_path: Path
) -> None:
    status, _, err = call(capsys, "jpeg", "export", trained[0], "-o", tmp_path / "t.json", "--variant", "noise")
    assert status == 2
    assert "has no trained variant 'noise': it has plain, jpeg, ste" in err
