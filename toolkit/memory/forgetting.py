"""What forgetting an exemplar takes: its rows are deleted, the ranks closed, and the file searched for its bytes."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path

from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory.state import ClassRow

_PIECE = 24
"""Bytes that are looked for when something was forgotten: too many to be there by chance."""
_TELLING = 8
"""Different values among them at least: runs of zeros are everywhere."""


def identity(payload: bytes) -> str:
    """Sixteen hexadecimal digits of a payload's SHA-256."""
    return hashlib.sha256(payload).hexdigest()[:16]


def find_gone(
    connection: sqlite3.Connection, path: Path, classes: Mapping[int, ClassRow], label: int | None, image: str | None
) -> list[tuple[int, int]]:
    """Label and rank of what shall go: a class, or an exemplar by the beginning of its :func:`identity`.

    Raises:
        UsageError: there is none, or several images begin alike.
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
        raise UsageError(f"{path} has no exemplar {image!r}; `recallrate memory inspect --images` names them")
    if len(found) > 1:
        raise UsageError(f"{image!r} is the beginning of {len(found)} exemplars' names: write more of it")
    return next(iter(found.values()))


def delete(connection: sqlite3.Connection, table: str, gone: Sequence[tuple[int, int]]) -> None:
    """Delete rows by label and rank; what is left of their classes is numbered 0, 1, 2, ... again, in the same order.

    Rows that a table need not have for every exemplar (extras) keep the ranks of theirs.
    """
    connection.executemany(f"DELETE FROM {table} WHERE label = ? AND rank = ?", gone)
    for label in sorted({label for label, _ in gone}):
        less = sorted(rank for of, rank in gone if of == label)
        found = connection.execute(f"SELECT rank FROM {table} WHERE label = ? ORDER BY rank", (label,)).fetchall()
        moved, passed = [], 0
        for (rank,) in found:
            while passed < len(less) and less[passed] < rank:
                passed += 1
            if passed:
                moved.append((rank - passed, label, rank))
        # in rising order: the place a row moves to is free by then
        connection.executemany(f"UPDATE {table} SET rank = ? WHERE label = ? AND rank = ?", moved)


def require_gone(path: Path, lost: Sequence[bytes], read_kept: Callable[[], bytes]) -> None:
    """Search a file for pieces of what was forgotten, short enough to lie within one of SQLite's pages.

    Args:
        path: the file.
        lost: payloads and extras of what was forgotten.
        read_kept: reads the payloads and extras that stay; called after the file has been read, so that what another
            process adds meanwhile is among them.

    Raises:
        WorkError: one is there, and not among the bytes that are kept.
    """
    held = path.read_bytes()
    kept = read_kept()
    pieces = (part[start : start + _PIECE] for part in lost for start in range(0, len(part) - _PIECE + 1, _PIECE))
    telling = (piece for piece in pieces if len(set(piece)) >= _TELLING)
    if any(piece in held and piece not in kept for piece in telling):
        raise WorkError(f"{path}: bytes of a forgotten exemplar are still in the file")
