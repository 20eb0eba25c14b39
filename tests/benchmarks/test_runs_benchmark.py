"""The smallest run of the benchmark of the runs' index, and the ratio that makes the index worth its code."""

from __future__ import annotations

from pathlib import Path

import bench_runs
import pytest


def test_the_benchmark_reads_every_run_each_way(tmp_path: Path) -> None:
    told = bench_runs.bench_runs(tmp_path, runs=3, events=5)
    assert told["runs"] == 3
    assert all(value >= 0 for value in told.values())


@pytest.mark.benchmark
def test_a_warm_query_costs_a_tenth_of_reading_the_folders(tmp_path: Path) -> None:
    assert bench_runs.bench_runs(tmp_path, runs=200)["warm_over_folders"] <= 0.1
