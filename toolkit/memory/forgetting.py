"""Forget exemplars: delete their rows, renumber the ranks, and search the file for their bytes."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory.state import ClassRow

_PIECE = 24
"""Length of the pieces of forgotten data that are searched for: too long to occur by chance."""
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
    for one, rank, payload in connection.execute("SELECT label, rank, payload FROM exemplars"):
        if (name := identity(payload)).startswith(str(image).lower()):
            found.setdefault(name, []).append((one, rank))
    if not image or not found:
        raise UsageError(f"{path} has no exemplar {image!r}; `recallrate memory inspect --images` lists them")
    if len(found) > 1:
        raise UsageError(f"{image!r} is ambiguous, {len(found)} exemplars start with it: give more digits")
    return next(iter(found.values()))


def delete(connection: sqlite3.Connection, table: str, gone: Sequence[tuple[int, int]]) -> None:
    """Delete rows by label and rank, and renumber the rest of their classes 0, 1, 2, ... in the same order.

    Extras, which not every exemplar has, keep the rank of their exemplar.
    """
    connection.executemany(f"DELETE FROM {table} WHERE label = ? AND rank = ?", gone)
    for label in sorted({label for label, _ in gone}):
        removed = sorted(rank for of, rank in gone if of == label)
        found = connection.execute(f"SELECT rank FROM {table} WHERE label = ? ORDER BY rank", (label,)).fetchall()
        moved, passed = [], 0
        for (rank,) in found:
            while passed < len(removed) and removed[passed] < rank:
                passed += 1
            if passed:
                moved.append((rank - passed, label, rank))
        # in ascending order, so that the new rank of each row is free by then
        connection.executemany(f"UPDATE {table} SET rank = ? WHERE label = ? AND rank = ?", moved)


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
    held = path.read_bytes()
    kept = read_kept()
    pieces = (part[start : start + _PIECE] for part in lost for start in range(0, len(part) - _PIECE + 1, _PIECE))
    distinctive = (piece for piece in pieces if len(set(piece)) >= _MIN_DISTINCT)
    if any(piece in held and piece not in kept for piece in distinctive):
        raise WorkError(f"{path}: bytes of a forgotten exemplar are still in the file")
