"""Wait for queued runs. Imports no torch."""

from __future__ import annotations

import threading
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path

from toolkit.foundation.errors import WorkError
from toolkit.foundation.progress import Progress, silent
from toolkit.runs import supervision
from toolkit.runs.folder import RunFolder

FOLLOW_SECONDS = 1.0
REVIVE_SECONDS = 5.0
"""Seconds between checks for a supervisor, since one that has just been started is not visible yet."""


def supervised(runs_dir: Path, settings: supervision.Settings | None = None) -> Callable[[Counter[str]], None]:
    """For :func:`follow`: replace a killed supervisor, and raise WorkError if it was asked to stop."""

    checked = time.monotonic()

    def look_after(states: Counter[str]) -> None:
        if supervision.was_stopped(runs_dir):
            left = states["queued"] + states["running"]
            raise WorkError(f"the supervisor was stopped with {left} runs left: the same command continues them")
        nonlocal checked
        if states["queued"] and time.monotonic() - checked >= REVIVE_SECONDS:
            checked = time.monotonic()
            supervision.ensure(runs_dir, settings)

    return look_after


def follow(
    runs: Sequence[RunFolder],
    look_after: Callable[[Counter[str]], None],
    progress: Progress = silent,
    seconds: float = FOLLOW_SECONDS,
) -> None:
    """Wait until every run has ended.

    Args:
        runs: the runs to wait for.
        look_after: called with the number of runs in each state while some are queued or running.
        progress: receives how many have ended.
        seconds: between looks.
    """
    pause = threading.Event()
    while True:
        states = Counter(run.status() for run in runs)
        left = states["queued"] + states["running"]
        progress(f"runs ({states['running']} running, {states['failed']} failed)", len(runs) - left, len(runs))
        if not left:
            return
        look_after(states)
        pause.wait(seconds)
