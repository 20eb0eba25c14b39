"""Enlarge small images for viewing: each pixel becomes a square, without smoothing."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np


def enlarge(image: np.ndarray, side: int = 256) -> np.ndarray:
    """Enlarge to at least ``side`` pixels per side by repeating pixels a whole number of times; uint8 (H, W, 3)."""
    times = max(1, math.ceil(side / min(image.shape[:2])))
    return image.repeat(times, axis=0).repeat(times, axis=1)


def strip(images: Sequence[np.ndarray] | np.ndarray, side: int = 96, gap: int = 6) -> np.ndarray:
    """Images side by side with transparent gaps.

    Args:
        images: uint8 (N, H, W, 3), at least one.
        side: minimum height in pixels.
        gap: pixels between two images.

    Returns:
        uint8 (H', W', 4): RGB and opacity.
    """
    tiles = [enlarge(np.asarray(image), side) for image in images]
    height, width = tiles[0].shape[:2]
    sheet = np.zeros((height, len(tiles) * (width + gap) - gap, 4), np.uint8)
    for number, tile in enumerate(tiles):
        left = number * (width + gap)
        sheet[:, left : left + width, :3] = tile
        sheet[:, left : left + width, 3] = 255
    return sheet
