"""The scripts of the studies load and print their help, so their imports from the toolkit still exist."""

from __future__ import annotations

import runpy
import sys
from pathlib import Path

import pytest

STUDIES = Path(__file__).parents[1] / "notebooks" / "studies"
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
