"""Sizes of images as users write them."""

from __future__ import annotations

import pytest

from toolkit.foundation.errors import UsageError
from toolkit.foundation.image_size import ImageSize, parse_image_size, written_size


@pytest.mark.parametrize(
    ("given", "height", "width", "written"),
    [
        (224, 224, 224, 224),
        ("224", 224, 224, 224),
        (" 224 x 160 ", 224, 160, "224x160"),
        ("160X224", 160, 224, "160x224"),
        ("96×96", 96, 96, 96),
        ("8x1024", 8, 1024, "8x1024"),
    ],
)
def test_a_size_is_a_side_or_height_and_width(given: object, height: int, width: int, written: int | str) -> None:
    size = parse_image_size(given)
    assert (size, size.written, size.pixels) == (ImageSize(height, width), written, height * width)
    assert size.shorter == min(height, width)
    assert written_size(written_size(given)) == written


@pytest.mark.parametrize("given", ["", "big", "224x", "x224", "224x160x3", "22.4", 22.4, None, True, (224, 160), "٣٢"])
def test_other_texts_are_refused_in_a_line(given: object) -> None:
    with pytest.raises(UsageError, match="a side in pixels, or HEIGHTxWIDTH such as 224x160, got"):
        parse_image_size(given)


@pytest.mark.parametrize("given", [7, 1025, -32, "7x32", "32x2000"])
def test_sides_out_of_range_are_refused(given: object) -> None:
    with pytest.raises(UsageError, match=rf"size must be 8\.\.1024 pixels, got {given}"):
        parse_image_size(given)
