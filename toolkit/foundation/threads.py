"""The number of threads, and an ordered parallel map."""

from __future__ import annotations

import os
import threading
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from concurrent.futures import Future, ThreadPoolExecutor
from itertools import islice
from typing import TypeVar

from toolkit.foundation.errors import UsageError

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")

_threads = 0
_this_thread = threading.local()


def available_cores() -> int:
    """Number of cores this process may run on."""
    try:
        return len(os.sched_getaffinity(0))
    except AttributeError:  # not on this platform
        return os.cpu_count() or 1


def set_threads(count: int) -> None:
    """Use ``count`` threads for decoding and coding from now on; 0 means one per core.

    Raises:
        UsageError: ``count`` is negative.
    """
    global _threads
    if count < 0:
        raise UsageError(f"threads must be 0 (one per core) or more, got {count}")
    _threads = count


def thread_count() -> int:
    """The number of threads set, else one per core."""
    return _threads or available_cores()


def ordered_map(
    function: Callable[[_Item], _Result],
    items: Iterable[_Item],
    workers: int | None = None,
    group: int = 16,
    ahead: int = 4,
) -> Iterator[_Result]:
    """Yield ``function(item)`` in order from a thread pool, with a bounded number of items in flight.

    The bound limits memory: a million images are never in memory at once. Items are passed in groups because passing
    one costs about as much as decoding a small JPEG. A nested call runs in its worker thread, so that only the
    outermost call splits the work.

    Args:
        function: called in a worker thread; its exceptions surface here.
        items: consumed lazily.
        workers: number of threads; None means :func:`thread_count`, 1 runs in the calling thread.
        group: items passed at a time.
        ahead: groups in flight per worker.
    """
    workers = thread_count() if workers is None else workers
    if workers <= 1 or getattr(_this_thread, "is_worker", False):
        yield from map(function, items)
        return

    def work(batch: list[_Item]) -> list[_Result]:
        _this_thread.is_worker = True
        return [function(item) for item in batch]

    iterator = iter(items)
    with ThreadPoolExecutor(workers) as pool:
        pending: deque[Future[list[_Result]]] = deque()
        while batch := list(islice(iterator, group)):
            pending.append(pool.submit(work, batch))
            if len(pending) >= ahead * workers:
                yield from pending.popleft().result()
        while pending:
            yield from pending.popleft().result()
