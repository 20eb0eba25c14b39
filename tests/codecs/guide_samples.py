"""A guide without a network: given boxes, and simple features."""

from __future__ import annotations

import numpy as np


class HandMadeGuide:
    """The same box for every image; an image's features are its pixels over 255, averaged over cells of 8 x 8."""

    digest = "by hand"

    def __init__(self, box: tuple[int, int, int, int] = (4, 6, 20, 30)) -> None:
        self.box = box
        self.thresholds: list[float] = []

    def features(self, images: np.ndarray) -> np.ndarray:
        count, height, width = images.shape[:3]
        cells = images.reshape(count, height // 8, 8, width // 8, 8, 3).mean(axis=(2, 4)) / 255
        return cells.reshape(count, -1).astype(np.float32)

    def boxes(self, images: np.ndarray, threshold: float) -> np.ndarray:
        self.thresholds.append(threshold)
        return np.tile(np.array(self.box, np.int64), (len(images), 1))
