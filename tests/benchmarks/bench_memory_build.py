"""A sharded build at 10^4 and 10^5 images, extrapolated to 14 million.

``python tests/benchmarks/bench_memory_build.py``

Each build is a process of its own with one worker and one thread; its cost is processor time, so that other work on
the machine does not count, and its peak memory is what the system reports. Classes have 500 images each, and the
budget is one raw image a class, whatever the number of images: so the memory grows with the classes, as in practice.
The files are 32 px small and on a local disk: the decoding of larger originals, and their way here, come on top.
"""

from __future__ import annotations

import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from reporting import benchmark_images, make_images, measured_command, runs_at, save, table

COUNTS = (10_000, 100_000)
PER_CLASS = 500
SIZE = 32
TARGET = 14_000_000
_BASE = 2000


def bench_build(folder: Path, count: int, base: np.ndarray) -> dict[str, Any]:
    """One build: processor and wall seconds, peak memory, and what it made."""
    make_images(folder / "data", count, base, PER_CLASS)
    command = [
        sys.executable,
        "-m",
        "toolkit.cli",
        "memory",
        "build",
        str(folder / "data"),
        "-o",
        str(folder / "memory"),
        "--size",
        str(SIZE),
        "--codec",
        "jpeg:quality=50",
        "--budget",
        "1img",
        "--extractor",
        "stage0",
        "--shards",
        "4",
        "--workers",
        "1",
        "--threads",
        "1",
        "--json",
        str(folder / "made.json"),
    ]
    spent = measured_command(command, folder / "cache")
    made = json.loads((folder / "made.json").read_text())
    return {
        "images": made["selection"]["images"],
        **spent,
        "images_per_cpu_s": count / spent["cpu_s"],
        "exemplars": made["exemplars"],
        "memory_bytes": made["memory_bytes"],
        "file_bytes": made["file_bytes"],
        "candidates_a_class": made["selection"]["candidates"],
    }


def extrapolate(rows: list[dict[str, Any]], images: int = TARGET) -> dict[str, Any]:
    """Cost of ``images``: least squares through ``rows`` of a constant and a rate, for time and for file bytes."""
    counts = [row["images"] for row in rows]
    rate, start = np.polyfit(counts, [row["cpu_s"] for row in rows], 1)
    byte_rate, first_bytes = np.polyfit(counts, [row["file_bytes"] for row in rows], 1)
    hours = (start + rate * images) / 3600
    return {
        "images": images,
        "fit": f"core seconds = {start:.1f} + {rate * 1e3:.3f} / 1000 x images; "
        f"file bytes = {first_bytes:.0f} + {byte_rate:.3f} x images; a line through {len(rows)} points",
        "core_hours": hours,
        "hours_on_64_cores": hours / 64,
        "file_bytes": first_bytes + byte_rate * images,
    }


def main() -> int:
    dataset, base = benchmark_images(SIZE, _BASE)
    rows = runs_at(COUNTS, lambda folder, count: bench_build(folder, count, base))
    result = {"dataset": f"{dataset}, varied", "size": SIZE, "codec": "jpeg:quality=50", "builds": rows}
    result["extrapolated"] = extrapolate(rows)
    print(result["extrapolated"]["fit"])
    print(table([{key: value for key, value in result["extrapolated"].items() if key != "fit"}]))
    save("memory-build", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
