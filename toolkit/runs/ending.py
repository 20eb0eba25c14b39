"""Cancel runs and remove their folders."""

from __future__ import annotations

import os
import secrets
import shutil
import threading
import time
from collections.abc import Sequence

from toolkit.foundation.errors import UsageError, WorkError, describe_os_error
from toolkit.runs.folder import RunFolder
from toolkit.runs.locks import Taken, holding

CANCEL_SECONDS = 6.0
"""A cancelled background run stops within this time, whatever it is doing."""


def cancel(runs: Sequence[RunFolder], seconds: float = CANCEL_SECONDS) -> list[RunFolder]:
    """Ask runs to stop, and wait until they have.

    Returns:
        Runs that have not stopped: they run in the foreground of a process that currently reports no progress.
    """
    for run in runs:
        run.request_cancel()
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while (left := [run for run in runs if run.is_running()]) and time.monotonic() < deadline:
        pause.wait(0.1)
    return left


def remove(run: RunFolder) -> None:
    """Delete a run's folder, unless the run is running.

    Raises:
        UsageError: the run is running.
        WorkError: the folder cannot be deleted.
    """
    gone = run.path.with_name(f".removed-{secrets.token_hex(4)}")
    try:
        refusal = f"{run.name} is running: cancel it first"
        with holding(run.path / ".claim", refusal), holding(run.path / ".lock", refusal):
            os.rename(run.path, gone)
        shutil.rmtree(gone)
    except Taken as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise WorkError(describe_os_error(error, "remove", run.path)) from error
