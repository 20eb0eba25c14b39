"""JPEG 2000 to a target PSNR, with a workaround for OpenJPEG."""

from __future__ import annotations

import imagecodecs
import numpy as np

from toolkit.codecs.psnr import psnr_of

_TOLERANCE = 1.0
"""Accepted shortfall from the target in dB: rate allocation works in steps."""


def encode(image: np.ndarray, psnr: float) -> bytes:
    """A JPEG 2000 codestream of ``image`` that decodes to at least ``psnr`` - 1 dB.

    OpenJPEG stops up to 20 dB early on nearly flat images (white decodes to grey). So the result is decoded and, if it
    falls short, encoded again with a higher target, in the end losslessly.

    Args:
        image: uint8 (H, W, 3), or (H, W) if grey.
        psnr: target in dB.
    """
    for extra in (0, 3, 6, 9):
        file = _encode(image, psnr + extra, reversible=False)
        if psnr_of(image[None], decode(file)[None])[0] >= psnr - _TOLERANCE:
            return file
    return _encode(image, 0, reversible=True)


def decode(file: bytes) -> np.ndarray:
    """Decode a codestream already checked by :func:`toolkit.codecs.headers.jpeg2000_size`."""
    return imagecodecs.jpeg2k_decode(file, numthreads=1)


def _encode(image: np.ndarray, level: float, reversible: bool) -> bytes:
    # the stub says int, but OpenJPEG accepts fractions of a decibel
    coded = imagecodecs.jpeg2k_encode(
        image,
        level=level,  # type: ignore[arg-type]
        codecformat="j2k",
        reversible=reversible,
        mct=image.ndim == 3,
        numthreads=1,
    )
    return bytes(coded)
