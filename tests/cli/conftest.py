"""Fixtures of the command-line tests."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from toolkit.foundation import threads


@pytest.fixture(autouse=True)
def threads_restored() -> Iterator[None]:
    """Commands set the number of threads for the whole process."""
    before = threads._threads
    yield
    threads.set_threads(before)
