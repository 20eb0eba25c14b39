"""Rates of quantised images: the analytic estimate for given tables, and standard tables of the same rate."""

from __future__ import annotations

import torch

from toolkit.jpeg.layer import JPEGLayer
from toolkit.jpeg.precision import computing_type, without_autocast
from toolkit.jpeg.quantizer import hard_quantize, index_limit
from toolkit.jpeg.rate import bits_per_pixel, entropy, hard_entropy, hard_probabilities, level_probabilities
from toolkit.jpeg.tables import standard_tables
from toolkit.jpeg.transform import BlockTransform

REAL_BITS = 12
"""Bit width of indices that never clips an 8-bit image at the steps of a JPEG file: 1 or more."""
ALL_BITS = 24
"""Bit width of indices that never clips at any step that training may find."""


def soft_rate(layer: JPEGLayer, images: torch.Tensor) -> torch.Tensor:
    """Estimated bits per pixel of the layer for ``images`` (N, 3, H, W) in [0, 255], with gradients for its tables."""
    bits = min(layer.bits, REAL_BITS)  # the estimate keeps a histogram over all indices
    dtype = computing_type(images, layer.steps)
    with without_autocast(images.device):
        tables, alphas = (one.to(dtype).flatten(1) for one in (layer.tables(), layer.alphas()))
        rates = [
            bits_per_pixel(
                entropy(level_probabilities(z, tables[table], alphas[table], layer.levels, bits)),
                len(z),
                images.shape[0] * images.shape[2] * images.shape[3],
            )
            for table, z in planes(layer.transform, images.to(dtype))
        ]
    return torch.stack(rates).sum()


@torch.no_grad()
def hard_rate(images: torch.Tensor, tables: torch.Tensor, transform: BlockTransform, *, bits: int = REAL_BITS) -> float:
    """Estimated bits per pixel of ``images`` (N, 3, H, W) in [0, 255] rounded with ``tables`` (2, 8, 8)."""
    pixels = images.shape[0] * images.shape[2] * images.shape[3]
    rates = [
        bits_per_pixel(hard_entropy(z, tables[table].flatten(), bits), len(z), pixels)
        for table, z in planes(transform, images.float())
    ]
    return float(torch.stack(rates).sum())


@torch.no_grad()
def code_lengths(images: torch.Tensor, tables: torch.Tensor, transform: BlockTransform) -> torch.Tensor:
    """Bits per pixel of each image under the joint index probabilities of all images; float (N,).

    Args:
        images: (N, 3, H, W) in [0, 255].
        tables: integer steps as float (2, 8, 8).
    """
    count, pixels = len(images), images.shape[2] * images.shape[3]
    total = torch.zeros(count)
    limit = index_limit(REAL_BITS)
    for table, z in planes(transform, images.float()):
        steps = tables[table].flatten()
        information = -hard_probabilities(z, steps, REAL_BITS).clamp(min=1e-12).log2()
        index = (hard_quantize(z, steps, REAL_BITS) / steps).round().long() + limit
        bits = information.gather(1, index.T).T  # (M, 64), each coefficient's own
        total += bits.reshape(count, -1).sum(1)
    return total / pixels


@torch.no_grad()
def energy_passed(
    images: torch.Tensor, tables: torch.Tensor, transform: BlockTransform, *, bits: int = REAL_BITS
) -> torch.Tensor:
    """Frequency response of the quantiser: energy of the rounded coefficients over that of the coefficients.

    float64 (2, 8, 8), luma and chroma: 1 for frequencies that pass unchanged or have no energy, 0 for frequencies that
    are removed. Rounding up can raise it above 1; clipping lowers it.

    Args:
        images: (N, 3, H, W) in [0, 255].
        tables: steps, float (2, 8, 8).
    """
    before = torch.zeros(2, 64, dtype=torch.float64)
    after = torch.zeros_like(before)
    for table, z in planes(transform, images.float()):
        before[table] += z.double().square().sum(0)
        after[table] += hard_quantize(z, tables[table].flatten(), bits).double().square().sum(0)
    return torch.where(before > 0, after / before.clamp_min(1e-30), 1.0).view(2, 8, 8)


def matching_quality(images: torch.Tensor, target: float, transform: BlockTransform) -> int:
    """The quality whose standard tables are closest to an estimated rate; 1 or 100 if it is out of range."""
    low, high = 1, 100
    while high - low > 1:  # the rate grows with quality
        middle = (low + high) // 2
        if hard_rate(images, standard_tables(middle), transform) < target:
            low = middle
        else:
            high = middle
    gaps = {q: abs(hard_rate(images, standard_tables(q), transform) - target) for q in (low, high)}
    return min(gaps, key=gaps.__getitem__)


def planes(transform: BlockTransform, images: torch.Tensor) -> list[tuple[int, torch.Tensor]]:
    """Table and coefficients (blocks, 64) of Y, Cb and Cr."""
    parts = transform.analyse(images)
    planes = [part[..., c, :].reshape(-1, 64) for part in parts for c in range(part.shape[3])]
    return list(zip((0, 1, 1), planes, strict=True))
