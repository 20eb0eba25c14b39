"""Progress reports: a callable ``(what, done, total)``, shown by the command line or the app."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping

Progress = Callable[[str, int, int], None]
OnRow = Callable[[Mapping[str, object]], None]
"""Receives the rows of a result, each when it is done."""


def silent(what: str, done: int, total: int) -> None:
    """Report nothing."""


def ignore_row(row: Mapping[str, object]) -> None:
    """Ignore a row."""


class Eta:
    """Estimates the remaining time from the pace so far."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._start = clock()

    def seconds_left(self, done: int, total: int) -> float | None:
        """Seconds left for ``total - done`` units at the pace so far; None until the first unit is done."""
        if done <= 0:
            return None
        return (self._clock() - self._start) / done * max(0, total - done)
