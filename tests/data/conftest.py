from __future__ import annotations

from pathlib import Path

import pytest


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A cache folder for this test alone, not created yet."""
    folder = tmp_path / "own-cache"
    monkeypatch.setenv("RECALLRATE_CACHE", str(folder))
    return folder
