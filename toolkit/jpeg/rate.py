"""A differentiable, analytic estimate of the rate of quantised coefficients.

Each frequency's index has the mean probability P(i) = mean over blocks of P(i | z) under the random quantiser; an ideal
entropy coder spends H = -sum P(i) log2 P(i) bits on it. The rate is the sum over frequencies and planes, per pixel. It
ignores run lengths, DC prediction and headers; the caller calibrates it against real files. A reconstruction of Learned
JPEG Compression for DNN Vision (arXiv 2606.16185), whose formulas are not public.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any

import torch

from toolkit.jpeg.derivatives import Derived, apply
from toolkit.jpeg.quantizer import hard_quantize, index_limit, level_weights, window_centre, window_reach


def level_probabilities(
    z: torch.Tensor, q: torch.Tensor, alpha: torch.Tensor, levels: int | str = 5, bits: int = 8
) -> torch.Tensor:
    """Mean probability of each index at each frequency, with analytic gradients for z, q and alpha.

    Args:
        z: coefficients, float (M, F): M blocks, F frequencies.
        q: steps, float (F,).
        alpha: sharpness, float (F,).
        levels, bits: see :func:`~toolkit.jpeg.quantizer.soft_quantize`.

    Returns:
        float (F, 2 limit + 1) with index i at position i + limit, where limit = 2**(bits - 1) - 1.
    """
    return apply(_Histogram, z, q, alpha, window_reach(levels, bits), bits)


def hard_probabilities(z: torch.Tensor, q: torch.Tensor, bits: int = 8) -> torch.Tensor:
    """Fraction of each index at each frequency after rounding; shapes as for :func:`level_probabilities`."""
    limit = index_limit(bits)
    index = (hard_quantize(z, q, bits) / q).round_()
    counts = torch.zeros(z.shape[1], 2 * limit + 1, dtype=z.dtype, device=z.device)
    counts.view(-1).index_add_(0, _bins(index, limit).flatten(), torch.ones_like(z).flatten())
    return counts / len(z)


def hard_entropy(z: torch.Tensor, q: torch.Tensor, bits: int = 8) -> torch.Tensor:
    """Bits per index at each frequency after rounding, float (F,); for any bit width, as it needs no histogram.

    Shapes as for :func:`level_probabilities`.
    """
    index = (hard_quantize(z, q, bits) / q).round_()
    counts = [torch.unique(column, return_counts=True)[1] for column in index.T]
    return torch.stack([entropy(count / len(z)) for count in counts])


def entropy(probabilities: torch.Tensor) -> torch.Tensor:
    """Bits per symbol, along the last dimension."""
    # the logarithm of an index that never occurs has no finite gradient
    return -(probabilities * probabilities.clamp(min=1e-12).log2()).sum(-1)


def bits_per_pixel(entropies: torch.Tensor, blocks: int, pixels: int) -> torch.Tensor:
    """Bits per pixel of ``blocks`` blocks in ``pixels`` pixels, whose frequencies cost ``entropies`` bits each."""
    return entropies.sum() * blocks / pixels


class _Histogram(Derived):
    """Mean of P(i | z) over blocks; saves only z."""

    @staticmethod
    def forward(z: torch.Tensor, q: torch.Tensor, alpha: torch.Tensor, reach: int, bits: int) -> torch.Tensor:
        u = z / q
        centre = window_centre(u, reach, bits)
        weights = list(level_weights(u - centre, alpha * q * q, centre, reach, bits))
        total = torch.stack([w for _, w in weights]).sum(0)
        return _gathered(((k, w / total) for k, w in weights), centre, index_limit(bits))

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.save_for_forward(*inputs[:3])
        ctx.reach, ctx.bits = inputs[3:]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (grad,) = grads
        z, q, alpha = ctx.saved_tensors
        limit = index_limit(ctx.bits)
        u = z / q
        centre = window_centre(u, ctx.reach, ctx.bits)
        d, kappa = u - centre, alpha * q * q
        total = m1 = m2 = g0 = g1 = g2 = torch.zeros_like(z)
        for k, w in level_weights(d, kappa, centre, ctx.reach, ctx.bits):
            g = grad.reshape(-1)[_bins((centre + k).clamp(-limit, limit), limit)]
            total, m1, m2 = total + w, m1 + k * w, m2 + k * k * w
            g0, g1, g2 = g0 + g * w, g1 + k * g * w, g2 + k * k * g * w
        with_k = g1 / total - g0 / total * (m1 / total)
        with_k2 = g2 / total - g0 / total * (m2 / total)
        count = len(z)
        grad_z = 2 * kappa / q * with_k / count
        grad_q = (2 * kappa / q * ((d - centre) * with_k - with_k2)).sum_to_size(q.shape) / count
        grad_alpha = (q * q * (2 * d * with_k - with_k2)).sum_to_size(alpha.shape) / count
        return grad_z, grad_q, grad_alpha, None, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> torch.Tensor:
        z, q, alpha = ctx.saved_tensors
        of_z, of_q, of_alpha = (0.0 if one is None else one for one in tangents[:3])
        u = z / q
        centre = window_centre(u, ctx.reach, ctx.bits)
        d, kappa = u - centre, alpha * q * q
        weights = list(level_weights(d, kappa, centre, ctx.reach, ctx.bits))
        total = torch.stack([w for _, w in weights]).sum(0)
        # a weight is exp(kappa (2 d - k) k), up to a common factor
        of_d, of_kappa = (of_z - u * of_q) / q, q * (q * of_alpha + 2 * alpha * of_q)
        slopes = [of_kappa * (2 * d - k) * k + 2 * kappa * k * of_d for k, _ in weights]
        mean = sum((w * slope for (_, w), slope in zip(weights, slopes, strict=True)), torch.zeros_like(z)) / total
        changes = ((k, w / total * (slope - mean)) for (k, w), slope in zip(weights, slopes, strict=True))
        return _gathered(changes, centre, index_limit(ctx.bits))


def _gathered(weights: Iterable[tuple[int, torch.Tensor]], centre: torch.Tensor, limit: int) -> torch.Tensor:
    """Means over blocks of weights (M, F) of the levels ``centre + k``, at these levels; (F, 2 limit + 1)."""
    blocks, frequencies = centre.shape
    mean = centre.new_zeros(frequencies * (2 * limit + 1))
    for k, w in weights:
        inside = (centre + k).clamp(-limit, limit)  # weights beyond the limit are 0
        mean = mean.index_add(0, _bins(inside, limit).flatten(), w.flatten())
    return mean.view(frequencies, -1) / blocks


def _bins(index: torch.Tensor, limit: int) -> torch.Tensor:
    """Flat positions of indices (M, F) in a (F, 2 limit + 1) histogram."""
    rows = torch.arange(index.shape[1], device=index.device) * (2 * limit + 1)
    return index.long() + limit + rows
