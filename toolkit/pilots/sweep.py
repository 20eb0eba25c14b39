"""A sweep under way: its runs queued, followed and counted. No torch here."""

from __future__ import annotations

import itertools
import threading
from collections import Counter
from pathlib import Path
from typing import Any

from toolkit.foundation.errors import WorkError
from toolkit.foundation.progress import Progress, silent
from toolkit.pilots import supervisor
from toolkit.pilots.plan import start_pending
from toolkit.pilots.results import aggregate
from toolkit.pilots.sweep_file import Sweep
from toolkit.runs.folder import RunFolder

FOLLOW_SECONDS = 1.0
REVIVE_LOOKS = 5
"""A supervisor that has just been started is not yet to be seen, so only every so many looks ask for one."""


def start(sweep: Sweep, runs_dir: Path, settings: supervisor.Settings | None = None) -> list[RunFolder]:
    """Make the sweep's folders and queue what is neither done nor under way; the folders of all its runs, in order.

    Raises:
        WorkError: a folder cannot be written, or the supervisor cannot be started.
    """
    runs = [planned.folder(runs_dir) for planned in sweep.planned]
    for run in runs:
        run.join_sweep(sweep.name)
    start_pending(runs, runs_dir, settings)
    return runs


def follow(
    runs: list[RunFolder], runs_dir: Path, settings: supervisor.Settings | None = None, progress: Progress = silent
) -> None:
    """Wait until every run has ended; a supervisor that was killed is replaced.

    Raises:
        WorkError: the supervisor was asked to stop.
    """
    pause = threading.Event()
    for look in itertools.count(1):
        states = Counter(run.status() for run in runs)
        left = states["queued"] + states["running"]
        progress(f"runs ({states['running']} running, {states['failed']} failed)", len(runs) - left, len(runs))
        if not left:
            return
        if supervisor.was_stopped(runs_dir):
            raise WorkError(f"the supervisor was stopped with {left} runs to do: the same command goes on")
        if states["queued"] and look % REVIVE_LOOKS == 0:
            supervisor.ensure(runs_dir, settings)
        pause.wait(FOLLOW_SECONDS)


def report(sweep: Sweep, runs: list[RunFolder]) -> dict[str, Any]:
    """The ``sweep`` JSON: how each run stands, and the ``pilot`` JSON of every configuration with a finished run."""
    finished: dict[str, list[Any]] = {}
    rows = []
    for planned, run in zip(sweep.planned, runs, strict=True):
        status, result = run.status(), run.result
        error = run.error() if status == "failed" else None
        rows.append({"run": run.name, "state": status, "error": error, **_setting(planned.config, planned.seed)})
        if result is not None:
            finished.setdefault(planned.config.digest(), [planned.config]).append(result)
    pilots = [aggregate(config, results) for config, *results in finished.values()]
    return {"sweep": sweep.name, "runs": rows, "pilots": pilots}


def _setting(config: Any, seed: int) -> dict[str, Any]:
    names = ("codec", "align", "budget", "method")
    return {name: getattr(config, name) for name in names} | {"seed": seed}
