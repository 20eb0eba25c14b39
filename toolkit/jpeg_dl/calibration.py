"""Calibration of the analytic rate against the sizes of real JPEG files."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from scipy import stats

from toolkit.codecs.jpeg_tables import QuantisationTables
from toolkit.codecs.learned_jpeg import encode_with_tables
from toolkit.jpeg.transform import BlockTransform
from toolkit.jpeg_dl.contents import RateEstimate
from toolkit.jpeg_dl.rates import code_lengths


def calibrate_rate(images: np.ndarray, tables: Sequence[np.ndarray], subsampling: str = "444") -> RateEstimate:
    """Estimated against real bits per pixel, over all pairs of an image and a table.

    The size of a uniformly grey file is subtracted from real file sizes: headers would only add an offset.

    Args:
        images: uint8 (N, H, W, 3).
        tables: integer steps (2, 8, 8), 1..255, over a wide range of rates.
        subsampling: ``444`` or ``420``.

    Returns:
        ``rank_correlation`` (Spearman) and ``correlation`` (Pearson) over the pairs; ``scale`` and ``offset`` of the
        least-squares line real = scale * estimate + offset; ``pairs``.
    """
    transform = BlockTransform(subsampling, "replicate")
    batch = torch.from_numpy(np.array(images)).permute(0, 3, 1, 2).float()
    pixels = images.shape[1] * images.shape[2]
    estimated, real = [], []
    for steps in tables:
        learned = QuantisationTables(steps[0], steps[1])
        empty = len(encode_with_tables(np.full(images.shape[1:], 128, np.uint8), learned, subsampling, "nearest"))
        sizes = [len(encode_with_tables(image, learned, subsampling, "nearest")) - empty for image in images]
        real += [8 * size / pixels for size in sizes]
        estimated += code_lengths(batch, torch.from_numpy(np.asarray(steps)).float(), transform).tolist()
    scale, offset = np.polyfit(estimated, real, 1)
    return {
        "rank_correlation": float(stats.spearmanr(estimated, real).statistic),
        "correlation": float(np.corrcoef(estimated, real)[0, 1]),
        "scale": float(scale),
        "offset": float(offset),
        "pairs": len(real),
    }
