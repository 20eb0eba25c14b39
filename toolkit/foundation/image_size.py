"""Sizes of images as users write them: ``224`` for a square, ``224x160`` for another height and width."""

from __future__ import annotations

import re
from typing import Annotated, NamedTuple

from pydantic import AfterValidator

from toolkit.foundation.errors import UsageError, quoted

SIDES = (8, 1024)
"""Smallest and largest side in pixels."""
_WRITTEN = re.compile(r"\s*(-?[0-9]{1,9})\s*(?:[xX×]\s*([0-9]{1,9})\s*)?")


class ImageSize(NamedTuple):
    """Height and width in pixels."""

    height: int
    width: int

    @property
    def pixels(self) -> int:
        """Number of pixels."""
        return self.height * self.width

    @property
    def shorter(self) -> int:
        """The shorter side in pixels."""
        return min(self)

    @property
    def written(self) -> int | str:
        """The canonical form: the side of a square, otherwise ``HEIGHTxWIDTH``."""
        return self.height if self.height == self.width else f"{self.height}x{self.width}"


def parse_image_size(size: object) -> ImageSize:
    """The size written as an integer or a text.

    Raises:
        UsageError: it is neither a side nor ``HEIGHTxWIDTH``, or a side is not within :data:`SIDES`.
    """
    text = str(size) if isinstance(size, int | str) and not isinstance(size, bool) else ""
    if (found := _WRITTEN.fullmatch(text)) is None:
        raise UsageError(f"size must be a side in pixels, or HEIGHTxWIDTH such as 224x160, got {quoted(str(size))}")
    height = int(found[1])
    sides = ImageSize(height, height if found[2] is None else int(found[2]))
    if not all(SIDES[0] <= side <= SIDES[1] for side in sides):
        raise UsageError(f"size must be {SIDES[0]}..{SIDES[1]} pixels, got {sides.written}")
    return sides


def written_size(size: object) -> int | str:
    """The canonical form of a size.

    Raises:
        UsageError: as in :func:`parse_image_size`.
    """
    return parse_image_size(size).written


WrittenSize = Annotated[int | str, AfterValidator(written_size)]
"""A size in requests, configurations and results."""
