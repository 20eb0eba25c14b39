from __future__ import annotations

import os
import subprocess
import sys
import threading

import pytest

from toolkit.ui.priority import NICENESS, PRESENT_SECONDS, Visitors, at_full_priority, give_way, niceness_among

NICE = "import os; print(os.getpriority(os.PRIO_PROCESS, 0))"


def started_niceness() -> int:
    return int(subprocess.run([sys.executable, "-c", NICE], capture_output=True, check=True, text=True).stdout)


@pytest.mark.skipif(sys.platform != "linux", reason="priorities of threads are Linux's")
def test_a_page_lowers_its_priority_but_not_that_of_processes_it_starts() -> None:
    before = os.getpriority(os.PRIO_PROCESS, 0)
    found: list[int] = []

    def page() -> None:
        for n in range(20):
            give_way(f"visitor {n}")
        found.append(os.getpriority(os.PRIO_PROCESS, threading.get_native_id()))
        found.append(started_niceness())
        found.append(at_full_priority(started_niceness))

    thread = threading.Thread(target=page)
    thread.start()
    thread.join()
    lowered = max(before, NICENESS)
    assert found == [lowered, lowered, before]
    assert os.getpriority(os.PRIO_PROCESS, 0) == before


def test_errors_at_full_priority_are_raised_in_the_caller() -> None:
    with pytest.raises(ZeroDivisionError):
        at_full_priority(lambda: 1 // 0)


def test_visitors_count_while_present() -> None:
    visitors = Visitors()
    assert [visitors.count(name, 0.0) for name in ("a", "b", "a")] == [1, 2, 2]
    assert visitors.count("c", PRESENT_SECONDS) == 3
    assert visitors.count("c", PRESENT_SECONDS + 1) == 1


def test_a_single_visitor_keeps_full_priority() -> None:
    assert [niceness_among(n) for n in (1, 2, 6, 8, 20)] == [0, 2, 10, NICENESS, NICENESS]
