"""Hand runs to the supervisor of their folder. Imports no torch."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolkit.runs import supervision
from toolkit.runs.folder import DAMAGED, RunFolder
from toolkit.runs.queue import enqueue
from toolkit.runs.request import Request


def start_requests(requests: Sequence[Request], runs_dir: Path) -> list[RunFolder]:
    """Create the folders of requests and queue those that are neither finished nor running.

    The app calls :func:`~toolkit.jobs.check.require_fit` first.

    Returns:
        The folders that were queued.

    Raises:
        WorkError: a folder cannot be written or the supervisor cannot be started.
    """
    return start_pending([one.folder(runs_dir) for one in requests], runs_dir)


def start_pending(
    runs: Sequence[RunFolder], runs_dir: Path, settings: supervision.Settings | None = None
) -> list[RunFolder]:
    """Queue the ``runs`` that are neither finished nor running, and make sure that a supervisor is running.

    Returns:
        The folders that were queued.

    Raises:
        WorkError: a folder cannot be written or the supervisor cannot be started.
    """
    pending = pending_of(runs)
    if pending:
        enqueue(pending, Path(runs_dir))
    if any(run.status() == "queued" for run in runs):
        supervision.ensure(Path(runs_dir), settings)
    return pending


def pending_of(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """The ``runs`` that are not finished, running, queued or damaged."""
    return [run for run in runs if run.status() not in ("done", "running", "queued", DAMAGED)]
