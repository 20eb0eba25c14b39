"""Quantisers of DCT coefficients: soft with analytic gradients, and the ones it is compared with.

The soft quantiser (JPEG Inspired Deep Learning, arXiv 2410.07081, section 3) makes the index i of the level i q random,
P(i | z) ~ exp(-alpha (z - i q)^2), and gives its mean. Its hardness is kappa = alpha q^2: below about 0.7 it is nearly
the identity, above about 10 nearly rounding. With m1, m2, m3 the moments of k = i - a about any level a, d = z/q - a,
V = m2 - m1^2 and C = m3 - m1 m2,

    Q = q (a + m1),  dQ/dz = 2 kappa V,  dQ/dq = a + m1 + 2 kappa ((d - a) V - C),  dQ/dalpha = q^3 (2 d V - C),

so that a backward pass needs z and three moments, recomputed, instead of every level of every coefficient.
All of them work chunk by chunk: their temporaries stay in the cache.
"""

from __future__ import annotations

import math
from collections.abc import Iterator
from types import EllipsisType
from typing import Any

import torch

MODES = ("soft", "hard", "ste", "noise", "sample", "identity")
Part = slice | EllipsisType
_CHUNK = 1 << 16
NEGLIGIBLE = 50.0
"""Exponents stop at its negative, weight 2e-22, nothing beside 1. Smaller ones would become subnormal, here or in the
products that follow, and a processor takes ten times as long over those."""


def soft_quantize(
    z: torch.Tensor, q: torch.Tensor, alpha: torch.Tensor | float, levels: int | str = 5, bits: int = 8
) -> torch.Tensor:
    """The mean of the random quantiser, with analytic gradients for z, q and alpha.

    Args:
        z: coefficients, float, any shape.
        q: steps > 0, broadcastable to z.
        alpha: > 0, broadcastable to z; with respect to q it is held constant.
        levels: how many levels around z/q count (odd), or ``full`` for all 2**bits - 1.
        bits: indices are limited to +-(2**(bits - 1) - 1).

    Returns:
        A tensor like z.

    Raises:
        ValueError: levels even or below 3, or more than there are.
    """
    return _Soft.apply(z, q, _as_alpha(alpha, q), window_reach(levels, bits), bits, None)


def sample_quantize(
    z: torch.Tensor,
    q: torch.Tensor,
    alpha: torch.Tensor | float,
    levels: int | str = 5,
    bits: int = 8,
    *,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """A level drawn from P(i | z); its gradient is that of the mean. Arguments as for :func:`soft_quantize`."""
    uniform = torch.rand(z.shape, generator=generator, device=z.device, dtype=z.dtype)
    return _Soft.apply(z, q, _as_alpha(alpha, q), window_reach(levels, bits), bits, uniform)


def hard_quantize(z: torch.Tensor, q: torch.Tensor, bits: int = 8) -> torch.Tensor:
    """The nearest level, q round(z/q) with halves away from zero as in libjpeg; no gradient passes."""
    with torch.no_grad():
        return _rounded(z, q, bits)


def straight_through(z: torch.Tensor, q: torch.Tensor, bits: int = 8) -> torch.Tensor:
    """Hard quantisation whose rounding counts as the identity in the backward pass.

    Then dQ/dz is 1 (0 where the index is at its limit) and dQ/dq is round(z/q) - z/q (the limit there).
    """
    return _StraightThrough.apply(z, q, bits)


def additive_noise(z: torch.Tensor, q: torch.Tensor, *, generator: torch.Generator | None = None) -> torch.Tensor:
    """z plus uniform noise of one step's width, the usual stand-in for rounding in learned compression."""
    return z + q * (torch.rand(z.shape, generator=generator, device=z.device, dtype=z.dtype) - 0.5)


def clipped(z: torch.Tensor, q: torch.Tensor, bits: int = 8) -> torch.Tensor:
    """Where the nearest index lies beyond the limit, so that the coefficient loses magnitude; bool like z."""
    return (z / q).abs() >= index_limit(bits) + 0.5


def index_limit(bits: int) -> int:
    """The largest index, 2**(bits - 1) - 1."""
    return (1 << (bits - 1)) - 1


def window_reach(levels: int | str, bits: int) -> int:
    """Half of a window of ``levels``; the limit itself for ``full``.

    Raises:
        ValueError: even, below 3, or more levels than there are.
    """
    limit = index_limit(bits)
    if levels == "full":
        return limit
    if not isinstance(levels, int) or levels < 3 or levels % 2 == 0 or levels >= 2 * limit + 1:
        raise ValueError(f"levels must be full or an odd number from 3 to {2 * limit - 1}, got {levels!r}")
    return levels // 2


def level_weights(
    d: torch.Tensor, kappa: torch.Tensor, centre: torch.Tensor, reach: int, bits: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """Unnormalised P(centre + k | z) for k = -reach .. reach, the largest of them about 1.

    Args:
        d: z/q - centre.
        kappa: alpha q**2, broadcastable.
        centre: the window's middle index, as :func:`window_centre` gives it.
        reach: half of the window, or the limit itself for all levels.
        bits: levels beyond the limit get weight 0.
    """
    limit = index_limit(bits)
    nearest = d.round().clamp_(-reach, reach) if reach < limit else torch.zeros_like(d)
    peak = kappa * (2 * d - nearest) * nearest
    twice = 2 * d
    for k in _offsets(kappa, reach, limit):
        exponent = (kappa * (twice - k) * k - peak).clamp_(-NEGLIGIBLE, 0.0)
        weight = exponent.exp_()
        if reach == limit:  # a window of all levels is not shifted at the limits but cut off
            weight = weight.masked_fill_((centre + k).abs() > limit, 0.0)
        yield k, weight


def window_centre(u: torch.Tensor, reach: int, bits: int) -> torch.Tensor:
    """The index in the middle of the window of levels for u = z/q: the nearest, shifted inwards at the limits."""
    limit = index_limit(bits)
    inner = limit - reach if reach < limit else limit
    return u.round().clamp_(-inner, inner)


class _Soft(torch.autograd.Function):
    """The mean of the random quantiser, or a draw from it; saves z alone."""

    @staticmethod
    def forward(
        ctx: Any,
        z: torch.Tensor,
        q: torch.Tensor,
        alpha: torch.Tensor,
        reach: int,
        bits: int,
        uniform: torch.Tensor | None,
    ) -> torch.Tensor:
        ctx.save_for_backward(z, q, alpha)
        ctx.reach, ctx.bits = reach, bits
        out = torch.empty_like(z, memory_format=torch.contiguous_format)
        for part, (z_, q_, alpha_) in _chunks(z, q, alpha):
            u = z_ / q_
            centre = window_centre(u, reach, bits)
            weights = level_weights(u - centre, alpha_ * q_ * q_, centre, reach, bits)
            if uniform is None:
                total, first, _, _ = _sums(weights, highest=1)
                out[part] = q_ * (centre + first / total)
            else:
                out[part] = q_ * (centre + _draw(weights, uniform[part]))
        return out

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (grad,) = grads
        z, q, alpha = ctx.saved_tensors
        needs_z, needs_q, needs_alpha = ctx.needs_input_grad[:3]
        grad_z = torch.empty_like(z, memory_format=torch.contiguous_format) if needs_z else None
        grad_q = torch.zeros_like(q) if needs_q else None
        grad_alpha = torch.zeros_like(alpha) if needs_alpha else None
        for part, (z_, q_, alpha_) in _chunks(z, q, alpha):
            g = grad[part]
            u = z_ / q_
            centre = window_centre(u, ctx.reach, ctx.bits)
            d = u - centre
            kappa = alpha_ * q_ * q_
            total, first, second, third = _sums(level_weights(d, kappa, centre, ctx.reach, ctx.bits))
            m1 = first / total
            variance = second / total - m1 * m1
            if grad_z is not None:
                grad_z[part] = 2 * kappa * variance * g
            if grad_q is None and grad_alpha is None:
                continue
            covariance = third / total - m1 * (second / total)
            if grad_q is not None:
                slope = centre + m1 + 2 * kappa * ((d - centre) * variance - covariance)
                grad_q += (slope * g).sum_to_size(q.shape)
            if grad_alpha is not None:
                grad_alpha += (q_**3 * (2 * d * variance - covariance) * g).sum_to_size(alpha.shape)
        return grad_z, grad_q, grad_alpha, None, None, None


class _StraightThrough(torch.autograd.Function):
    """Rounding whose backward pass takes it for the identity; saves z alone."""

    @staticmethod
    def forward(ctx: Any, z: torch.Tensor, q: torch.Tensor, bits: int) -> torch.Tensor:
        ctx.save_for_backward(z, q)
        ctx.bits = bits
        return _rounded(z, q, bits)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (grad,) = grads
        z, q = ctx.saved_tensors
        needs_z, needs_q = ctx.needs_input_grad[:2]
        grad_z = torch.empty_like(z, memory_format=torch.contiguous_format) if needs_z else None
        grad_q = torch.zeros_like(q) if needs_q else None
        for part, (z_, q_) in _chunks(z, q):
            g, u = grad[part], z_ / q_
            inside = u.abs() < index_limit(ctx.bits) + 0.5
            if grad_z is not None:
                grad_z[part] = g * inside
            if grad_q is not None:
                grad_q += (g * (_nearest(u, ctx.bits) - u * inside)).sum_to_size(q.shape)
        return grad_z, grad_q, None


def _rounded(z: torch.Tensor, q: torch.Tensor, bits: int) -> torch.Tensor:
    out = torch.empty_like(z, memory_format=torch.contiguous_format)
    for part, (z_, q_) in _chunks(z, q):
        out[part] = _nearest(z_ / q_, bits) * q_
    return out


def _nearest(u: torch.Tensor, bits: int) -> torch.Tensor:
    limit = index_limit(bits)
    return u.abs().add_(0.5).floor_().clamp_(max=limit).copysign_(u)


def _sums(
    weights: Iterator[tuple[int, torch.Tensor]], highest: int = 3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sums of w, k w, k^2 w and k^3 w over the window, up to the power asked for."""
    sums: list[torch.Tensor] = []
    for k, w in weights:
        if not sums:
            sums = [w.clone() if power == 0 else w * k**power for power in range(highest + 1)]
            continue
        for power, total in enumerate(sums):
            total.add_(w, alpha=k**power)
    return tuple(sums + [sums[0]] * (3 - highest))  # type: ignore[return-value]


def _draw(weights: Iterator[tuple[int, torch.Tensor]], uniform: torch.Tensor) -> torch.Tensor:
    """The offset k at which the cumulated weights pass ``uniform`` times their sum."""
    kept = list(weights)
    total = torch.stack([w for _, w in kept]).sum(0)
    reached = torch.zeros_like(total)
    k = torch.full_like(total, kept[0][0])
    for _, w in kept[:-1]:
        reached = reached + w
        k += reached <= uniform * total
    return k


def _offsets(kappa: torch.Tensor, reach: int, limit: int) -> range:
    """Offsets worth visiting; of all levels, only those whose weight is not certain to vanish."""
    if reach == limit:
        spread = math.sqrt(NEGLIGIBLE / float(kappa.min())) + 1
        reach = min(2 * limit, math.ceil(spread))
    return range(-reach, reach + 1)


def _as_alpha(alpha: torch.Tensor | float, q: torch.Tensor) -> torch.Tensor:
    return alpha if isinstance(alpha, torch.Tensor) else torch.full((), alpha, dtype=q.dtype, device=q.device)


def _chunks(z: torch.Tensor, *others: torch.Tensor) -> Iterator[tuple[Part, tuple[torch.Tensor, ...]]]:
    """Pieces of z along its first dimension that fit the cache, with whatever broadcasts against them.

    Compilers and GPUs do better with the whole.
    """
    whole = torch.compiler.is_compiling() or z.device.type != "cpu" or z.dim() < 2 or z.numel() <= _CHUNK
    if whole or any(other.dim() == z.dim() and other.shape[0] != 1 for other in others):
        yield ..., (z, *others)
        return
    rows = max(1, _CHUNK // (z.numel() // z.shape[0]))
    for start in range(0, z.shape[0], rows):
        yield slice(start, start + rows), (z[start : start + rows], *others)
