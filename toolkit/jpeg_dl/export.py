"""Export learned tables to a file for the ``learned-jpeg`` codec."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch

from toolkit.codecs.jpeg_tables import QuantisationTables, integer_tables, write_tables
from toolkit.data.catalog import load_dataset, short_name
from toolkit.foundation.errors import UsageError
from toolkit.foundation.progress import Progress, silent
from toolkit.jpeg.quantizer import index_limit
from toolkit.jpeg.rate import hard_probabilities
from toolkit.jpeg.tables import sensitivity
from toolkit.jpeg.transform import BlockTransform
from toolkit.jpeg_dl.config import JPEGConfig
from toolkit.jpeg_dl.experiment import load_trained
from toolkit.jpeg_dl.rates import REAL_BITS, planes
from toolkit.jpeg_dl.variants import TrainingData
from toolkit.runs.folder import RunFolder
from toolkit.training.networks import Classifier

WIDEST = 1.0
"""Largest dead zone threshold in steps: above it, the nearest index would no longer be a neighbour of 0."""


def export_tables(
    run: RunFolder, path: Path, *, variant: str = "jpeg", progress: Progress = silent
) -> QuantisationTables:
    """Write a trained variant's tables as integers 1..255, with its sharpness and, if trained for rate, dead zones.

    Raises:
        UsageError: no such trained variant, or steps out of range for a JPEG file.
        WorkError: the file cannot be written.
    """
    config, network, layer = load_trained(run, variant)
    if layer is None:
        raise UsageError("the plain network has no tables: export jpeg or one of its controls")
    steps = integer_tables(layer.tables().detach().numpy())
    dead_zone = None
    if config.rate_weight:
        dataset = load_dataset(config.dataset, config.size, progress=progress)
        data = TrainingData.of(dataset, config, progress)
        dead_zone = dead_zones(network, data, torch.from_numpy(steps).float(), config)
    trained = {
        "run": run.name,
        "variant": variant,
        "dataset": short_name(config.dataset),
        "size": config.size,
        "network": config.network,
        "rate_weight": config.rate_weight,
    }
    alpha = layer.alphas().detach().double().numpy()
    tables = QuantisationTables(steps[0], steps[1], dead_zone, alpha, trained)
    write_tables(path, tables)
    return tables


def dead_zones(network: Classifier, data: TrainingData, steps: torch.Tensor, config: JPEGConfig) -> np.ndarray:
    """Thresholds below which the training loss prefers index 0 to index 1, float64 (2, 8, 8) in steps.

    To second order, an error e in a coefficient raises the cross entropy of an image by S e^2 / 2 (S: its sensitivity,
    the mean squared gradient, which is the diagonal of the Fisher information). Index 0 instead of 1 for z = u q saves
    the difference d of their information in bits, at lambda / pixels per bit. It lowers the loss for
    u < 1/2 + lambda d / (pixels S q^2).
    """
    transform = BlockTransform()
    by_plane = sensitivity(network.eval(), data.sample(), transform)
    curvature = torch.stack([by_plane[0], (by_plane[1] + by_plane[2]) / 2])
    images = data.sample_images()
    weight = config.rate_weight / (images.shape[2] * images.shape[3])
    zero = index_limit(REAL_BITS)
    thresholds = []
    for table in (0, 1):
        z = torch.cat([plane for which, plane in planes(transform, images) if which == table])
        q = steps[table].flatten()
        information = -hard_probabilities(z, q, REAL_BITS).clamp(min=1e-6).log2()
        saved = (information[:, zero + 1] + information[:, zero - 1]) / 2 - information[:, zero]
        thresholds.append(0.5 + weight * saved.clamp(min=0) / (curvature[table] * q * q))
    return torch.stack(thresholds).clamp(0.5, WIDEST).view(2, 8, 8).double().numpy()
