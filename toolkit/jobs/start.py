"""Hand runs to the supervisor of their folder. No torch here."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

from toolkit.jobs import supervisor
from toolkit.runs.folder import DAMAGED, RunFolder
from toolkit.runs.queue import enqueue
from toolkit.runs.request import Request


def start_requests(requests: Sequence[Request], runs_dir: Path) -> list[RunFolder]:
    """Make the requests' folders and queue those that have neither finished nor are under way.

    Whoever offers requests to people calls :func:`~toolkit.jobs.check.require_fit` before.

    Returns:
        The folders that were queued.

    Raises:
        WorkError: a folder cannot be written or the supervisor cannot be started.
    """
    return start_pending([one.folder(runs_dir) for one in requests], runs_dir)


def start_pending(
    runs: Sequence[RunFolder], runs_dir: Path, settings: supervisor.Settings | None = None
) -> list[RunFolder]:
    """Queue those of ``runs`` that have neither finished nor are under way, and see that a supervisor is at work.

    Returns:
        The folders that were queued.

    Raises:
        WorkError: a folder cannot be written or the supervisor cannot be started.
    """
    pending = pending_of(runs)
    if pending:
        enqueue(pending, Path(runs_dir))
    if any(run.status() == "queued" for run in runs):
        supervisor.ensure(Path(runs_dir), settings)
    return pending


def pending_of(runs: Sequence[RunFolder]) -> list[RunFolder]:
    """Those of ``runs`` that have neither finished nor are under way nor wait in the queue nor are damaged."""
    return [run for run in runs if run.status() not in ("done", "running", "queued", DAMAGED)]
