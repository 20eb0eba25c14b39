"""Carry out run folders in the background: ``python -m toolkit.pilots.worker RUN_FOLDER...``, one after the other.

The app starts this detached, in a session of its own, so that a page reload, Ctrl-C or the end of the server leaves it
running. It learns everything from the folders and writes everything into them.
"""

from __future__ import annotations

import subprocess
import sys
from collections.abc import Callable, Sequence
from contextlib import ExitStack
from pathlib import Path
from typing import Any

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import write_json
from toolkit.runs.folder import Cancelled, RunFolder
from toolkit.runs.reporting import RunReporter


def start(runs: Sequence[RunFolder], runs_dir: Path) -> None:
    """Queue ``runs`` in a detached process.

    Raises:
        WorkError: the process could not be started.
    """
    for run in runs:
        run.clear_cancel()
        run.log("queued")
    command = [sys.executable, "-m", "toolkit.pilots.worker", *(str(run.path) for run in runs)]
    try:
        with open(Path(runs_dir) / "worker.log", "ab") as log:
            subprocess.Popen(
                command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True, close_fds=True
            )
    except OSError as error:
        raise WorkError(f"the background process could not be started: {one_line(error)}") from error


def execute_pilot(run: RunFolder) -> None:
    """Bring a pilot's folder to its result."""
    from toolkit.pilots.pilot import execute

    execute(run)


def execute_probe(run: RunFolder) -> None:
    """Bring a probe's folder to its result; it is short, so it does not wait for the training slot."""
    from toolkit.probe.request import ProbeRequest, run_probe

    with run.running():
        if run.result is not None:
            return
        with run.failures_logged():
            run.raise_if_cancelled()
            run.log("started")
            request: dict[str, Any] = {key: value for key, value in run.config.items() if key != "kind"}
            write_json(run.result_path, run_probe(ProbeRequest(**request), RunReporter(run).show))
            run.log("finished")


EXECUTORS: dict[str, Callable[[RunFolder], None]] = {"pilot": execute_pilot, "probe": execute_probe}


def main(paths: Sequence[str]) -> int:
    """Carry out each folder; what fails is in its events, and the next one goes on."""
    runs = [RunFolder(Path(path)) for path in paths]
    with ExitStack() as queue:
        for run in runs:
            queue.enter_context(run.claimed())
        failures = _carry_out(runs)
    return 1 if failures else 0


def _carry_out(runs: Sequence[RunFolder]) -> int:
    """How many of the runs failed."""
    failures = 0
    for run in runs:
        if run.cancel_requested():
            run.log("cancelled")
            continue
        try:
            EXECUTORS[run.config["kind"]](run)
        except Cancelled:
            continue
        except (UsageError, WorkError) as error:
            print(f"{run.name}: {one_line(error)}", file=sys.stderr)
            failures += 1
        except Exception as error:
            print(f"{run.name}: {type(error).__name__}: {one_line(error)}", file=sys.stderr)
            failures += 1
    return failures


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
