"""The threaded map: order, bounds and failures."""

from __future__ import annotations

import threading
from collections.abc import Iterator

import pytest

from toolkit.foundation import threads
from toolkit.foundation.errors import UsageError
from toolkit.foundation.threads import available_cores, ordered_map, set_threads, thread_count


@pytest.mark.parametrize("workers", [1, 2, 7])
@pytest.mark.parametrize("count", [0, 1, 15, 16, 17, 1000])
def test_results_come_in_the_order_of_the_items(workers: int, count: int) -> None:
    assert list(ordered_map(lambda x: x * x, range(count), workers)) == [x * x for x in range(count)]


def test_order_holds_when_early_items_finish_last() -> None:
    second_done = threading.Event()

    def work(item: int) -> int:
        if item == 0:
            assert second_done.wait(timeout=30)
        elif item == 1:
            second_done.set()
        return item

    assert list(ordered_map(work, range(8), workers=2, group=1)) == list(range(8))


def test_items_in_flight_are_bounded() -> None:
    taken = 0

    def items() -> Iterator[int]:
        nonlocal taken
        for number in range(10_000):
            taken += 1
            yield number

    results = ordered_map(lambda x: x, items(), workers=2, group=5)
    assert next(results) == 0
    assert taken <= 4 * 2 * 5
    results.close()  # type: ignore[attr-defined]
    assert taken <= 4 * 2 * 5


@pytest.mark.parametrize("workers", [1, 3])
def test_a_failure_surfaces_in_order(workers: int) -> None:
    def work(item: int) -> int:
        if item == 20:
            raise KeyError("twenty")
        return item

    results = ordered_map(work, range(100), workers, group=10)
    assert [next(results) for _ in range(20)] == list(range(20))
    with pytest.raises(KeyError, match="twenty"):
        next(results)


def test_one_worker_runs_in_the_calling_thread() -> None:
    here = threading.get_ident()
    assert set(ordered_map(lambda _: threading.get_ident(), range(40), workers=1)) == {here}
    assert here not in set(ordered_map(lambda _: threading.get_ident(), range(40), workers=2))


def test_the_number_of_threads_is_the_one_set_or_one_per_core(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(threads, "_threads", 0)
    assert thread_count() == available_cores() >= 1
    set_threads(3)
    assert thread_count() == 3
    set_threads(0)
    assert thread_count() == available_cores()
    with pytest.raises(UsageError, match=r"0 .* or more, got -1"):
        set_threads(-1)
