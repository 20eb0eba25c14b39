"""Independent tasks on this machine's processes, with failures as values.

:mod:`toolkit.foundation.ray_cluster` has the same face for many machines.
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
    """What became of one item.

    Attributes:
        index: its place among the items.
        value: what the function gave, or None if it failed.
        error: one line that says why it failed, or None.
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
    """An exception as the one line an :class:`Outcome` keeps; the type is named where the message is not ours."""
    known = isinstance(error, (UsageError, WorkError))
    return one_line(error) if known else f"{type(error).__name__}: {one_line(error)}"


def map_tasks(
    function: Callable[[_Item], _Result], items: Sequence[_Item], *, workers: int
) -> Iterator[Outcome[_Result]]:
    """Yield the outcome of ``function(item)`` for every item, in order of completion.

    Args:
        function: an importable top-level function; with several workers it runs in fresh (spawned) processes.
        items: its arguments, which can be pickled.
        workers: processes; 1 runs in the caller's.

    Raises:
        WorkError: a worker process died, as when memory runs out; what it was doing is lost, so start again.
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
