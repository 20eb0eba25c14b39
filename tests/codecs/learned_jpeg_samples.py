"""Quantisation tables to try the learned-jpeg codec with."""

from __future__ import annotations

import io
from collections.abc import Callable

import numpy as np
from PIL import Image

from toolkit.codecs.jpeg_tables import QuantisationTables

ODD = QuantisationTables(np.arange(64).reshape(8, 8) + 1, 255 - 3 * np.arange(64).reshape(8, 8))
"""Tables that neither transposing nor zigzag leaves as they are."""
Build = Callable[..., str]


def standard(quality: int) -> tuple[np.ndarray, np.ndarray]:
    """The tables that Pillow writes at a quality."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        luma, chroma = (np.array(image.quantization[number]).reshape(8, 8) for number in (0, 1))
    return luma, chroma


def with_everything(quality: int, dead_zone: float = 0.6, spread: float = 0.2) -> QuantisationTables:
    """Standard tables with a constant dead zone, and an alpha whose rounding errs by about ``spread`` steps."""
    steps = np.stack(standard(quality))
    return QuantisationTables(*steps, np.full((2, 8, 8), dead_zone), 1 / (2 * (spread * steps) ** 2))
