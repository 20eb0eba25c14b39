"""The scripts of the studies load and print their help, so their imports from the toolkit still exist."""

from __future__ import annotations

import json
import os
import runpy
import sys
from pathlib import Path

import numpy as np
import pytest
from run_samples import pilot_result

from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.results import aggregate_pilots

STUDIES = Path(__file__).parents[1] / "notebooks" / "studies"
DATA = os.environ.get("RECALLRATE_DATA")
SHARED = ("study.py", "jpeg_layer_report.py")
"""Modules shared by the studies."""
SCRIPTS = sorted(set(STUDIES.glob("*.py")) - {STUDIES / name for name in SHARED})


@pytest.mark.parametrize(
    "path", sorted(set(STUDIES.glob("*.py")) - {STUDIES / name for name in SHARED}), ids=lambda path: path.stem
)
def test_a_study_loads_and_prints_its_help(
    path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.syspath_prepend(str(STUDIES))
    monkeypatch.setattr(sys, "argv", [path.name, "--help"])
    with pytest.raises(SystemExit) as ended:
        runpy.run_path(str(path), run_name="__main__")
    assert not ended.value.code
    assert path.name in capsys.readouterr().out


@pytest.mark.skipif(not DATA, reason="RECALLRATE_DATA is not set")
def test_image_bytes_on_few_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STUDIES))
    study = runpy.run_path(str(STUDIES / "image_bytes.py"))
    rows = study["measured"](Path(DATA or "") / "tiny-imagenet-20", 32, 40)
    by_codec = {row["codec"]: row for row in rows}
    assert list(by_codec) == list(study["SETTINGS"])
    assert by_codec["raw"]["stored_bytes"] == 3 * 32 * 32
    assert [by_codec[codec]["psnr"] for codec in ("raw", "png", "webp:lossless=yes", "jxl:lossless=yes")] == [None] * 4
    assert by_codec["jxl:lossless=yes"]["stored_bytes"] < by_codec["webp:lossless=yes"]["stored_bytes"]
    assert by_codec["jpeg:quality=20"]["psnr"] < by_codec["jpeg:quality=90"]["psnr"]
    assert by_codec["original"]["stored_bytes"] < 0.9 * by_codec["original:entropy=huffman"]["stored_bytes"]
    assert by_codec["jpeg:quality=50"]["psnr"] == by_codec["jpeg:quality=50,entropy=huffman"]["psnr"]
    assert all(1 < row["disk"] < 1.05 for row in rows)


@pytest.mark.slow
@pytest.mark.parametrize(("name", "runs"), [("fine_tuning", 2), ("photographs", 3)])
def test_a_study_runs_on_few_images(name: str, runs: int, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STUDIES))
    monkeypatch.setattr(sys, "argv", [f"{name}.py", "-", "--runs-dir", str(tmp_path), "--smallest"])
    runpy.run_path(str(STUDIES / f"{name}.py"), run_name="__main__")
    assert len(list(tmp_path.glob("pilot-*/result.json"))) == runs


def test_horizons_are_judged_by_the_other_seeds(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STUDIES))
    study = runpy.run_path(str(STUDIES / "horizons.py"))
    assert study["rank_correlation"](np.array([1.0, 2, 3, 4]), np.array([10.0, 20, 40, 30])) == pytest.approx(0.8)
    shared = {"dataset": "demo", "size": 32, "initial": 4, "increment": 4, "budget": "4img"}
    pilots = {}
    for steps in study["STEPS"]:
        accuracies = np.arange(len(study["SETTINGS"])) / 10
        if steps == 50:
            accuracies = accuracies[::-1]  # the shortest ranks them the wrong way round
        pilots[steps] = [
            aggregate_pilots(
                make_pilot_config(codec=codec, align=align, steps=steps, **shared),
                [pilot_result(seed, last) for seed in study["SEEDS"]],
            )
            for (codec, align), last in zip(study["SETTINGS"], accuracies.tolist(), strict=True)
        ]
    table = study["as_tables"](pilots)
    assert "| 50 | -1.00 | -1.00 +- 0.00 | 70.0 +- 0.0 |" in table
    assert "| 200 | 1.00 | 1.00 +- 0.00 | 0.0 +- 0.0 |" in table
    assert "| `avif:quality=40, align none` | 0.0 +- 0.0 | 70.0 +- 0.0 | 70.0 +- 0.0 |" in table


def test_races_are_simulated_on_the_stored_problems(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STUDIES))
    monkeypatch.setattr(sys, "argv", ["race.py", "--draws", "1", "--output", str(tmp_path)])
    runpy.run_path(str(STUDIES / "race.py"), run_name="__main__")
    found = json.loads((tmp_path / "race.json").read_text())
    assert len(found["problems"]) == 6
    assert all(len(regrets) == 6 for regrets in found["regret"].values())
    assert found["pilots"]["constant"] == 0
    assert found["pilots"]["two seeds of everything"] == 2 * found["pilots"]["one seed of everything"]
    assert sum(row["decisions"] for row in found["calibration"]) == 6 * 3
    assert "race, quick: 4 → 2" in (tmp_path / "race.md").read_text()
