"""Pages give way to training: their threads run at a lower priority than the workers on the same cores.

A process inherits the priority of the thread that starts it and cannot raise it again, so workers and supervisors are
started by a thread of its own, which keeps the priority that the server was given.
"""

from __future__ import annotations

import os
import sys
import threading
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from contextlib import suppress
from typing import TypeVar

Result = TypeVar("Result")

NICENESS = 10
"""Of a page's thread, on the scale of ``nice``: where cores are short it gets a tenth of what a worker gets."""
_starter = ThreadPoolExecutor(1, "starter")
_starter.submit(int).result()  # its thread begins now, before any page has given way


def give_way() -> None:
    """Lower the priority of the calling thread, where the system keeps one for each thread."""
    if sys.platform == "linux":
        with suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), NICENESS)


def at_full_priority(start: Callable[[], Result]) -> Result:
    """Do something that starts processes, at the server's own priority; what it raises is raised here."""
    return _starter.submit(start).result()
