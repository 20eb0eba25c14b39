"""Convert samples wider than 8 bits to 8-bit pictures: the rule for their range, and the remark it leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

Tell = Callable[[str], object]
"""Receives remarks for the user about an image that was read."""

_GUESSED_BITS = (8, 12, 16)
"""Usual depths of samples stored in wider integers. Few, so that the images of a dataset rarely get different ones."""
_ROWS = 256
"""Rows processed at a time: temporary arrays stay small compared with the picture."""


def unsaid(remark: str) -> None:
    """Ignore a remark."""


def remark_notes(remarks: Counter[str]) -> list[str]:
    """Notes on a whole dataset from the remarks about its images."""
    return [f"{count} image{'s' * (count > 1)}: {remark}" for remark, count in sorted(remarks.items())]


class Range(NamedTuple):
    """The sample values that map to 0 and 255."""

    low: float
    high: float


def sample_range(samples: np.ndarray, declared: Range | None = None, bits: int | None = None) -> tuple[Range, str]:
    """The range of samples, and a remark if it was guessed; the remark is empty otherwise.

    The rule, in this order:

    1. Declared by the file: minimum and maximum sample (TIFF's SMinSampleValue and SMaxSampleValue, or MinSampleValue
       and MaxSampleValue), or a bit depth below that of the storage type (BitsPerSample).
    2. Integers that are all equal, and 16-bit ones of which any exceeds 12 bits: the full range of their type.
    3. Other non-negative integers: a guess, the smallest of 8, 12 and 16 bits that holds them all.
    4. Floating-point samples: a guess, 0..1 if it contains all finite ones, or else 0..255 if that does.
    5. Everything else: a guess, from the minimum to the maximum finite sample, from 0 if none is negative.

    Args:
        samples: integers or floating-point numbers of any shape.
        declared: the range given by the file.
        bits: per sample, if given by the file.

    Raises:
        ValueError: no finite sample.
    """
    if declared is not None:
        return declared, ""
    low, high = _extremes(samples)
    if np.issubdtype(samples.dtype, np.floating):
        top = next((top for top in (1.0, 255.0) if low >= 0 and high <= top), None)
        if top is not None:
            return Range(0.0, top), f"floating-point samples: their range was guessed to be 0..{top:g}"
        return Range(min(low, 0.0), high), "floating-point samples: their range was guessed from the image"
    stored = 8 * samples.dtype.itemsize
    if bits is not None and bits < stored:
        return Range(0.0, 2.0**bits - 1), ""
    fitting = next((depth for depth in _GUESSED_BITS if low >= 0 and high < 2**depth), None)
    if low == high or fitting == stored:
        return Range(0.0, 2.0 ** (stored - (samples.dtype.kind == "i")) - 1), ""
    if fitting is not None:
        return Range(0.0, 2.0**fitting - 1), f"{stored}-bit samples: their range was guessed to be {fitting} bits"
    return Range(min(low, 0.0), high), f"{stored}-bit samples: their range was guessed from the image"


def _extremes(samples: np.ndarray) -> tuple[float, float]:
    """The minimum and the maximum finite sample."""
    lowest, highest = [], []
    for rows in _bands(len(samples)):
        part = samples[rows]
        if part.dtype.kind == "f":
            part = part[np.isfinite(part)]
        if part.size:
            lowest.append(float(part.min()))
            highest.append(float(part.max()))
    if not lowest:
        raise ValueError("no finite sample")
    return min(lowest), max(highest)


def eight_bits(samples: np.ndarray, scale: Range) -> np.ndarray:
    """Samples scaled from a range to levels, uint8 of the same shape, rounded and clipped; NaN becomes 0."""
    levels = np.empty(samples.shape, np.uint8)
    factor = 255 / (scale.high - scale.low) if scale.high > scale.low else 0.0
    for rows in _bands(len(samples)):
        with np.errstate(invalid="ignore", over="ignore"):
            wide = (samples[rows].astype(np.float64) - scale.low) * factor
        levels[rows] = np.rint(np.clip(np.nan_to_num(wide, nan=0.0, posinf=255.0, neginf=0.0), 0, 255))
    return levels


def picture(
    samples: np.ndarray,
    *,
    alpha: bool = False,
    premultiplied: bool = False,
    declared: Range | None = None,
    bits: int | None = None,
    tell: Tell = unsaid,
) -> Image.Image:
    """Samples as an 8-bit picture, grey (``L``) or ``RGB``, composited over white.

    Args:
        samples: uint, int or float of shape (H, W) or (H, W, C): one or three colours, then alpha if any.
        alpha: whether the last channel is alpha; its range is determined separately.
        premultiplied: whether the colours are multiplied by alpha.
        declared, bits: as in :func:`sample_range`.
        tell: receives a remark if the range was guessed.

    Raises:
        ValueError: an unsupported number of channels or type of samples, or no finite sample.
    """
    if samples.dtype.kind not in "uif":
        raise ValueError(f"samples of unsupported type {samples.dtype}")
    channels = samples[..., None] if samples.ndim == 2 else samples
    colours = channels[..., :-1] if alpha else channels
    if colours.shape[2] not in (1, 3):
        raise ValueError(f"{channels.shape[2]} samples per pixel, expected grey or RGB with or without alpha")
    levels = _levels(colours, declared, bits, tell)
    if alpha:
        clear = _levels(channels[..., -1:], None, bits, unsaid)
        if not premultiplied:
            rgb = np.repeat(levels, 3, axis=2) if levels.shape[2] == 1 else levels
            return over_white(Image.fromarray(np.concatenate([rgb, clear], axis=2)))
        levels = np.minimum(np.add(levels, 255 - clear, dtype=np.uint16), 255).astype(np.uint8)
    return Image.fromarray(levels[..., 0] if levels.shape[2] == 1 else levels)


def _levels(samples: np.ndarray, declared: Range | None, bits: int | None, tell: Tell) -> np.ndarray:
    if samples.dtype == np.uint8:
        return samples
    scale, guess = sample_range(samples, declared, bits)
    if guess:
        tell(guess)
    return eight_bits(samples, scale)


def over_white(image: Image.Image) -> Image.Image:
    """An ``RGBA`` picture composited over white, as ``RGB``."""
    composite = Image.new("RGB", image.size)
    for rows in _bands(image.height):
        part = image.crop((0, rows.start, image.width, rows.stop))
        opaque = Image.alpha_composite(Image.new("RGBA", part.size, "white"), part).convert("RGB")
        composite.paste(opaque, (0, rows.start))
    return composite


def _bands(height: int) -> Iterator[slice]:
    return (slice(start, min(start + _ROWS, height)) for start in range(0, height, _ROWS))
