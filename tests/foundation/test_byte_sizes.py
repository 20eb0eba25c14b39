"""Parsing and formatting byte sizes."""

from __future__ import annotations

import pytest

from toolkit.foundation.errors import UsageError
from toolkit.foundation.sizes import format_size, parse_size


@pytest.mark.parametrize(
    ("text", "size"),
    [
        ("262144", 262_144),
        ("256KiB", 262_144),
        ("256 kib", 262_144),
        ("1.5MB", 1_500_000),
        ("1kB", 1000),
        (" 2 GiB ", 2_147_483_648),
        ("0.5 TB", 500_000_000_000),
        ("1b", 1),
        ("20img", 20 * 3072),
        ("0.5IMG", 1536),
    ],
)
def test_sizes_are_parsed(text: str, size: int) -> None:
    assert parse_size(text, image_bytes=3072) == size


@pytest.mark.parametrize("text", ["", "many", "-5", "1e3", "5 apples", "KiB", "1.5.2MB", "1,5MB", "5MB x", "inf"])
def test_other_texts_are_refused_with_the_accepted_forms(text: str) -> None:
    with pytest.raises(UsageError, match=r"a size must be written as 262144, 256KiB, 1\.5MB or 20img") as caught:
        parse_size(text, image_bytes=3072)
    assert repr(text) in str(caught.value)


def test_img_needs_the_bytes_per_image() -> None:
    with pytest.raises(UsageError, match="a size must be written as"):
        parse_size("20img")


@pytest.mark.parametrize(
    ("text", "accepted"),
    [(small, "one byte or more") for small in ("0", "0.4", "0.0001KiB", "0img")]
    + [(large, "less than 8 EiB") for large in ("9" * 400, "9" * 400 + "TB", "8388608TiB", "9223372036854775808")],
)
def test_sizes_out_of_range_are_refused_with_the_accepted_range(text: str, accepted: str) -> None:
    with pytest.raises(UsageError) as caught:
        parse_size(text, image_bytes=3072)
    forms = "262144, 256KiB, 1.5MB or 20img (raw images per class)"
    given = repr(text) if len(text) < 60 else "'" + "9" * 59 + "..."  # messages cut long values
    assert str(caught.value) == f"a size must be {accepted}, such as {forms}, got {given}"


@pytest.mark.parametrize(
    ("size", "text"),
    [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (1536, "1.5 KiB"),
        (262_144, "256.0 KiB"),
        (20 * 1024**3, "20.0 GiB"),
        (3 * 1024**4, "3.0 TiB"),
        (5000 * 1024**4, "5000.0 TiB"),
    ],
)
def test_sizes_are_formatted(size: int, text: str) -> None:
    assert format_size(size) == text
