"""Progress of a run: to the caller, and about once per second to its events."""

from __future__ import annotations

import math
import time
from typing import Any

from toolkit.foundation.progress import Eta, Progress, silent
from toolkit.runs.folder import RunFolder


class Stopwatch:
    """Seconds spent, including those of earlier, killed attempts."""

    def __init__(self, already: float) -> None:
        self._start = time.monotonic() - already

    def seconds(self) -> float:
        return time.monotonic() - self._start


class RunReporter:
    """Forwards progress, logs it about once per second, and stops the run if it has been cancelled."""

    EVERY_SECONDS = 1.0

    def __init__(self, run: RunFolder, progress: Progress = silent) -> None:
        self._run = run
        self._progress = progress
        self._logged = -math.inf
        self._eta = Eta()
        self._what = ""
        self._first = 0

    def due(self, done: int, total: int) -> bool:
        """Whether :meth:`show` would log this progress."""
        return done >= total or time.monotonic() - self._logged >= self.EVERY_SECONDS

    def show(self, what: str, done: int, total: int, **facts: Any) -> None:
        """Report ``done`` of ``total``, with further facts for the log.

        Raises:
            Cancelled: the user has asked the run to stop.
        """
        self._progress(what, done, total)
        if not self.due(done, total):
            return
        self._logged = time.monotonic()
        self._run.raise_if_cancelled()
        if what.split(" ")[0] != self._what:
            self._what, self._eta, self._first = what.split(" ")[0], Eta(), done
        left = self._eta.seconds_left(done - self._first, total - self._first)
        self._run.log("progress", what=what, done=done, total=total, seconds_left=left, **facts)
