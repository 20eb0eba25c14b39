"""The smallest run of the benchmark of opening a dataset."""

from __future__ import annotations

from pathlib import Path

import bench_data
import numpy as np
import pytest


@pytest.mark.slow
def test_opening_a_dataset_is_measured_and_extrapolated(tmp_path: Path) -> None:
    base = np.random.default_rng(0).integers(0, 256, (4, 32, 32, 3), dtype=np.uint8)
    row = bench_data.bench_data(tmp_path, 40, base, per_class=10)
    assert row["images"] == 40
    assert row["cache_MB"] >= (40 + 4) * 3 * 32 * 32 / 1e6
    assert 0 < row["peak_MiB"] < bench_data.MOST_MIB
    more = {**row, "images": 80, "peak_MiB": row["peak_MiB"] + 8}
    found = bench_data.extrapolate([row, more], 160)
    assert found["peak_MiB"] == pytest.approx(row["peak_MiB"] + 24)
