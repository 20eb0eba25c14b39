"""Carry out run folders: ``python -m toolkit.jobs.worker RUN_FOLDER...``, one after the other.

The supervisor starts one for each run, in a session of its own, so that the end of the supervisor leaves it running.
It learns everything from the folder and writes everything into it. Killed at any moment, it leaves a folder that
another worker takes up from the last checkpoint.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, nullcontext, suppress
from pathlib import Path

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import write_json
from toolkit.foundation.threads import set_threads
from toolkit.jobs.kinds import REQUESTS
from toolkit.runs.environment import attempt_facts, require_one_rank
from toolkit.runs.folder import SLOT_VARIABLE, Cancelled, RunFolder, training_slot
from toolkit.runs.locks import ProcessName, Taken
from toolkit.runs.reporting import RunReporter
from toolkit.runs.request import request_from

TAKEN = 3
"""Exit status: another process has the run."""
HEARTBEAT_SECONDS = 1.0
CANCEL_SECONDS = 3.0
"""A cancelled run that has not stopped by itself by then, as its work reports no progress, is ended."""


def execute_pilot(run: RunFolder) -> None:
    """Bring a pilot's folder to its result."""
    from toolkit.pilots import pilot

    pilot.execute_pilot(run)


def execute_training(run: RunFolder) -> None:
    """Bring the folder of a training with the JPEG layer to its result."""
    from toolkit.jpeg_dl import experiment

    experiment.execute_training(run)


def execute_request(run: RunFolder) -> None:
    """Bring a request's folder to its result; a light one does not wait for the training slot."""
    light = REQUESTS[run.config["kind"]].light
    with nullcontext() if light else training_slot(run.path.parent), run.running():
        if run.result is not None:
            return
        with run.failures_logged():
            run.raise_if_cancelled()
            run.log("started")
            request = request_from(REQUESTS, run.config)
            write_json(run.path / "environment.json", attempt_facts(run, request.command()))
            write_json(run.result_path, request.run(RunReporter(run).show, run.log_found))
            run.log("finished")


EXECUTORS: dict[str, Callable[[RunFolder], None]] = {
    "pilot": execute_pilot,
    "jpeg": execute_training,
    **dict.fromkeys(REQUESTS, execute_request),
}
"""What a worker can carry out, by the run's kind."""


def main(arguments: Sequence[str]) -> int:
    """Carry out each folder; what fails is in its events, and the next one goes on.

    Returns:
        0 where nothing failed, 1 where something did, :data:`TAKEN` where another process has the (last) run.
    """
    parser = argparse.ArgumentParser(prog="toolkit.jobs.worker")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args(arguments)
    require_one_rank()
    set_threads(options.threads)
    return max(work_on(RunFolder(path)) for path in options.folders)


def work_on(run: RunFolder) -> int:
    """Carry out one folder, whatever comes of it; the exit status, as :func:`main` has it."""
    try:
        with run.claimed(), _heartbeat(run):
            if run.cancel_requested():
                run.log("cancelled")
                return 0
            kind = run.config["kind"]
            if kind not in EXECUTORS:
                raise UsageError(f"runs of kind {kind} are not carried out in the background")
            EXECUTORS[kind](run)
            return 0
    except Cancelled:
        return 0
    except Taken as error:
        _say(run, one_line(error))
        return TAKEN
    except Exception as error:
        known = isinstance(error, (UsageError, WorkError))
        reason = one_line(error) if known else f"{type(error).__name__}: {one_line(error)}"
        _say(run, reason)
        with suppress(WorkError):  # a folder that cannot be read or written cannot say so either
            if (run.last_event() or {}).get("event") != "failed":
                run.log("failed", reason=reason)
        return 1


def _say(run: RunFolder, text: str) -> None:
    print(f"{run.name}: {text}", file=sys.stderr)


@contextmanager
def _heartbeat(run: RunFolder) -> Iterator[None]:
    """Say every second that this process is alive, and end it when a cancelled run does not stop by itself."""
    with suppress(WorkError, OSError):  # on a full disk the work itself says what is wrong
        ProcessName.own().write(run.path / ".worker", slot=os.environ.get(SLOT_VARIABLE, "0"))
        (run.path / ".heartbeat").touch()
    over = threading.Event()

    def beat() -> None:
        cancelled_at: float | None = None
        while True:
            with suppress(OSError):
                (run.path / ".heartbeat").touch()
            cancelled_at = (cancelled_at or time.monotonic()) if run.cancel_requested() else None
            if cancelled_at is not None and time.monotonic() - cancelled_at >= CANCEL_SECONDS:
                os._exit(1)  # as harmless as any kill; the folder says that it was cancelled
            if over.wait(HEARTBEAT_SECONDS):
                return

    thread = threading.Thread(target=beat, name="heartbeat", daemon=True)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
