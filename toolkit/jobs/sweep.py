"""Queue and count the runs of a sweep. Imports no torch."""

from __future__ import annotations

import os
from pathlib import Path

from toolkit.foundation.errors import WorkError, one_line
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.contents import PilotResult, SweepResult, SweepRow
from toolkit.pilots.request import PilotRequest
from toolkit.pilots.results import aggregate_pilots
from toolkit.pilots.sweep_file import Sweep
from toolkit.runs.folder import DAMAGED, RunFolder
from toolkit.runs.start import start_pending
from toolkit.runs.supervision import Settings


def folders(sweep: Sweep, runs_dir: Path) -> list[RunFolder]:
    """The folders of all runs of the sweep, in order; missing ones are created.

    Raises:
        WorkError: a folder cannot be written.
    """
    runs = [planned.folder(runs_dir) for planned in sweep.planned]
    for run in runs:
        run.join_sweep(sweep.name)
    return runs


def start_sweep(sweep: Sweep, runs_dir: Path, settings: Settings | None = None) -> list[RunFolder]:
    """Queue the runs that are neither done nor running, and return the :func:`folders` of all runs.

    Raises:
        WorkError: a folder cannot be written, or the supervisor cannot be started.
    """
    runs = folders(sweep, runs_dir)
    start_pending(runs, runs_dir, settings)
    return runs


def report(sweep: Sweep, runs: list[RunFolder]) -> SweepResult:
    """The ``sweep`` JSON: the state of each run, and the ``pilot`` JSON of every configuration with a finished run."""
    finished: dict[str, tuple[PilotConfig, list[PilotResult]]] = {}
    rows: list[SweepRow] = []
    for planned, run in zip(sweep.planned, runs, strict=True):
        status, error, result = run.status(), None, None
        try:
            result = PilotRequest.of(run).result_in(run)
            error = run.error() if status == "failed" else None
        except WorkError as problem:
            status, error = DAMAGED, one_line(problem)
        config = planned.config
        rows.append(
            {
                "run": run.name,
                "run_dir": os.path.abspath(run.path),
                "state": status,
                "error": error,
                "codec": config.codec,
                "align": config.align,
                "budget": config.budget,
                "method": config.method,
                "seed": planned.seed,
            }
        )
        if result is not None:
            finished.setdefault(config.digest(), (config, []))[1].append(result)
    pilots = [aggregate_pilots(config, results) for config, results in finished.values()]
    return {"sweep": sweep.name, "runs": rows, "pilots": pilots}
