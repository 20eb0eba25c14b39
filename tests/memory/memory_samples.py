"""Images for memories, and a small memory."""

from __future__ import annotations

from pathlib import Path

import numpy as np

from toolkit.codecs.shared_header import calibration_images
from toolkit.memory.store import ExemplarMemory

SIZE = 16


def pictures(count: int, seed: int = 0, size: int = SIZE) -> np.ndarray:
    """Smooth coloured noise, uint8 (count, size, size, 3)."""
    rng = np.random.default_rng(seed)
    base = calibration_images(size, size)
    shifted = [np.roll(base[i % len(base)], rng.integers(0, size, 2), (0, 1)) for i in range(count)]
    return np.clip(np.stack(shifted) + rng.integers(-9, 10, (count, size, size, 3)), 0, 255).astype(np.uint8)


def small_memory(path: Path) -> Path:
    """Two classes with extras."""
    images = np.random.default_rng(0).integers(0, 256, (2, 3, SIZE, SIZE, 3), dtype=np.uint8)
    with ExemplarMemory(path, 12_000, "jpeg:quality=30") as memory:
        payloads = {label: memory.codec.encode(images[label]) for label in (0, 1)}
        extras = {label: [bytes([label, rank]) * 4 for rank in range(3)] for label in (0, 1)}
        memory.add(payloads, {0: "cat", 1: "dog"}, extras, charged=100, size=(SIZE, SIZE))
    return path
