"""Samples wider than 8 bits to 8-bit pictures: the one rule by which their range is found, and the remark it leaves."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterator
from typing import NamedTuple

import numpy as np
from PIL import Image

Tell = Callable[[str], object]
"""Is told what a user should know about an image that was read."""

_GUESSED_BITS = (8, 12, 16)
"""Depths that narrower samples in wider integers usually have. Few, so that images of one set rarely differ in them."""
_ROWS = 256
"""Rows worked on at a time: what is made on the way stays small beside the picture."""


def unsaid(remark: str) -> None:
    """Tell nobody."""


def remark_notes(remarks: Counter[str]) -> list[str]:
    """Notes on a whole dataset from what was told about its images."""
    return [f"{count} image{'s' * (count > 1)}: {remark}" for remark, count in sorted(remarks.items())]


class Range(NamedTuple):
    """The samples that become 0 and 255."""

    low: float
    high: float


def sample_range(samples: np.ndarray, declared: Range | None = None, bits: int | None = None) -> tuple[Range, str]:
    """The range of samples, and how it was guessed; an empty text where it was declared.

    The rule, in this order:

    1. What the file declares: lowest and highest sample (TIFF's SMinSampleValue and SMaxSampleValue, or
       MinSampleValue and MaxSampleValue), else integers of fewer bits than they are stored in (BitsPerSample).
    2. Integers that are all the same, and 16-bit ones of which one exceeds 12 bits: all that their type can hold.
    3. Other integers without negative ones: a guess, the fewest of 8, 12 and 16 bits that hold them all.
    4. Floating-point samples: a guess, 0..1 if all finite ones lie in it, else 0..255 if all lie in that.
    5. Everything else: a guess, from the lowest to the highest finite sample, 0 included where none is negative.

    Args:
        samples: integers or floating-point numbers of any shape.
        declared: the range that the file gives.
        bits: of a sample, where the file says so.

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
        return Range(min(low, 0.0), high), "floating-point samples: their range was guessed to be that of the image"
    stored = 8 * samples.dtype.itemsize
    if bits is not None and bits < stored:
        return Range(0.0, 2.0**bits - 1), ""
    fitting = next((depth for depth in _GUESSED_BITS if low >= 0 and high < 2**depth), None)
    if low == high or fitting == stored:
        return Range(0.0, 2.0 ** (stored - (samples.dtype.kind == "i")) - 1), ""
    if fitting is not None:
        return Range(0.0, 2.0**fitting - 1), f"{stored}-bit samples: their range was guessed to be {fitting} bits"
    return Range(min(low, 0.0), high), f"{stored}-bit samples: their range was guessed to be that of the image"


def _extremes(samples: np.ndarray) -> tuple[float, float]:
    """The lowest and the highest finite sample."""
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
    """Samples in a range as levels, uint8 of the same shape, rounded; what lies outside is cut, NaN becomes 0."""
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
    """Samples as an 8-bit picture, grey (``L``) or ``RGB``; transparency is laid over white.

    Args:
        samples: uint, int or float of shape (H, W) or (H, W, C): one or three colours, then alpha if there is one.
        alpha: whether the last channel is alpha; its range is found apart from the colours'.
        premultiplied: whether the colours have been multiplied by it.
        declared, bits: as in :func:`sample_range`.
        tell: told where the range was guessed.

    Raises:
        ValueError: another number of channels, another type of samples, or no finite sample.
    """
    if samples.dtype.kind not in "uif":
        raise ValueError(f"samples of type {samples.dtype}")
    channels = samples[..., None] if samples.ndim == 2 else samples
    colours = channels[..., :-1] if alpha else channels
    if colours.shape[2] not in (1, 3):
        raise ValueError(f"{channels.shape[2]} samples a pixel, expected grey or RGB with or without alpha")
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
    """An ``RGBA`` picture laid over white, as ``RGB``."""
    laid = Image.new("RGB", image.size)
    for rows in _bands(image.height):
        part = image.crop((0, rows.start, image.width, rows.stop))
        laid.paste(Image.alpha_composite(Image.new("RGBA", part.size, "white"), part).convert("RGB"), (0, rows.start))
    return laid


def _bands(height: int) -> Iterator[slice]:
    return (slice(start, min(start + _ROWS, height)) for start in range(0, height, _ROWS))
