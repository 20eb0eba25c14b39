"""The scripts of the studies load and print their help, so their imports from the toolkit still exist."""

from __future__ import annotations

import os
import runpy
import sys
from pathlib import Path

import pytest

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
def test_fine_tuning_on_few_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STUDIES))
    monkeypatch.setattr(sys, "argv", ["fine_tuning.py", "-", "--runs-dir", str(tmp_path), "--smallest"])
    runpy.run_path(str(STUDIES / "fine_tuning.py"), run_name="__main__")
    assert len(list(tmp_path.glob("pilot-*/result.json"))) == 2


@pytest.mark.slow
def test_photographs_on_few_images(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.syspath_prepend(str(STUDIES))
    monkeypatch.setattr(sys, "argv", ["photographs.py", "-", "--runs-dir", str(tmp_path), "--smallest"])
    runpy.run_path(str(STUDIES / "photographs.py"), run_name="__main__")
    assert len(list(tmp_path.glob("pilot-*/result.json"))) == 3
