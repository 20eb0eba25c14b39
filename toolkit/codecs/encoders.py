"""Versions of the libraries that encode: one setting gives different bytes with another version."""

from __future__ import annotations

from functools import cache

import imagecodecs
import PIL


@cache
def encoder_versions() -> str:
    """``imagecodecs 2026.1.14, pillow 13.0.0``; decoding does not depend on it."""
    return f"imagecodecs {imagecodecs.__version__}, pillow {PIL.__version__}"
