"""What the benchmarks share: images, a stopwatch, tables, and results as data."""

from __future__ import annotations

import io
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

from toolkit.data.catalog import load_dataset
from toolkit.foundation.files import write_json
from toolkit.runs.environment import environment

RESULTS = Path(__file__).parent / "results"
_LAUNCHER = """
import json, resource, subprocess, sys, time
start = time.perf_counter()
code = subprocess.run(sys.argv[1:], stdout=subprocess.DEVNULL).returncode
used = resource.getrusage(resource.RUSAGE_CHILDREN)
spent = {"cpu_s": used.ru_utime + used.ru_stime, "wall_s": time.perf_counter() - start}
print(json.dumps({**spent, "peak_MiB": used.ru_maxrss / 1024}))
sys.exit(code)
"""
"""Starts a command from a small process: on Linux, the peak of a process is at least what its parent had."""


def benchmark_spec() -> str:
    """Tiny-ImageNet where RECALLRATE_DATA names the folder that holds ``tiny-imagenet-20``, else the demo set."""
    folder = os.environ.get("RECALLRATE_DATA")
    return str(Path(folder) / "tiny-imagenet-20") if folder else "demo"


def benchmark_images(size: int, count: int) -> tuple[str, np.ndarray]:
    """A dataset's name, and ``count`` of its training images at ``size``."""
    dataset = load_dataset(benchmark_spec(), size)
    chosen = dataset.stratified_train_indices(count, seed=0)
    return Path(dataset.name).name, np.array(dataset.train.images[chosen])


def make_images(folder: Path, count: int, base: np.ndarray, per_class: int) -> None:
    """Write ``count`` training images as JPEG files: images of ``base`` shifted, mirrored and with another contrast.

    Args:
        folder: gets ``train`` and ``test``, the latter with one image per class.
        count: number of training images.
        base: uint8 (N, H, W, 3).
        per_class: images of each class.
    """
    rng = np.random.default_rng(0)
    for index in range(count):
        pixels = np.roll(base[rng.integers(len(base))], rng.integers(base.shape[1], size=2), axis=(0, 1))
        pixels = pixels[:, :: rng.choice([-1, 1])]
        pixels = np.clip((pixels - 128.0) * rng.uniform(0.6, 1.2) + rng.uniform(100, 156), 0, 255).astype(np.uint8)
        name = f"class-{index // per_class:05d}"
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "jpeg", quality=90)
        for split in ("train", "test")[: 2 if index % per_class == 0 else 1]:
            path = folder / split / name / f"{index:07d}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            path.write_bytes(file.getvalue())


def measured_command(command: list[str], cache: Path) -> dict[str, float]:
    """Run a command as a process of its own: processor and wall seconds, and its peak memory.

    Args:
        command: its words.
        cache: its cache folder.

    Raises:
        RuntimeError: it failed.
    """
    done = subprocess.run(
        [sys.executable, "-c", _LAUNCHER, *command],
        env={**os.environ, "RECALLRATE_CACHE": str(cache)},
        stdout=subprocess.PIPE,
        text=True,
    )
    if done.returncode:
        raise RuntimeError(f"failed: {' '.join(command)}")
    return json.loads(done.stdout)


def runs_at(counts: Sequence[int], run: Callable[[Path, int], dict[str, Any]]) -> list[dict[str, Any]]:
    """Figures of a run for each number of images, in a temporary folder of its own; printed as they come."""
    rows = []
    for count in counts:
        with tempfile.TemporaryDirectory() as folder:
            rows.append(run(Path(folder), count))
        print(table(rows[-1:]))
    return rows


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
