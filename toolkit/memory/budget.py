"""Budgets as users write them."""

from __future__ import annotations

from toolkit.codecs.file_formats import RAW_SHARED_BYTES
from toolkit.foundation.sizes import parse_size
from toolkit.memory.disk import uniform_bytes

LABEL_BYTES = 2
"""Bytes per label that count as content, as in papers; on disk, exemplars share the label of their pack."""

_PARTS = 2**20
"""Parts of an image that a budget in images distinguishes."""


def budget_bytes(text: str, classes: int, raw_image_bytes: int) -> int:
    """Bytes in ``262144``, ``256KiB``, ``1.5MB`` or ``20img``.

    ``20img`` is what a memory of 20 raw images per class takes on disk, so that ``raw`` holds exactly 20.

    Args:
        text: the budget.
        classes: number of classes in the whole scenario.
        raw_image_bytes: bytes of one uncompressed image.

    Raises:
        UsageError: not a size.
    """
    if not text.strip().lower().endswith("img"):
        return parse_size(text)
    images = parse_size(text, image_bytes=_PARTS) / _PARTS
    return uniform_bytes(raw_image_bytes, images, classes, RAW_SHARED_BYTES)
