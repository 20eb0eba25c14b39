"""Peak signal-to-noise ratio of decoded images, for code that runs without torch."""

from __future__ import annotations

import numpy as np


def psnr_of(originals: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    """Peak signal-to-noise ratio of each image in dB, infinite where no pixel differs; float64 (N,).

    Args:
        originals, decoded: uint8 (N, ...).
    """
    errors = (decoded.astype(np.float64) - originals).reshape(len(originals), -1)
    with np.errstate(divide="ignore"):
        return np.asarray(10 * np.log10(255**2 / np.square(errors).mean(axis=1)))
