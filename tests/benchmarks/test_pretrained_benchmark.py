"""The smallest run of the benchmark of pilots on a pretrained network."""

from __future__ import annotations

from pathlib import Path

import bench_pretrained
import pytest

from toolkit.data.catalog import load_dataset


@pytest.mark.slow
def test_probe_and_pilots_are_measured(tmp_path: Path) -> None:
    result = bench_pretrained.bench_pretrained(
        tmp_path, "demo", "head", "raw;jpeg:quality=20", 96, ("--steps", "2", "--views", "1")
    )
    assert [row["what"] for row in result["rows"]] == ["probe", "raw", "jpeg:quality=20"]
    assert result["wall_s"] == sum(row["wall_s"] for row in result["rows"])
    assert len(list((tmp_path / "runs").glob("pilot-*"))) == 6


@pytest.mark.slow
def test_the_peers_take_time_for_every_setting() -> None:
    one = bench_pretrained.peers(load_dataset("demo", 96), "head", 1, 1)
    assert all(value > 0 for value in one.values())
