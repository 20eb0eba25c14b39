"""Versions of the libraries that encode: one setting gives different bytes with another version."""

from __future__ import annotations

from functools import cache

import imagecodecs
import PIL

_CONTEXT_MODEL = 1
"""Version of :mod:`toolkit.codecs.lossless_jpeg`, which takes fewer bytes at a quality than Huffman codes."""


@cache
def encoder_versions() -> str:
    """``imagecodecs 2026.1.14, pillow 13.0.0, context model 1``; decoding does not depend on it."""
    return f"imagecodecs {imagecodecs.__version__}, pillow {PIL.__version__}, context model {_CONTEXT_MODEL}"
