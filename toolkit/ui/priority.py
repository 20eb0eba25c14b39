"""Lower the priority of pages below training, and limit how many are drawn at once.

The more visitors there are, the lower the priority of their pages' threads on the cores shared with workers. Only a
few pages are drawn at once: Python runs one thread at a time, so sixty concurrent pages would all finish last.

A process inherits the priority of the thread that starts it and cannot raise it again, so a separate thread, which
keeps the server's priority, starts workers and supervisors.
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
"""Highest niceness of a page's thread, reached with many visitors: on busy cores it gets a twentieth of a worker's
time. The pages of a single visitor keep their priority: lowering it would slow them and hardly speed up training."""
A_VISITOR = 2
"""Niceness added per further visitor, up to :data:`NICENESS`."""
PRESENT_SECONDS = 60.0
"""Seconds for which a visitor counts after a page was drawn."""
DRAWN_AT_ONCE = 3
LONGEST_WAIT = 5.0
"""Longest time in seconds that a page waits for its turn: it may be slow, but it never hangs."""
COLLECTED_AFTER = 10.0
"""Seconds between garbage collections; Streamlit's, after every page, took a fifth of all time."""
_turns = threading.BoundedSemaphore(DRAWN_AT_ONCE)
_held = threading.local()
_collected = time.monotonic()
_starter = ThreadPoolExecutor(1, "starter")
_starter.submit(int).result()  # starts the thread now, before any page lowers its priority


class Visitors:
    """Recent visitors; thread-safe."""

    def __init__(self) -> None:
        self._seen: dict[str, float] = {}
        self._lock = threading.Lock()

    def count(self, visitor: str, now: float) -> int:
        """Record a visitor and return the number of recent visitors.

        Args:
            visitor: an identifier of the session.
            now: seconds on a monotonic clock.
        """
        with self._lock:
            self._seen[visitor] = now
            self._seen = {name: seen for name, seen in self._seen.items() if now - seen <= PRESENT_SECONDS}
            return len(self._seen)


_visitors = Visitors()


def niceness_among(visitors: int) -> int:
    """The niceness of page threads with this many visitors."""
    return min(NICENESS, A_VISITOR * max(0, visitors - 1))


def give_way(visitor: str) -> None:
    """Lower the priority of the calling thread, which draws a page, on systems with a priority per thread."""
    niceness = niceness_among(_visitors.count(visitor, time.monotonic()))
    if sys.platform == "linux" and niceness:
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), niceness)


def at_full_priority(start: Callable[[], _Result]) -> _Result:
    """Call ``start``, which starts processes, at the server's priority; its exceptions are raised here."""
    return _starter.submit(start).result()


@contextmanager
def in_turn() -> Iterator[None]:
    """Wait for a turn to draw a page."""
    _held.turn = _turns.acquire(timeout=LONGEST_WAIT)
    try:
        yield
    finally:
        _give_back()
        _collect_now_and_then()


@contextmanager
def out_of_turn() -> Iterator[None]:
    """Give up the turn during slow work, so that other pages can be drawn meanwhile."""
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
