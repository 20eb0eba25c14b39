from __future__ import annotations

from pathlib import Path

import pytest

from toolkit.runs import start, supervision
from toolkit.runs.folder import RunFolder
from toolkit.runs.queue import enqueue


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A runs folder for this test alone, used by the app."""
    folder = tmp_path / "runs"
    folder.mkdir()
    monkeypatch.setenv("RECALLRATE_RUNS", str(folder))
    return folder


@pytest.fixture
def started(monkeypatch: pytest.MonkeyPatch) -> list[str]:
    """Names of the runs that were queued; no supervisor is started for them."""
    names: list[str] = []

    def queue(runs: list[RunFolder], runs_dir: Path) -> None:
        enqueue(runs, runs_dir)
        names.extend(run.name for run in runs)

    monkeypatch.setattr(start, "enqueue", queue)
    monkeypatch.setattr(supervision, "ensure", lambda *_: None)
    return names
