"""Independent tasks in processes of this machine, with failures as values.

:mod:`toolkit.foundation.ray_cluster` has the same interface for many machines.
"""

from __future__ import annotations

import multiprocessing
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import FIRST_COMPLETED, Future, ProcessPoolExecutor, wait
from dataclasses import dataclass
from itertools import islice
from typing import Generic, TypeVar

from toolkit.foundation.errors import UsageError, WorkError, one_line

_Item = TypeVar("_Item")
_Result = TypeVar("_Result")


@dataclass(frozen=True)
class Outcome(Generic[_Result]):
    """The outcome of one item.

    Attributes:
        index: its position among the items.
        value: what the function returned, or None if it failed.
        error: why it failed, in one line, or None.
    """

    index: int
    value: _Result | None = None
    error: str | None = None

    def unwrap(self) -> _Result:
        """The value.

        Raises:
            WorkError: the task failed.
        """
        if self.error is not None:
            raise WorkError(self.error)
        return self.value  # type: ignore[return-value]


def failure(error: BaseException) -> str:
    """An exception as one line for :class:`Outcome`; errors that are not the toolkit's own include their type."""
    known = isinstance(error, (UsageError, WorkError))
    return one_line(error) if known else f"{type(error).__name__}: {one_line(error)}"


def map_tasks(
    function: Callable[[_Item], _Result], items: Sequence[_Item], *, workers: int
) -> Iterator[Outcome[_Result]]:
    """Yield the outcome of ``function(item)`` for every item, in order of completion.

    Args:
        function: an importable top-level function; with several workers it runs in spawned processes.
        items: its arguments, which must be picklable.
        workers: number of processes; 1 runs in the calling process.

    Raises:
        WorkError: a worker process died, for example for lack of memory; its work is lost.
    """
    if workers <= 1:
        for index, item in enumerate(items):
            yield _attempt(function, index, item)
        return
    queue = enumerate(items)
    with ProcessPoolExecutor(min(workers, max(1, len(items))), mp_context=multiprocessing.get_context("spawn")) as pool:
        try:
            pending: set[Future[Outcome[_Result]]] = set()
            while True:
                more = islice(queue, 2 * workers - len(pending))
                pending |= {pool.submit(_attempt, function, index, item) for index, item in more}
                if not pending:
                    return
                done, pending = wait(pending, return_when=FIRST_COMPLETED)
                for future in done:
                    yield future.result()
        except RuntimeError as error:  # BrokenProcessPool
            if isinstance(error, WorkError):
                raise
            raise WorkError(f"a worker process died: {one_line(error)}") from error
        finally:
            pool.shutdown(wait=True, cancel_futures=True)


def _attempt(function: Callable[[_Item], _Result], index: int, item: _Item) -> Outcome[_Result]:
    try:
        return Outcome(index, function(item))
    except Exception as error:
        return Outcome(index, error=failure(error))
