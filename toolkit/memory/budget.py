"""Budgets as users write them."""

from __future__ import annotations

from toolkit.codecs.file_formats import RAW_SHARED_BYTES
from toolkit.foundation.sizes import parse_size

LABEL_BYTES = 2
"""Bytes charged per label."""


def budget_bytes(text: str, classes: int, raw_image_bytes: int) -> int:
    """Bytes in ``262144``, ``256KiB``, ``1.5MB`` or ``20img``.

    ``20img`` is the cost of 20 raw images per class: pixels, labels and the shared shape, so that ``raw`` holds
    exactly 20.

    Args:
        text: the budget.
        classes: number of classes in the whole scenario.
        raw_image_bytes: bytes of one uncompressed image.

    Raises:
        UsageError: not a size.
    """
    size = parse_size(text, image_bytes=classes * (raw_image_bytes + LABEL_BYTES))
    return size + RAW_SHARED_BYTES if text.strip().lower().endswith("img") else size
