"""Many pages at once: a few are drawn at a time, figures once, and garbage is collected now and then."""

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


def test_only_a_few_pages_are_drawn_at_once_and_all_are() -> None:
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


def test_what_takes_long_holds_no_turn_and_comes_back_to_one() -> None:
    """As many pages as may be drawn at once wait in something long; another one is drawn meanwhile."""
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


def test_held_up_turns_make_pages_late_but_hang_none(monkeypatch: pytest.MonkeyPatch) -> None:
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
        priority._turns.release()  # none was given back that had not been taken


def test_a_turn_is_given_back_when_a_page_stops() -> None:
    with pytest.raises(KeyboardInterrupt), in_turn():
        raise KeyboardInterrupt
    assert not priority._held.turn


def test_garbage_is_collected_now_and_then(monkeypatch: pytest.MonkeyPatch) -> None:
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


def test_a_figure_is_drawn_once_for_the_same_facts_and_language(monkeypatch: pytest.MonkeyPatch) -> None:
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
