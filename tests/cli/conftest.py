"""Fixtures of the command-line tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from toolkit.foundation import threads


@pytest.fixture(autouse=True)
def threads_restored() -> Iterator[None]:
    """Restore the number of threads, which commands set for the whole process."""
    before = threads._threads
    yield
    threads.set_threads(before)
