"""Grey images: three equal channels in a dataset, one channel in a memory."""

from __future__ import annotations

import numpy as np

_EVERY = 7
"""Rows and columns between the pixels that are looked at first: most colour images differ in one of them."""


def is_grey(image: np.ndarray) -> bool:
    """Whether the channels of an image, uint8 (H, W, 3), are equal in every pixel."""
    return _equal(image[::_EVERY, ::_EVERY]) and _equal(image)


def one_channel(image: np.ndarray) -> np.ndarray:
    """The channel of a grey image, (H, W, 3) to (H, W)."""
    return np.ascontiguousarray(image[..., 0])


def three_channels(image: np.ndarray) -> np.ndarray:
    """A grey image as colour, (H, W) to (H, W, 3)."""
    return np.repeat(image[..., None], 3, axis=2)


def _equal(image: np.ndarray) -> bool:
    first = image[..., 0]
    return np.array_equal(first, image[..., 1]) and np.array_equal(first, image[..., 2])
