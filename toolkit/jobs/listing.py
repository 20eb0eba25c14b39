"""The runs of a folder that can be relied on, as the index of that folder knows them. No torch here."""

from __future__ import annotations

from pathlib import Path

from toolkit.jobs.kinds import check
from toolkit.runs.folder import DAMAGED, RunFolder
from toolkit.runs.index import UNREADABLE, Filter, query


def list_runs(runs_dir: Path, kind: str | None = None) -> list[RunFolder]:
    """Runs under ``runs_dir`` that are whole, newest first.

    Args:
        runs_dir: where run folders are.
        kind: of run; by default all.
    """
    rows = query(runs_dir, Filter(kind=kind), check)
    return [RunFolder(Path(runs_dir) / row["name"]) for row in rows if row["state"] not in (DAMAGED, UNREADABLE)]
