"""Fixed images for the codec tests, drawn independently of the calibration images, and an independent PSNR."""

from __future__ import annotations

import numpy as np

from toolkit.data.dataset import ImageDataset


def natural(count: int, size: int, seed: int = 7) -> np.ndarray:
    """Photograph-like: a colour gradient, shaded rectangles, faint texture; uint8 (count, size, size, 3)."""
    rng = np.random.default_rng(seed)
    y, x = np.mgrid[0:size, 0:size] / size
    images = np.empty((count, size, size, 3), np.uint8)
    for image in images:
        start, slope_x, slope_y = rng.uniform(40, 200, 3), rng.uniform(-90, 90, 3), rng.uniform(-90, 90, 3)
        canvas = start + x[..., None] * slope_x + y[..., None] * slope_y
        for _ in range(4):
            top, left = rng.integers(0, max(1, size - 4), 2)
            bottom, right = top + rng.integers(3, max(4, size // 2)), left + rng.integers(3, max(4, size // 2))
            canvas[top:bottom, left:right] = rng.uniform(0, 255, 3) + canvas[top:bottom, left:right] * 0.2
        texture = rng.normal(0, 5, (size, size, 1)) + 8 * np.sin(rng.uniform(5, 40) * (x + y))[..., None]
        image[:] = np.clip(np.rint(canvas + texture), 0, 255)
    return images


def by_class(dataset: ImageDataset) -> dict[int, np.ndarray]:
    """The training images of each class of a dataset."""
    images, labels = np.asarray(dataset.train.images), dataset.train.labels
    return {label: images[labels == label] for label in range(len(dataset.class_names))}


def noise(count: int, size: int, seed: int = 11) -> np.ndarray:
    """Independent uniform pixels: the hardest images there are."""
    return np.random.default_rng(seed).integers(0, 256, (count, size, size, 3), dtype=np.uint8)


def flat(size: int) -> np.ndarray:
    """Black, white, grey and three colours."""
    colours = [(0, 0, 0), (255, 255, 255), (130, 130, 130), (255, 0, 7), (10, 200, 90), (77, 60, 44)]
    return np.stack([np.full((size, size, 3), colour, np.uint8) for colour in colours])


def psnr(decoded: np.ndarray, original: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each image in dB, 99 where they are equal."""
    error = np.mean((decoded.astype(np.float64) - original.astype(np.float64)) ** 2, axis=(1, 2, 3))
    return 10 * np.log10(255.0**2 / np.maximum(error, 255.0**2 / 10**9.9))
