"""Carry out run folders: ``python -m toolkit.jobs.worker RUN_FOLDER...``, one after the other.

The supervisor starts one worker per run in its own session, so that the worker survives the supervisor. A worker reads
everything from the folder and writes everything into it. Killed at any moment, it leaves a folder from which another
worker continues at the last checkpoint.
"""

from __future__ import annotations

import argparse
import os
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.threads import set_threads
from toolkit.jobs.kinds import request_of
from toolkit.runs.environment import require_one_rank
from toolkit.runs.execution import carry_out
from toolkit.runs.folder import SLOT_VARIABLE, Cancelled, RunFolder
from toolkit.runs.locks import ProcessName, Taken

TAKEN = 3
"""Exit status if another process has the run."""
HEARTBEAT_SECONDS = 1.0
CANCEL_SECONDS = 3.0
"""Seconds after which a cancelled run that reports no progress, and so cannot stop itself, is ended."""


def main(arguments: Sequence[str]) -> int:
    """Carry out each folder; a failure is recorded in its events and does not stop the others.

    Returns:
        0 if nothing failed, 1 if something did, :data:`TAKEN` if another process has the (last) run.
    """
    parser = argparse.ArgumentParser(prog="toolkit.jobs.worker")
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--threads", type=int, default=0)
    options = parser.parse_args(arguments)
    require_one_rank()
    set_threads(options.threads)
    return max(work_on(RunFolder(path)) for path in options.folders)


def work_on(run: RunFolder) -> int:
    """Carry out one folder and return the exit status, as in :func:`main`."""
    try:
        with run.claimed(), _heartbeat(run):
            if run.cancel_requested():
                run.log("cancelled")
                return 0
            carry_out(request_of(run), run)
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
        with suppress(WorkError):  # an unreadable or unwritable folder cannot record it
            last = run.last_event()
            if last is None or last["event"] != "failed":
                run.log("failed", reason=reason)
        return 1


def _say(run: RunFolder, text: str) -> None:
    print(f"{run.name}: {text}", file=sys.stderr)


@contextmanager
def _heartbeat(run: RunFolder) -> Iterator[None]:
    """Write a heartbeat every second, and end the process if a cancelled run does not stop by itself."""
    with suppress(WorkError, OSError):  # on a full disk the work itself reports the error
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
                os._exit(1)  # as harmless as any kill; the folder records the cancellation
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
