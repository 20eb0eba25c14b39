"""Pages give way to training and to each other.

The more people look at pages, the lower their threads' priority on the workers' cores. Only a few pages are drawn at
once: Python runs one thread at a time, and sixty pages at once are all ready last.

A process inherits the priority of the thread that starts it and cannot raise it again, so workers and supervisors are
started by a thread of its own, which keeps the priority that the server was given.
"""

from __future__ import annotations

import gc
import os
import sys
import threading
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from typing import TypeVar

_Result = TypeVar("_Result")

NICENESS = 14
"""Of a page's thread among many visitors, on the scale of ``nice``: where cores are short it gets a twentieth of a
worker's time. One visitor's pages give way to nothing: they would be slow, and training would hardly gain."""
A_VISITOR = 2
"""What each further visitor adds, until it is :data:`NICENESS`."""
PRESENT_SECONDS = 60.0
"""For how long a visitor counts after a page was drawn."""
DRAWN_AT_ONCE = 3
LONGEST_WAIT = 5.0
"""Seconds that a page waits for its turn: should all turns be held up, pages are slow, and none hangs."""
COLLECTED_AFTER = 10.0
"""Seconds between two collections of garbage; Streamlit's own, after every page, took a fifth of all time."""
_turns = threading.BoundedSemaphore(DRAWN_AT_ONCE)
_held = threading.local()
_collected = time.monotonic()
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


def at_full_priority(start: Callable[[], _Result]) -> _Result:
    """Do something that starts processes, at the server's own priority; what it raises is raised here."""
    return _starter.submit(start).result()


@contextmanager
def in_turn() -> Iterator[None]:
    """Draw a page when it is its turn."""
    _held.turn = _turns.acquire(timeout=LONGEST_WAIT)
    try:
        yield
    finally:
        _give_back()
        _collect_now_and_then()


@contextmanager
def out_of_turn() -> Iterator[None]:
    """Do something that takes long while a page is drawn, and let others draw theirs meanwhile."""
    held = getattr(_held, "turn", False)
    _give_back()
    try:
        yield
    finally:
        _held.turn = held and _turns.acquire(timeout=LONGEST_WAIT)


def _give_back() -> None:
    if getattr(_held, "turn", False):
        _held.turn = False
        _turns.release()


def _collect_now_and_then() -> None:
    global _collected
    now = time.monotonic()
    if now - _collected > COLLECTED_AFTER:
        _collected = now
        gc.collect()
