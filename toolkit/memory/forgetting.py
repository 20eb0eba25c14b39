"""What forgetting an exemplar takes: its rows are deleted, the ranks closed, and the file searched for its bytes."""

from __future__ import annotations

import hashlib
import sqlite3
from collections.abc import Sequence
from pathlib import Path

from toolkit.foundation.errors import WorkError

_PIECE = 24
"""Bytes that are looked for when something was forgotten: too many to be there by chance."""
_TELLING = 8
"""Different values among them at least: runs of zeros are everywhere."""


def identity(payload: bytes) -> str:
    """Sixteen hexadecimal digits of a payload's SHA-256."""
    return hashlib.sha256(payload).hexdigest()[:16]


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


def require_gone(path: Path, lost: Sequence[bytes], kept: bytes) -> None:
    """Search a file for pieces of what was forgotten, short enough to lie within one of SQLite's pages.

    Raises:
        WorkError: one is there, and not among the bytes that were ``kept``.
    """
    held = path.read_bytes()
    pieces = (part[start : start + _PIECE] for part in lost for start in range(0, len(part) - _PIECE + 1, _PIECE))
    telling = (piece for piece in pieces if len(set(piece)) >= _TELLING)
    if any(piece in held and piece not in kept for piece in telling):
        raise WorkError(f"{path}: bytes of a forgotten exemplar are still in the file")
