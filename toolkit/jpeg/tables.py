"""Quantisation tables: JPEG's standard tables and initial tables for training.

A pair of tables is a float tensor of steps (2, 8, 8), luma then chroma; frequencies are in row-major order, DC first.
"""

from __future__ import annotations

import math
from collections.abc import Iterable, Iterator
from numbers import Integral

import torch
from torch import nn
from torch.nn import functional

from toolkit.jpeg.quantizer import clipped, index_limit
from toolkit.jpeg.transform import BlockTransform

SMALLEST, LARGEST = 1e-5, 255.0
"""The paper's range of steps."""
_LUMA = (
    (16, 11, 10, 16, 24, 40, 51, 61),
    (12, 12, 14, 19, 26, 58, 60, 55),
    (14, 13, 16, 24, 40, 57, 69, 56),
    (14, 17, 22, 29, 51, 87, 80, 62),
    (18, 22, 37, 56, 68, 109, 103, 77),
    (24, 35, 55, 64, 81, 104, 113, 92),
    (49, 64, 78, 87, 103, 121, 120, 101),
    (72, 92, 95, 98, 112, 100, 103, 99),
)
_CHROMA = (
    (17, 18, 24, 47, 99, 99, 99, 99),
    (18, 21, 26, 66, 99, 99, 99, 99),
    (24, 26, 56, 99, 99, 99, 99, 99),
    (47, 66, 99, 99, 99, 99, 99, 99),
    *((99,) * 8,) * 4,
)

LabelledImages = tuple[torch.Tensor, torch.Tensor]


def standard_tables(quality: int) -> torch.Tensor:
    """libjpeg's tables at a quality: annex K of ITU-T T.81, scaled and limited to 1..255 as jpeg_set_quality does.

    Raises:
        ValueError: quality outside 1..100 or not an integer.
    """
    if isinstance(quality, bool) or not isinstance(quality, Integral) or not 1 <= quality <= 100:
        raise ValueError(f"quality must be 1..100, got {quality!r}")
    scale = 5000 // quality if quality < 50 else 200 - 2 * quality
    scaled = (torch.tensor((_LUMA, _CHROMA)) * scale + 50) // 100
    return scaled.clamp(1, 255).float()


def ones() -> torch.Tensor:
    """Steps of 1."""
    return torch.ones(2, 8, 8)


def by_sensitivity(
    network: nn.Module, batches: Iterable[LabelledImages], transform: BlockTransform, *, largest: float = 10.0
) -> torch.Tensor:
    """Coarse steps where a trained network is insensitive: the paper's choice for CIFAR and fine-grained datasets.

    The sensitivity of a frequency is S = mean over images and blocks of (dCE/dz)^2; luma steps are proportional to 1/S,
    chroma steps to 2/(S_Cb + S_Cr), each table scaled so that its largest step is ``largest`` (5..20 in the paper).

    Args:
        network: RGB images (N, 3, H, W) in [0, 255] to logits, in evaluation mode.
        batches: images (N, 3, H, W) in [0, 255] and labels (N,).
        transform: at 4:4:4.
    """
    planes = sensitivity(network, batches, transform)
    inverse = torch.stack([1 / planes[0], 2 / (planes[1] + planes[2])])
    return (largest * inverse / inverse.amax(dim=1, keepdim=True)).clamp(SMALLEST, LARGEST).view(2, 8, 8)


def sensitivity(network: nn.Module, batches: Iterable[LabelledImages], transform: BlockTransform) -> torch.Tensor:
    """Mean squared gradient of each image's cross entropy by plane and frequency, float (3, 64)."""
    total = torch.zeros(3, 64)
    blocks = 0
    for images, labels in batches:
        (z,) = transform.analyse(images.float())
        z = z.detach().requires_grad_()
        logits = network(transform.synthesise((z,), (images.shape[2], images.shape[3])))
        # the sum, not the mean: an image's gradient must not shrink with the batch
        (gradient,) = torch.autograd.grad(functional.cross_entropy(logits.float(), labels, reduction="sum"), z)
        total += gradient.square().sum(dim=(0, 1, 2)).cpu()
        blocks += z[..., 0, 0].numel()
    return total.clamp(min=torch.finfo(total.dtype).tiny * 1e8) / blocks


def by_magnitude(images: Iterable[torch.Tensor], transform: BlockTransform, *, bits: int = 8) -> torch.Tensor:
    """Steps 2 mean|z| / sqrt(2**(bits - 1)), the paper's initialisation for ImageNet.

    Args:
        images: batches (N, 3, H, W) in [0, 255].
        transform: of the layer.
        bits: of the indices.
    """
    return (2 * _mean_magnitude(images, transform) / math.sqrt(index_limit(bits) + 1)).clamp(SMALLEST, LARGEST)


def by_laplace(
    images: Iterable[torch.Tensor], transform: BlockTransform, *, bits: int = 8, clip: float = 1e-3
) -> torch.Tensor:
    """The finest steps that clip at most a fraction ``clip`` of each frequency's coefficients.

    Coefficients are assumed to be Laplacian with scale mean|z|, so that P(|z| > limit q) = exp(-limit q / scale).
    Unlike steps by sensitivity, these clip almost nothing.
    """
    scale = _mean_magnitude(images, transform)
    return (scale * math.log(1 / clip) / index_limit(bits)).clamp(SMALLEST, LARGEST)


def clip_rate(
    images: Iterable[torch.Tensor], transform: BlockTransform, steps: torch.Tensor, *, bits: int = 8
) -> torch.Tensor:
    """Fraction of coefficients whose index is beyond the limit, float (2, 8, 8)."""
    counts, total = torch.zeros(2, 64), torch.zeros(2, 1)
    for table, z in _coefficients(images, transform):
        counts[table] += clipped(z, steps[table].to(z.device).flatten(), bits).sum(0).cpu()
        total[table] += len(z)
    return (counts / total).view(2, 8, 8)


def _mean_magnitude(images: Iterable[torch.Tensor], transform: BlockTransform) -> torch.Tensor:
    sums, total = torch.zeros(2, 64), torch.zeros(2, 1)
    for table, z in _coefficients(images, transform):
        sums[table] += z.abs().sum(0).cpu()
        total[table] += len(z)
    return (sums / total).view(2, 8, 8)


@torch.no_grad()
def _coefficients(images: Iterable[torch.Tensor], transform: BlockTransform) -> Iterator[tuple[int, torch.Tensor]]:
    """Each batch's coefficients by table: 0 or 1, and float (blocks, 64)."""
    for batch in images:
        parts = transform.analyse(batch.float())
        luma = parts[0][..., :1, :]
        chroma = parts[0][..., 1:, :] if len(parts) == 1 else parts[1]
        yield 0, luma.reshape(-1, 64)
        yield 1, chroma.reshape(-1, 64)
