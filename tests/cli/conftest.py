"""What the command line's tests share."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from toolkit.foundation import parallel


@pytest.fixture(autouse=True)
def threads_restored() -> Iterator[None]:
    """Commands set the number of threads for the whole process."""
    before = parallel._threads
    yield
    parallel.set_threads(before)
