"""Alignment: which images besides the exemplars pass through the codec."""

from __future__ import annotations

from typing import Literal, get_args

from toolkit.foundation.errors import UsageError

Align = Literal["none", "train", "both"]
"""``none`` compresses only exemplars; ``train`` also passes the training images of new classes through the codec;
``both`` adds the incoming and the test images, as a deployed model would receive them."""
ALIGNS: tuple[Align, ...] = get_args(Align)
"""In order of increasing coverage."""


def parse_aligns(text: str) -> list[Align]:
    """``none,both`` to a list.

    Raises:
        UsageError: the text names no alignment or an unknown one.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    aligns = [align for word in words for align in ALIGNS if align == word]
    if not words or len(aligns) < len(words):
        raise UsageError(f"aligns must be one or more of {', '.join(ALIGNS)}, got {text!r}")
    return aligns
