"""The ratios that must hold; ``pytest -m benchmark``."""

from __future__ import annotations

from pathlib import Path

import bench_advice
import bench_foreground
import bench_jpeg
import bench_memory
import bench_neural
import bench_probe
import bench_training
import pytest

pytestmark = pytest.mark.benchmark


def test_the_loop_adds_at_most_15_percent_to_the_bare_steps() -> None:
    assert bench_training.bench_loop()["ratio"] <= 1.15


def test_distillation_keeps_most_of_the_throughput() -> None:
    assert bench_training.bench_distillation()["ratio"] >= 0.6


def test_the_memory_adds_little_to_bare_sqlite(tmp_path: Path) -> None:
    result = bench_memory.bench_memory(tmp_path, exemplars=200_000)
    assert result["read_over_bare"] <= 3
    assert result["add_over_bare"] <= 6


def test_the_probe_takes_little_longer_than_its_slower_half() -> None:
    assert bench_probe.bench_probe()["ratio"] <= 1.3  # type: ignore[operator]


def test_the_rules_take_no_longer_than_the_probe_they_rest_on() -> None:
    assert bench_advice.bench_advice()["share_beyond_the_probe"] <= 1  # type: ignore[operator]


def test_finding_the_foreground_takes_at_most_twice_a_forward() -> None:
    assert bench_foreground.bench_foreground(32, 500)["ratio"] <= 2


def test_neural_streams_are_shorter_and_faster_than_compressais() -> None:
    ours, theirs = bench_neural.bench_streams()[:2]
    assert ours["bytes an image"] < theirs["bytes an image"]
    assert ours["encode images/s"] > 1.5 * theirs["encode images/s"]
    assert ours["decode images/s"] > 1.5 * theirs["decode images/s"]


def test_the_jpeg_layer_is_several_times_faster_than_its_peers_and_keeps_little() -> None:
    rows = {row["layer"]: row for row in bench_jpeg.bench_jpeg()}
    assert rows["straight-through"]["times_faster"] >= 3
    assert rows["soft"]["times_faster"] >= 3
    assert max(rows["straight-through, compiled"]["times_faster"], rows["straight-through"]["times_faster"]) >= 7
    assert max(rows["soft, compiled"]["times_faster"], rows["soft"]["times_faster"]) >= 8
    assert rows["soft"]["kept_over_input"] <= 1.5
