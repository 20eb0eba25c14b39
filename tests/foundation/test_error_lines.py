"""Errors as single lines, and the estimate of the remaining time."""

from __future__ import annotations

import errno
import os

import pytest

from toolkit.foundation.errors import UsageError, WorkError, describe_os_error, one_line
from toolkit.foundation.progress import Eta, silent


@pytest.mark.parametrize(
    ("error", "line"),
    [
        (ValueError("first\n  second\tthird"), "first second third"),
        (MemoryError(), "MemoryError"),
        (RuntimeError("  \n "), "RuntimeError"),
    ],
)
def test_any_error_becomes_one_line(error: Exception, line: str) -> None:
    assert one_line(error) == line


def test_an_os_error_is_described_by_action_and_reason() -> None:
    full = OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), "/inner/path")
    assert describe_os_error(full, "write", "/outer") == "cannot write /outer: No space left on device"
    assert describe_os_error(OSError("odd\nthing"), "read", "x") == "cannot read x: odd thing"


def test_usage_and_work_errors_differ() -> None:
    assert issubclass(UsageError, ValueError)
    assert issubclass(WorkError, RuntimeError)
    assert not issubclass(UsageError, WorkError)


def test_the_seconds_left_follow_the_pace_so_far() -> None:
    now = 100.0
    eta = Eta(clock=lambda: now)
    assert eta.seconds_left(0, 10) is None
    now = 106.0
    assert eta.seconds_left(3, 10) == pytest.approx(14.0)
    assert eta.seconds_left(10, 10) == 0
    assert eta.seconds_left(12, 10) == 0


def test_silent_progress_accepts_any_step() -> None:
    silent("anything", 3, 10)
