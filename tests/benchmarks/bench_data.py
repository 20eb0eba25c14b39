"""``recallrate data`` on folders of 5,000 and 20,000 photographs of 224 px, extrapolated to 100,000.

``python tests/benchmarks/bench_data.py``

Each run is a process of its own with an empty cache; its peak memory is what the system reports, and its disk the
cache's. A line through the two runs gives the figures of 100,000 files. The files are varied from the benchmark's
images, JPEG at quality 90 and on a local disk; larger files take longer to decode.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import Any

import numpy as np
from reporting import benchmark_images, make_images, measured_command, runs_at, save, table

COUNTS = (5_000, 20_000)
PER_CLASS = 500
SIZE = 224
TARGET = 100_000
MOST_MIB = 500
_BASE = 200


def bench_data(folder: Path, count: int, base: np.ndarray, per_class: int = PER_CLASS) -> dict[str, float]:
    """One run: processor and wall seconds, peak memory, and the size of the cache."""
    make_images(folder / "data", count, base, per_class)
    command = [sys.executable, "-m", "toolkit.cli", "data", str(folder / "data"), "--size", str(base.shape[1])]
    spent = measured_command(command, folder / "cache")
    disk = sum(path.stat().st_size for path in (folder / "cache").rglob("*") if path.is_file())
    return {"images": count, **spent, "cache_MB": disk / 1e6}


def extrapolate(rows: list[dict[str, float]], images: int = TARGET) -> dict[str, float]:
    """The figures of ``images`` files: a line through ``rows``."""
    counts = [row["images"] for row in rows]
    at = {name: np.polyval(np.polyfit(counts, [row[name] for row in rows], 1), images) for name in rows[0]}
    return {name: float(value) for name, value in at.items()}


def main() -> int:
    dataset, base = benchmark_images(SIZE, _BASE)
    rows = runs_at(COUNTS, lambda folder, count: bench_data(folder, count, base))
    result: dict[str, Any] = {"dataset": f"{dataset}, varied", "size": SIZE, "runs": rows}
    result["extrapolated"] = extrapolate(rows)
    print(table([result["extrapolated"]]))
    save("data", result)
    return 0 if result["extrapolated"]["peak_MiB"] <= MOST_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
