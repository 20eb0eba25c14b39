"""Forget exemplars: find them, and search the file for bytes that are left of them."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence, Set
from pathlib import Path

import numpy as np

from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory.rows import payload_items
from toolkit.memory.state import ClassRow

_PIECE = 24
"""Length of the pieces of forgotten data that are searched for: too long to occur by chance."""
_CHUNK = 2**22
"""Bytes that are compared at a time."""
_MIN_DISTINCT = 8
"""Minimum number of distinct byte values in a piece: runs of zeros are everywhere."""


def identity(payload: bytes) -> str:
    """Sixteen hexadecimal digits of a payload's SHA-256."""
    return hashlib.sha256(payload).hexdigest()[:16]


def find_gone(
    connection: sqlite3.Connection, path: Path, classes: Mapping[int, ClassRow], label: int | None, image: str | None
) -> list[tuple[int, int]]:
    """Label and rank of the exemplars to forget: a class, or an image by a prefix of its :func:`identity`.

    Raises:
        UsageError: there is none, or the prefix is ambiguous.
    """
    if label is not None:
        if label not in classes:
            known = ", ".join(f"{number} ({row.name})" for number, row in list(classes.items())[:8])
            raise UsageError(f"{path} has no class {label}; it has {known or 'none'}")
        return [(label, rank) for rank in range(classes[label].exemplars)]
    found: dict[str, list[tuple[int, int]]] = {}
    for one, rank, payload in payload_items(connection):
        if (name := identity(payload)).startswith(str(image).lower()):
            found.setdefault(name, []).append((one, rank))
    if not image or not found:
        raise UsageError(f"{path} has no exemplar {image!r}; `recallrate memory inspect --images` lists them")
    if len(found) > 1:
        raise UsageError(f"{image!r} is ambiguous, {len(found)} exemplars start with it: give more digits")
    return next(iter(found.values()))


def require_gone(path: Path, lost: Sequence[bytes], read_kept: Callable[[], bytes]) -> None:
    """Search a file for pieces of forgotten data, short enough to lie within one SQLite page.

    Args:
        path: the file.
        lost: payloads and extras of the forgotten exemplars.
        read_kept: reads the remaining payloads and extras; called after the file has been read, so that it includes
            exemplars that another process adds meanwhile.

    Raises:
        WorkError: a piece is in the file, and not part of the remaining exemplars.
    """
    pieces = {part[start : start + _PIECE] for part in lost for start in range(0, len(part) - _PIECE + 1, _PIECE)}
    left = pieces_in(path.read_bytes(), {piece for piece in pieces if len(set(piece)) >= _MIN_DISTINCT})
    kept = read_kept()
    if any(piece not in kept for piece in left):
        raise WorkError(f"{path}: bytes of a forgotten exemplar are still in the file")


def pieces_in(content: bytes, pieces: Set[bytes]) -> set[bytes]:
    """Those of some pieces of at least 8 bytes and equal length that occur in ``content``, at any offset.

    The content is compared with the pieces' first 8 bytes as numbers, all offsets at once: a search for each piece
    would take the product of both sizes.
    """
    if not pieces:
        return set()
    length = len(next(iter(pieces)))
    beginnings = np.unique(np.frombuffer(b"".join(piece[:8] for piece in pieces), "<u8"))
    found: set[bytes] = set()
    for start in range(0, len(content), _CHUNK):
        for offset in range(start, min(start + 8, len(content) - 7)):
            count = (min(start + _CHUNK + 7, len(content)) - offset) // 8
            numbers = np.frombuffer(content, "<u8", count, offset)
            place = np.searchsorted(beginnings, numbers)
            alike = np.flatnonzero(beginnings[np.minimum(place, len(beginnings) - 1)] == numbers)
            places = (offset + 8 * alike).tolist()
            found |= {content[at : at + length] for at in places} & pieces
    return found
