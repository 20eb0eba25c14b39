# mypy: disable-error-code="no-untyped-def"
"""The JPEG layer on CUDA devices: one Triton kernel for each direction, and a small one for sums.

```
x -- YCbCr -- DCT --> z -- quantise --> Q -- IDCT -- RGB -- (. - mean) / std --> out        stored: out
x -- YCbCr -- DCT --> z                                                                     recomputed
g / std -- YCbCr -- DCT --> dQ -- dQ/dz --> dz -- IDCT -- RGB --> dx                        stored: dx, partial sums
                             `--- dQ/dq, dQ/dalpha --> sums over blocks
```

A program processes tiles of blocks, one block per column with 64 samples or frequencies: a thread has only two
frequencies. Sums over blocks have a fixed order, without atomics: results are bitwise reproducible.

Needs Triton; :mod:`toolkit.jpeg.fused` launches them.
"""

import math

import triton
import triton.language as tl

from toolkit.jpeg.quantizer import NEGLIGIBLE
from toolkit.jpeg.tables import LARGEST, SMALLEST
from toolkit.jpeg.transform import COLOUR, INVERSE_COLOUR, LEVEL

_RGB_TO_YCC = tl.constexpr(COLOUR)
_YCC_TO_RGB = tl.constexpr(tuple(zip(*INVERSE_COLOUR, strict=True)))
"""Row by row the contributions of Y, Cb and Cr to red, green and blue."""
_LEVEL, _SMALLEST, _LARGEST = tl.constexpr(LEVEL), tl.constexpr(SMALLEST), tl.constexpr(LARGEST)
_LOG2_E, _LEAST = tl.constexpr(math.log2(math.e)), tl.constexpr(-NEGLIGIBLE * math.log2(math.e))
_ROUNDER = tl.constexpr(1.5 * 2**23)
"""Adding and subtracting it rounds a float32, half to even; faster than the rounding instruction."""


@triton.jit
def _halves(x, HALF: tl.constexpr):
    high = x.to(HALF)
    return high, (x - high.to(tl.float32)).to(HALF)


@triton.jit
def _product(matrix, x):
    """A matrix split into two 16-bit halves, times float32 x (64, TILE).

    Three products of float16 halves have an error of 2**-22, one of TF32 of 2**-11, too much for coefficients of 1000.
    ``tf32x3`` is as accurate but takes twice the time and shared memory, and Triton's interpreter does not reproduce
    its rounding; ``ieee`` does not use the matrix units. Pixels and coefficients are far below float16's limit of
    65504; gradients may have any magnitude and use bfloat16, with an error of 2**-16.
    """
    high, low = matrix
    x_high, x_low = _halves(x, high.dtype)
    out = tl.dot(low, x_high)
    out = tl.dot(high, x_low, out)
    return tl.dot(high, x_high, out)


@triton.jit
def _transform(dct, HALF: tl.constexpr, ZERO_DC: tl.constexpr):
    """A block's DCT (64, 64) and its inverse, in halves; with ``ZERO_DC``, both without the DC row."""
    i = tl.arange(0, 64)
    matrix = tl.load(dct + i[:, None] * 64 + i[None, :])
    if ZERO_DC:
        matrix = tl.where(i[:, None] > 0, matrix, 0.0)
    high, low = _halves(matrix, HALF)
    return (high, low), (tl.trans(high), tl.trans(low))


@triton.jit
def _table(steps, log_alpha, hardness, plane):
    """q, 1 / q and kappa * log2(e) of a plane's table; columns of 64."""
    which = tl.minimum(plane, 1)
    q = tl.load(steps + which * 64 + tl.arange(0, 64))
    q = tl.minimum(tl.maximum(q, _SMALLEST), _LARGEST)[:, None]
    kappa = tl.zeros_like(q) + hardness
    if log_alpha is not None:
        kappa = tl.exp(tl.load(log_alpha + which)) * q * q
    return q, 1 / q, kappa * _LOG2_E


@triton.jit
def _row(plane, M: tl.constexpr, factors):
    """A row of a constant matrix (3, 3), times factors of its columns."""
    y, cb = plane == 0, plane == 1
    red = tl.where(y, M[0][0], tl.where(cb, M[1][0], M[2][0]))
    green = tl.where(y, M[0][1], tl.where(cb, M[1][1], M[2][1]))
    blue = tl.where(y, M[0][2], tl.where(cb, M[1][2], M[2][2]))
    return red * factors[0], green * factors[1], blue * factors[2]


@triton.jit
def _places(tile, blocks, size, strides, TILE: tl.constexpr, EDGE: tl.constexpr):
    """Offsets (64, TILE) of a tile's samples in the first channel, and a mask of those inside an image."""
    block = tile * TILE + tl.arange(0, TILE)
    columns, rows = (size[1] + 7) // 8, (size[0] + 7) // 8
    line = block // columns
    image = line // rows
    top, left = (line - image * rows) * 8, (block - line * columns) * 8
    down, right = tl.arange(0, 64) // 8, tl.arange(0, 64) % 8
    inside = tl.broadcast_to((block < blocks)[None, :], (64, TILE))
    if EDGE:
        inside &= (top[None, :] + down[:, None] < size[0]) & (left[None, :] + right[:, None] < size[1])
    corner = image.to(tl.int64) * strides[0] + top * strides[2] + left * strides[3]
    return corner[None, :] + (down * strides[2] + right * strides[3])[:, None], inside


@triton.jit
def _mixed(place, stride, inside, outside, weights, shift):
    red = tl.load(place, mask=inside, other=outside) * weights[0]
    green = tl.load(place + stride, mask=inside, other=outside) * weights[1]
    return red + (green + (tl.load(place + 2 * stride, mask=inside, other=outside) * weights[2] + shift))


@triton.jit
def _samples(place, stride, inside, plane, scale):
    """Y, Cb or Cr, centred; grey outside of images, which is the layer's zero padding."""
    weights = _row(plane, _RGB_TO_YCC, (scale, scale, scale))
    return _mixed(place, stride, inside, _LEVEL / scale, weights, tl.where(plane == 0, -_LEVEL, 0.0))


@triton.jit
def _plus(rgb, weights, samples):
    return rgb[0] + weights[0] * samples, rgb[1] + weights[1] * samples, rgb[2] + weights[2] * samples


@triton.jit
def _gains(std, scale):
    """Factors of a pixel's difference from grey in the output."""
    if std is not None:
        gains = 1 / (scale * tl.load(std)), 1 / (scale * tl.load(std + 1)), 1 / (scale * tl.load(std + 2))
    else:
        gains = 1 / scale, 1 / scale, 1 / scale
    return gains


@triton.jit
def _centred_moments(d, sharp):
    """m1, m2, m3 of k = -2..2 for |d| <= 1/2, from two exponentials of at most 1.

    With t = w(1) w(-1) = exp(-2 kappa), w(2) = t w(1)^2, w(-2) = t w(-1)^2 and w(1)^2 + w(-1)^2 = both^2 - 2 t, every
    sum is a polynomial in both = w(1) + w(-1), times apart = w(1) - w(-1) if the power of k is odd.
    """
    twice = 2 * sharp
    tail = tl.exp2(-twice)
    above, below = tl.exp2(twice * d - sharp), tl.exp2(-twice * d - sharp)
    both, apart = above + below, above - below
    root = tl.rsqrt(both * (both * tail + 1) + (1 - 2 * tail * tail))  # a division would handle overflow needlessly
    part = root * root
    m1 = apart * (both * (2 * tail) + 1) * part
    m2 = (both * (both * (4 * tail) + 1) - 8 * tail * tail) * part
    return m1, m2, apart * (both * (8 * tail) + 1) * part


@triton.jit
def _shifted_moments(d, sharp):
    """The same moments for any d: at the limits, the window is shifted inwards, see ``quantizer.level_weights``."""
    nearest = tl.minimum(tl.maximum((d + _ROUNDER) - _ROUNDER, -2.0), 2.0)
    total, first, second, third = tl.zeros_like(d), tl.zeros_like(d), tl.zeros_like(d), tl.zeros_like(d)
    for k in tl.static_range(-2, 3):
        # relative to the exponent of the nearest level, as a product: exactly 0 there for any d
        exponent = sharp * ((k - nearest) * (2 * d - k - nearest))
        weight = tl.exp2(tl.minimum(tl.maximum(exponent, _LEAST), 0.0))
        total += weight
        first += weight * k
        second += weight * (k * k)
        third += weight * (k * k * k)
    return first / total, second / total, third / total


@triton.jit
def _window(z, table, LIMIT: tl.constexpr):
    """The window's middle a, d = z / q - a, and the moments m1, m2, m3, as in ``toolkit.jpeg.quantizer``."""
    inner: tl.constexpr = LIMIT - 2
    u = z * table[1]
    centre = (u + _ROUNDER) - _ROUNDER
    if tl.max(tl.abs(centre)) <= inner:  # for the whole tile, which is the usual case
        m1, m2, m3 = _centred_moments(u - centre, table[2])
    else:
        centre = tl.minimum(tl.maximum(centre, -inner), inner)
        m1, m2, m3 = _shifted_moments(u - centre, table[2])
    return centre, u - centre, m1, m2, m3


@triton.jit
def _nearest(u, LIMIT: tl.constexpr):
    index = tl.minimum(tl.floor(tl.abs(u) + 0.5), LIMIT)
    return tl.where(u < 0, -index, index)


@triton.jit
def _slopes(z, table, SOFT: tl.constexpr, LIMIT: tl.constexpr):
    """dQ/dz, dQ/dq and (dQ/dalpha) / q**3."""
    if SOFT:
        centre, d, m1, m2, m3 = _window(z, table, LIMIT)
        kappa = table[2] / _LOG2_E
        variance, covariance = m2 - m1 * m1, m3 - m1 * m2
        of_q = centre + m1 + 2 * kappa * ((d - centre) * variance - covariance)
        of_z, of_alpha = 2 * kappa * variance, 2 * d * variance - covariance
    else:
        u = z * table[1]
        of_z, of_alpha = tl.where(tl.abs(u) < LIMIT + 0.5, 1.0, 0.0), tl.zeros_like(z)
        of_q = _nearest(u, LIMIT) - u * of_z
    return of_z, of_q, of_alpha


@triton.jit(do_not_specialize=["blocks"])  # otherwise a smaller last batch would trigger another compilation
def forward_kernel(
    images,
    out,
    dct,
    steps,
    log_alpha,
    mean,
    std,
    scale,
    hardness,
    blocks,
    size,
    strides,
    SOFT: tl.constexpr,
    LIMIT: tl.constexpr,
    ZERO_DC: tl.constexpr,
    EDGE: tl.constexpr,
    TILE: tl.constexpr,
):
    forth, back = _transform(dct, tl.float16, ZERO_DC)
    gains = _gains(std, scale)
    zero = tl.zeros((64, TILE), tl.float32)
    for tile in range(tl.program_id(0), tl.cdiv(blocks, TILE), tl.num_programs(0)):
        place, inside = _places(tile, blocks, size, strides, TILE, EDGE)
        rgb = (zero, zero, zero)
        for plane in range(3):
            z = _product(forth, _samples(images + place, strides[1], inside, plane, scale))
            table = _table(steps, log_alpha, hardness, plane)
            if SOFT:
                centre, _, m1, _, _ = _window(z, table, LIMIT)
                index = centre + m1
            else:
                index = _nearest(z * table[1], LIMIT)
            rgb = _plus(rgb, _row(plane, _YCC_TO_RGB, gains), _product(back, index * table[0]))
        for channel in tl.static_range(3):
            shade = _LEVEL
            if mean is not None:
                shade -= tl.load(mean + channel) * scale
            tl.store(out + place + channel * strides[1], rgb[channel] + shade * gains[channel], mask=inside)


@triton.jit(do_not_specialize=["blocks"])
def backward_kernel(
    grad,
    images,
    grad_images,
    partials,
    dct,
    steps,
    log_alpha,
    std,
    scale,
    hardness,
    blocks,
    size,
    strides,
    SOFT: tl.constexpr,
    LIMIT: tl.constexpr,
    ZERO_DC: tl.constexpr,
    EDGE: tl.constexpr,
    TILE: tl.constexpr,
    HALF: tl.constexpr,
    FOR_ALPHA: tl.constexpr,
):
    """``partials`` (programs, 4, 64): sums of dQ/dq and (dQ/dalpha) / q**3, for luma and chroma."""
    exact, _ = _transform(dct, tl.float16, ZERO_DC)
    forth, back = _transform(dct, HALF, ZERO_DC)
    gains = _gains(std, scale)
    zero, sums = tl.zeros((64, TILE), tl.float32), tl.zeros((64,), tl.float32)
    luma_q, luma_alpha, chroma_q, chroma_alpha = sums, sums, sums, sums
    for tile in range(tl.program_id(0), tl.cdiv(blocks, TILE), tl.num_programs(0)):
        place, inside = _places(tile, blocks, size, strides, TILE, EDGE)
        rgb = (zero, zero, zero)
        for plane in range(3):
            g = _mixed(grad + place, strides[1], inside, 0.0, _row(plane, _YCC_TO_RGB, gains), 0.0)
            g = _product(forth, g)
            z = _product(exact, _samples(images + place, strides[1], inside, plane, scale))
            of_z, of_q, of_alpha = _slopes(z, _table(steps, log_alpha, hardness, plane), SOFT, LIMIT)
            if partials is not None:
                total = tl.sum(of_q * g, axis=1)
                luma_q, chroma_q = luma_q + total * (plane == 0), chroma_q + total * (plane > 0)
            if FOR_ALPHA:
                total = tl.sum(of_alpha * g, axis=1)
                luma_alpha, chroma_alpha = luma_alpha + total * (plane == 0), chroma_alpha + total * (plane > 0)
            if grad_images is not None:
                rgb = _plus(rgb, _row(plane, _RGB_TO_YCC, (scale, scale, scale)), _product(back, of_z * g))
        if grad_images is not None:
            for channel in tl.static_range(3):
                tl.store(grad_images + place + channel * strides[1], rgb[channel], mask=inside)
    if partials is not None:
        at = partials + tl.program_id(0) * 256 + tl.arange(0, 64)
        tl.store(at, luma_q)
        tl.store(at + 64, luma_alpha)
        tl.store(at + 128, chroma_q)
        tl.store(at + 192, chroma_alpha)


@triton.jit(do_not_specialize=["programs"])
def sum_kernel(partials, steps, log_alpha, grad_steps, grad_log_alpha, programs, ROWS: tl.constexpr):
    """Reduce partial sums to gradients, one program per table; gradients pass the bounds as in ``layer._Bound``."""
    table, frequency = tl.program_id(0), tl.arange(0, 64)
    of_q, of_alpha = tl.zeros((64,), tl.float32), tl.zeros((64,), tl.float32)
    for start in range(0, programs, ROWS):
        row = (start + tl.arange(0, ROWS))[:, None]
        at = partials + row * 256 + table * 128 + frequency[None, :]
        of_q += tl.sum(tl.load(at, mask=row < programs, other=0.0), axis=0)
        if grad_log_alpha is not None:
            of_alpha += tl.sum(tl.load(at + 64, mask=row < programs, other=0.0), axis=0)
    step = tl.load(steps + table * 64 + frequency)
    passes = ((step >= _SMALLEST) | (of_q < 0)) & ((step <= _LARGEST) | (of_q > 0))
    if grad_steps is not None:
        tl.store(grad_steps + table * 64 + frequency, tl.where(passes, of_q, 0.0))
    if grad_log_alpha is not None:
        q = tl.minimum(tl.maximum(step, _SMALLEST), _LARGEST)
        alpha = tl.exp(tl.load(log_alpha + table))
        tl.store(grad_log_alpha + table, alpha * tl.sum(of_alpha * q * q * q))
