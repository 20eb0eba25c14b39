"""The code of the benchmark that kills a sweep's processes, with a few kills, so that it stays in order."""

from __future__ import annotations

from pathlib import Path

import kill_runs
import pytest

from toolkit.runs.folder import run_folders

pytestmark = pytest.mark.kills

FEW = kill_runs.SWEEP.replace("{10,30,50}", "50").replace("[none, both]", "both").replace("[0, 1, 2, 3]", "[0, 1]")


def test_a_sweep_killed_at_random_in_two_pieces_ends_once_as_if_undisturbed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    # shorter than a worker takes to load its libraries: on a fast machine two runs end before six slower kills
    monkeypatch.setattr(kill_runs, "LONGEST_PAUSE", 1.0)
    assert kill_runs.bench_kills(tmp_path, 6, 2, 0, FEW, minutes=0) is None
    runs = run_folders(tmp_path / "killed")
    assert {run.status() for run in runs} == {"queued"}
    assert kill_runs.targets(runs, tmp_path / "killed") == []
    result = kill_runs.bench_kills(tmp_path, 6, 2, 0, FEW)
    assert result is not None
    assert (result["runs"], result["wrong"]) == (2, 0)
    assert result["killed_workers"] + result["killed_supervisors"] >= 6
