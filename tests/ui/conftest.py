from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runs folder of this test alone, which the app takes for its own."""
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.setenv("RECALLRATE_RUNS", str(folder))
    return folder
