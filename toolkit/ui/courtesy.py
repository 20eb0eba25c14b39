"""Pages give way to training: the more people look at pages, the lower their threads' priority on the workers' cores.

A process inherits the priority of the thread that starts it and cannot raise it again, so workers and supervisors are
started by a thread of its own, which keeps the priority that the server was given.
"""

from __future__ import annotations

import os
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")

NICENESS = 14
"""Of a page's thread among many visitors, on the scale of ``nice``: where cores are short it gets a twentieth of a
worker's time. One visitor's pages give way to nothing: they would be slow, and training would hardly gain."""
A_VISITOR = 2
"""What each further visitor adds, until it is :data:`NICENESS`."""
PRESENT_SECONDS = 60.0
"""For how long a visitor counts after a page was drawn."""
_starter = ThreadPoolExecutor(1, "starter")
_starter.submit(int).result()  # its thread begins now, before any page has given way


class Visitors:
    """Who has looked at a page lately; safe between threads."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def count(self, visitor: str, now: float) -> int:
        """Take note of a visitor, and how many there are.

        Args:
            visitor: any name of the session.
            now: seconds on a clock that never goes back.
        """
        with self._lock:
            self._seen[visitor] = now
            self._seen = {name: seen for name, seen in self._seen.items() if now - seen <= PRESENT_SECONDS}
            return len(self._seen)


_visitors = Visitors()


def niceness_among(visitors: int) -> int:
    """The niceness of each page's thread."""
    return min(NICENESS, A_VISITOR * max(0, visitors - 1))


def give_way(visitor: str) -> None:
    """Lower the priority of the calling thread, which draws a page, where the system keeps one for each thread."""
    niceness = niceness_among(_visitors.count(visitor, time.monotonic()))
    if sys.platform == "linux" and niceness:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def at_full_priority(start: Callable[[], Result]) -> Result:
    """Do something that starts processes, at the server's own priority; what it raises is raised here."""
    return _starter.submit(start).result()
