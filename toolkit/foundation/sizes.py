"""Parse and format byte sizes."""

from __future__ import annotations

import re

from toolkit.foundation.errors import UsageError, quoted

_UNITS = {
    "": 1,
    "b": 1,
    "kb": 1000,
    "mb": 1000**2,
    "gb": 1000**3,
    "tb": 1000**4,
    "kib": 1024,
    "mib": 1024**2,
    "gib": 1024**3,
    "tib": 1024**4,
}
_FORMS = "262144, 256KiB, 1.5MB or 20img (raw images per class)"
_SIZE = re.compile(r"\s*(\d+(?:\.\d+)?)\s*([a-zA-Z]*)\s*")


def parse_size(text: str, image_bytes: int | None = None) -> int:
    """Parse ``262144``, ``256KiB``, ``1.5MB`` or, if ``image_bytes`` is given, ``20img`` to bytes.

    Args:
        text: the size; units are decimal (kB, MB, GB) or binary (KiB, MiB, GiB), in any case.
        image_bytes: bytes per ``img``: one raw image per class.

    Raises:
        UsageError: not in one of these forms, below 1 byte, or 2**63 bytes or more.
    """
    match = _SIZE.fullmatch(str(text))
    unit = match.group(2).lower() if match else ""
    if match and unit == "img" and image_bytes is not None:
        size = float(match.group(1)) * image_bytes
    elif match and unit in _UNITS:
        size = float(match.group(1)) * _UNITS[unit]
    else:
        raise UsageError(f"a size must be written as {_FORMS}, got {quoted(text)}")
    if not 1 <= size < 2**63:
        accepted = "one byte or more" if size < 1 else "less than 8 EiB"
        raise UsageError(f"a size must be {accepted}, such as {_FORMS}, got {quoted(text)}")
    return int(size)


def format_size(size: float) -> str:
    """``1536`` -> ``1.5 KiB``."""
    for unit in ("B", "KiB", "MiB", "GiB"):
        if size < 1024:
            return f"{size:.0f} B" if unit == "B" else f"{size:.1f} {unit}"
        size /= 1024
    return f"{size:.1f} TiB"
