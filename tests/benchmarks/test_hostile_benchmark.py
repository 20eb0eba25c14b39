"""The smallest run of the hostile benchmark, and the limits that its figures must keep."""

from __future__ import annotations

import bench_hostile
import pytest


@pytest.mark.benchmark
def test_no_hostile_input_takes_more_than_300_mb_or_two_seconds() -> None:
    told = bench_hostile.bench_hostile(20)
    assert told["unexpected"] == []
    assert sum(told["outcomes"]["streams"].values()) == 20
    assert told["outcomes"]["bombs"]["refused"] >= 95
    assert told["peak_mb_above_the_start"] <= 300
    assert told["slowest_seconds"] <= 2
