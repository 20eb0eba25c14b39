"""Quantisers of DCT coefficients: soft with analytic gradients, and others for comparison.

The soft quantiser (JPEG Inspired Deep Learning, arXiv 2410.07081, section 3) makes the index i of the level i q random,
P(i | z) ~ exp(-alpha (z - i q)^2), and returns its mean. Its hardness is kappa = alpha q^2: below about 0.7 it is close
to the identity, above about 10 close to rounding. With the moments m1, m2, m3 of k = i - a about any level a,
d = z/q - a, V = m2 - m1^2 and C = m3 - m1 m2,

    Q = q (a + m1),  dQ/dz = 2 kappa V,  dQ/dq = a + m1 + 2 kappa ((d - a) V - C),  dQ/dalpha = q^3 (2 d V - C),

so that a backward pass needs z and three recomputed moments instead of every level of every coefficient. All quantisers
work in chunks whose temporaries stay in the cache.
"""

from __future__ import annotations

import functools
import math
from collections.abc import Iterator, Sequence
from numbers import Integral
from typing import Any

import torch

from toolkit.jpeg.chunks import cache_chunks, cut, join_chunks, pulled_back, pushed_forward
from toolkit.jpeg.derivatives import Derived, apply

MODES = ("soft", "hard", "ste", "noise", "sample", "identity")
NEGLIGIBLE = 50.0
"""Exponents are clamped at minus this value, a weight of 2e-22, negligible next to 1. Smaller weights would lead to
subnormal numbers here or in later products, and processors are ten times slower on those."""


def soft_quantize(
    z: torch.Tensor, q: torch.Tensor, alpha: torch.Tensor | float, levels: int | str = 5, bits: int = 8
) -> torch.Tensor:
    """The mean of the random quantiser, with analytic gradients for z, q and alpha.

    Args:
        z: coefficients, float, any shape.
        q: steps > 0, broadcastable to z.
        alpha: > 0, broadcastable to z; constant with respect to q.
        levels: odd number of levels around z/q, or ``full`` for all 2**bits - 1.
        bits: indices are limited to +-(2**(bits - 1) - 1).

    Returns:
        A tensor like z.

    Raises:
        ValueError: levels even, below 3 or more than exist.
    """
    return apply(_Soft, z, q, _as_alpha(alpha, q), None, window_reach(levels, bits), bits)


def sample_quantize(
    z: torch.Tensor,
    q: torch.Tensor,
    alpha: torch.Tensor | float,
    levels: int | str = 5,
    bits: int = 8,
    *,
    generator: torch.Generator | None = None,
) -> torch.Tensor:
    """A level drawn from P(i | z), with the gradient of the mean. Arguments as for :func:`soft_quantize`."""
    return apply(_Soft, z, q, _as_alpha(alpha, q), _uniform(z, generator), window_reach(levels, bits), bits)


def hard_quantize(z: torch.Tensor, q: torch.Tensor, bits: int = 8) -> torch.Tensor:
    """The nearest level, q round(z/q), with halves rounded away from zero as in libjpeg; no gradient."""
    with torch.no_grad():
        return _rounded(z, q, bits)


def straight_through(z: torch.Tensor, q: torch.Tensor, bits: int = 8) -> torch.Tensor:
    """Hard quantisation whose rounding is the identity in the backward pass.

    Then dQ/dz is 1 (0 for clipped coefficients) and dQ/dq is round(z/q) - z/q (the limit for clipped ones).
    """
    return apply(_StraightThrough, z, q, bits)


def additive_noise(z: torch.Tensor, q: torch.Tensor, *, generator: torch.Generator | None = None) -> torch.Tensor:
    """z plus uniform noise of one step's width, the usual proxy for rounding in learned compression."""
    return z + q * (_uniform(z, generator) - 0.5)


def clipped(z: torch.Tensor, q: torch.Tensor, bits: int = 8) -> torch.Tensor:
    """Where the nearest index is beyond the limit, so that the coefficient loses magnitude; bool like z."""
    return (z / q).abs() >= index_limit(bits) + 0.5


def index_limit(bits: int) -> int:
    """The largest index, 2**(bits - 1) - 1.

    Raises:
        ValueError: bits outside 2..24; float32 represents integers of 24 bits exactly.
    """
    if isinstance(bits, bool) or not isinstance(bits, Integral) or not 2 <= bits <= 24:
        raise ValueError(f"bits must be 2..24, got {bits!r}")
    return (1 << (bits - 1)) - 1


def window_reach(levels: int | str, bits: int) -> int:
    """Half the width of a window of ``levels``; the limit itself for ``full``.

    Raises:
        ValueError: levels even, below 3 or more than exist; or bits outside 2..24.
    """
    limit = index_limit(bits)
    if levels == "full":
        return limit
    if not isinstance(levels, Integral) or levels < 3 or levels % 2 == 0 or levels >= 2 * limit + 1:
        accepted = f"full or an odd number from 3 to {2 * limit - 1}" if limit > 1 else "full"
        raise ValueError(f"levels must be {accepted} for bits={bits} ({2 * limit + 1} levels), got {levels!r}")
    return int(levels) // 2


def level_weights(
    d: torch.Tensor, kappa: torch.Tensor, centre: torch.Tensor, reach: int, bits: int
) -> Iterator[tuple[int, torch.Tensor]]:
    """Unnormalised P(centre + k | z) for k = -reach .. reach, the largest of them about 1.

    Args:
        d: z/q - centre.
        kappa: alpha q**2, broadcastable.
        centre: the window's middle index, from :func:`window_centre`.
        reach: half the width of the window, or the limit itself for all levels.
        bits: levels beyond the limit get weight 0.
    """
    limit = index_limit(bits)
    nearest = d.round().clamp(-reach, reach) if reach < limit else torch.zeros_like(d)
    peak = kappa * (2 * d - nearest) * nearest
    twice = 2 * d
    for k in _offsets(kappa, reach, limit):
        exponent = (kappa * (twice - k) * k - peak).clamp(-NEGLIGIBLE, 0.0)  # vmap has no rule for clamp_
        weight = exponent.exp_()
        if reach == limit:  # a window of all levels is truncated at the limits instead of shifted
            weight = weight.masked_fill_((centre + k).abs() > limit, 0.0)
        yield k, weight


def window_centre(u: torch.Tensor, reach: int, bits: int) -> torch.Tensor:
    """The index in the middle of the window of levels for u = z/q: the nearest, shifted inwards at the limits."""
    limit = index_limit(bits)
    inner = limit - reach if reach < limit else limit
    return u.round().clamp(-inner, inner)


class _Soft(Derived):
    """The mean of the random quantiser, or a draw from it; saves only z."""

    @staticmethod
    def forward(
        z: torch.Tensor, q: torch.Tensor, alpha: torch.Tensor, uniform: torch.Tensor | None, reach: int, bits: int
    ) -> torch.Tensor:
        found = []
        for part, (z_, q_, alpha_) in cache_chunks(z, q, alpha):
            u = z_ / q_
            centre = window_centre(u, reach, bits)
            weights = level_weights(u - centre, alpha_ * q_ * q_, centre, reach, bits)
            if uniform is None:
                total, first, _, _ = _sums(weights, highest=1)
                found.append(q_ * (centre + first / total))
            else:
                found.append(q_ * (centre + _draw(weights, cut(uniform, part))))
        return join_chunks(found)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs[:3])
        ctx.save_for_forward(*inputs[:3])
        ctx.reach, ctx.bits = inputs[4:]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        slopes = functools.partial(_soft_slopes, reach=ctx.reach, bits=ctx.bits)
        return *pulled_back(slopes, grads[0], ctx.saved_tensors, ctx.needs_input_grad[:3]), None, None, None

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> torch.Tensor:
        slopes = functools.partial(_soft_slopes, reach=ctx.reach, bits=ctx.bits)
        return pushed_forward(slopes, tangents[:3], ctx.saved_tensors)


class _StraightThrough(Derived):
    """Rounding with the derivative of the identity; saves only z."""

    @staticmethod
    def forward(z: torch.Tensor, q: torch.Tensor, bits: int) -> torch.Tensor:
        return _rounded(z, q, bits)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs[:2])
        ctx.save_for_forward(*inputs[:2])
        ctx.bits = inputs[2]

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        slopes = functools.partial(_straight_slopes, bits=ctx.bits)
        return *pulled_back(slopes, grads[0], ctx.saved_tensors, ctx.needs_input_grad[:2]), None

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> torch.Tensor:
        return pushed_forward(functools.partial(_straight_slopes, bits=ctx.bits), tangents[:2], ctx.saved_tensors)


def _soft_slopes(
    z: torch.Tensor, q: torch.Tensor, alpha: torch.Tensor, wanted: Sequence[bool], *, reach: int, bits: int
) -> tuple[torch.Tensor | None, ...]:
    u = z / q
    centre = window_centre(u, reach, bits)
    d = u - centre
    kappa = alpha * q * q
    total, first, second, third = _sums(level_weights(d, kappa, centre, reach, bits))
    m1 = first / total
    variance = second / total - m1 * m1
    of_z = 2 * kappa * variance if wanted[0] else None
    if not any(wanted[1:]):
        return of_z, None, None
    covariance = third / total - m1 * (second / total)
    of_q = centre + m1 + 2 * kappa * ((d - centre) * variance - covariance) if wanted[1] else None
    return of_z, of_q, q**3 * (2 * d * variance - covariance) if wanted[2] else None


def _straight_slopes(
    z: torch.Tensor, q: torch.Tensor, wanted: Sequence[bool], *, bits: int
) -> tuple[torch.Tensor | None, ...]:
    u = z / q
    inside = (u.abs() < index_limit(bits) + 0.5).to(u.dtype)
    return inside if wanted[0] else None, _nearest(u, bits) - u * inside if wanted[1] else None


def _rounded(z: torch.Tensor, q: torch.Tensor, bits: int) -> torch.Tensor:
    return join_chunks([_nearest(z_ / q_, bits) * q_ for _, (z_, q_) in cache_chunks(z, q)])


def _nearest(u: torch.Tensor, bits: int) -> torch.Tensor:
    limit = index_limit(bits)
    return u.abs().add_(0.5).floor_().clamp(max=limit).mul_(u.sign())  # ONNX has no copysign


def _sums(
    weights: Iterator[tuple[int, torch.Tensor]], highest: int = 3
) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor, torch.Tensor]:
    """Sums of w, k w, k^2 w and k^3 w over the window, up to power ``highest``."""
    sums: list[torch.Tensor] = []
    for k, w in weights:
        if not sums:
            sums = [w.clone() if power == 0 else w * k**power for power in range(highest + 1)]
            continue
        for power, total in enumerate(sums):
            total.add_(w, alpha=k**power)
    return tuple(sums + [sums[0]] * (3 - highest))  # type: ignore[return-value]


def _draw(weights: Iterator[tuple[int, torch.Tensor]], uniform: torch.Tensor) -> torch.Tensor:
    """The offset k at which the cumulative weights exceed ``uniform`` times their sum."""
    kept = list(weights)
    total = torch.stack([w for _, w in kept]).sum(0)
    reached = torch.zeros_like(total)
    k = torch.full_like(total, kept[0][0])
    for _, w in kept[:-1]:
        reached = reached + w
        k += reached <= uniform * total
    return k


def _offsets(kappa: torch.Tensor, reach: int, limit: int) -> range:
    """Offsets of the window; for all levels, only those whose weight may not be negligible.

    Raises:
        ValueError: the sharpness cannot be read, as under ``torch.export`` or in a ``vmap`` over tables.
    """
    if reach == limit and not kappa.is_meta:
        try:
            spread = math.sqrt(NEGLIGIBLE / float(kappa.min())) + 1
        except RuntimeError:
            what = "levels=full needs the values of the tables, which torch.export and a vmap over them hide"
            raise ValueError(f"{what}: use an odd number of levels") from None
        reach = min(2 * limit, math.ceil(spread))
    return range(-reach, reach + 1)


def _as_alpha(alpha: torch.Tensor | float, q: torch.Tensor) -> torch.Tensor:
    return alpha if isinstance(alpha, torch.Tensor) else torch.full((), alpha, dtype=q.dtype, device=q.device)


def _uniform(z: torch.Tensor, generator: torch.Generator | None) -> torch.Tensor:
    """Uniform in [0, 1), shaped like z."""
    if generator is None:
        return torch.rand_like(z, memory_format=torch.contiguous_format)  # exports for any batch size
    return torch.rand(z.shape, generator=generator, device=z.device, dtype=z.dtype)
