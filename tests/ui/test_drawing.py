"""Many concurrent pages: few are drawn at a time, figures are cached, and garbage is collected periodically."""

from __future__ import annotations

import gc
import threading
import time
from concurrent.futures import ThreadPoolExecutor

import plotly.graph_objects as go
import pytest

from toolkit.language.catalogue import language
from toolkit.ui import priority
from toolkit.ui.components import figures
from toolkit.ui.priority import DRAWN_AT_ONCE, in_turn, out_of_turn


def test_only_a_few_pages_are_drawn_at_once_and_all_get_drawn() -> None:
    lock, together = threading.Lock(), threading.Barrier(DRAWN_AT_ONCE)
    now, most, done = 0, 0, 0

    def page(_: int) -> None:
        nonlocal now, most, done
        with in_turn():
            with lock:
                now, most = now + 1, max(most, now + 1)
            together.wait(10)
            with lock:
                now, done = now - 1, done + 1

    with ThreadPoolExecutor(10 * DRAWN_AT_ONCE) as pool:
        list(pool.map(page, range(10 * DRAWN_AT_ONCE)))
    assert (done, most) == (10 * DRAWN_AT_ONCE, DRAWN_AT_ONCE)


def test_slow_work_gives_up_its_turn_and_takes_it_again() -> None:
    """The maximum number of pages is busy with slow work; another page is drawn meanwhile."""
    inside, goes_on = threading.Barrier(DRAWN_AT_ONCE + 1), threading.Event()

    def long_page(_: int) -> None:
        with in_turn():
            with out_of_turn():
                inside.wait(10)
                assert goes_on.wait(10)
            assert priority._held.turn

    with ThreadPoolExecutor(DRAWN_AT_ONCE) as pool:
        pages = [pool.submit(long_page, n) for n in range(DRAWN_AT_ONCE)]
        inside.wait(10)
        with in_turn():
            assert priority._held.turn
        goes_on.set()
        for page in pages:
            page.result()
    for _ in range(DRAWN_AT_ONCE):
        assert priority._turns.acquire(blocking=False), "every turn has been given back"
    for _ in range(DRAWN_AT_ONCE):
        priority._turns.release()


def test_blocked_turns_delay_pages_but_hang_none(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(priority, "LONGEST_WAIT", 0.01)
    for _ in range(DRAWN_AT_ONCE):
        priority._turns.acquire()
    try:
        with in_turn(), out_of_turn():
            pass
    finally:
        for _ in range(DRAWN_AT_ONCE):
            priority._turns.release()
    with pytest.raises(ValueError):
        priority._turns.release()  # no turn was released that had not been acquired


def test_a_stopped_page_releases_its_turn() -> None:
    with pytest.raises(KeyboardInterrupt), in_turn():
        raise KeyboardInterrupt
    assert not priority._held.turn


def test_garbage_is_collected_periodically(monkeypatch: pytest.MonkeyPatch) -> None:
    collected: list[float] = []
    now = [1000.0]
    monkeypatch.setattr(time, "monotonic", lambda: now[0])
    monkeypatch.setattr(gc, "collect", lambda: collected.append(now[0]))
    monkeypatch.setattr(priority, "_collected", 1000.0)
    for _ in range(40):
        now[0] += 1.0
        with in_turn():
            pass
    assert collected == [1011.0, 1022.0, 1033.0]


def test_a_figure_is_drawn_once_per_data_and_language(monkeypatch: pytest.MonkeyPatch) -> None:
    drawn: list[tuple[int, str]] = []

    def draw(rows: list[int], *, scale: int = 1, say: object = None) -> go.Figure:
        drawn.append((len(rows), getattr(say, "code", "")))
        return go.Figure()

    first = figures.draw_figure(draw, [1, 2], scale=3)
    assert figures.draw_figure(draw, [1, 2], scale=3) is first
    assert figures.draw_figure(draw, [1, 2], scale=4) is not first
    assert figures.draw_figure(draw, [1, 2, 3], scale=3) is not first
    assert drawn == [(2, "en"), (2, "en"), (3, "en")]
    monkeypatch.setattr(figures, "current", lambda: language("ja"))
    assert figures.draw_figure(draw, [1, 2], scale=3) is not first
    monkeypatch.setattr(figures, "_MOST", 2)
    figures.draw_figure(draw, [9])
    assert len(figures._kept) == 2
