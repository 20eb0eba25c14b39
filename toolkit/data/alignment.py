"""Alignment: which images besides the exemplars pass the codec."""

from __future__ import annotations

from typing import Literal, get_args

from toolkit.foundation.errors import UsageError

Align = Literal["none", "train", "both"]
"""``none`` compresses exemplars only; ``train`` passes new classes' training images through the codec as well; ``both``
also the incoming and the test images, as a deployed model would receive them."""
ALIGNS: tuple[Align, ...] = get_args(Align)
"""From the one that codes least to the one that codes most."""


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
