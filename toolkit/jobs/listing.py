"""List the intact runs of a folder from its index. Imports no torch."""

from __future__ import annotations

from pathlib import Path

from toolkit.jobs.kinds import check
from toolkit.runs.folder import DAMAGED, RunFolder
from toolkit.runs.index import UNREADABLE, Filter, query


def list_runs(runs_dir: Path, kind: str | None = None) -> list[RunFolder]:
    """Readable, undamaged runs under ``runs_dir``, newest first.

    Args:
        runs_dir: the folder of run folders.
        kind: the kind of run; all kinds by default.
    """
    rows = query(runs_dir, Filter(kind=kind), check)
    return [RunFolder(Path(runs_dir) / row["name"]) for row in rows if row["state"] not in (DAMAGED, UNREADABLE)]
