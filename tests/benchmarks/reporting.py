"""What the benchmarks share: images, a stopwatch, tables, and results as data."""

from __future__ import annotations

import os
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np

from toolkit.data.catalog import load_dataset
from toolkit.foundation.files import write_json
from toolkit.runs.environment import environment

RESULTS = Path(__file__).parent / "results"


def benchmark_spec() -> str:
    """Tiny-ImageNet where RECALLRATE_DATA names the folder that holds ``tiny-imagenet-20``, else the demo set."""
    folder = os.environ.get("RECALLRATE_DATA")
    return str(Path(folder) / "tiny-imagenet-20") if folder else "demo"


def benchmark_images(size: int, count: int) -> tuple[str, np.ndarray]:
    """A dataset's name, and ``count`` of its training images at ``size``."""
    dataset = load_dataset(benchmark_spec(), size)
    chosen = dataset.stratified_train_indices(count, seed=0)
    return Path(dataset.name).name, np.array(dataset.train.images[chosen])


def seconds(work: Callable[[], object]) -> float:
    """Wall time of one call."""
    start = time.perf_counter()
    work()
    return time.perf_counter() - start


def table(rows: list[dict[str, Any]]) -> str:
    """Rows as aligned text."""

    def cell(value: object) -> str:
        if not isinstance(value, float):
            return str(value)
        return f"{value:.2f}" if value < 10 else f"{value:.0f}"

    lines = [list(rows[0]), *([cell(value) for value in row.values()] for row in rows)]
    widths = [max(map(len, column)) for column in zip(*lines, strict=True)]
    return "\n".join("  ".join(text.ljust(width) for text, width in zip(line, widths, strict=True)) for line in lines)


def save(name: str, result: dict[str, Any]) -> None:
    """Write ``results/NAME.json`` with the machine's facts beside the figures."""
    write_json(RESULTS / f"{name}.json", {"machine": environment(), **result})
