"""Rows of a memory file: exemplars and their extras by label and rank, each with a checksum."""

from __future__ import annotations

import sqlite3
import zlib
from collections import Counter
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import NamedTuple

from toolkit.memory.state import ClassRow

EXTRAS = """
CREATE TABLE extras (
    label INTEGER NOT NULL, rank INTEGER NOT NULL, crc INTEGER NOT NULL, extra BLOB NOT NULL,
    PRIMARY KEY (label, rank)
) WITHOUT ROWID
"""
"""Created with the first exemplar that has an extra."""


@dataclass(frozen=True)
class DamagedExemplar:
    """An exemplar that is missing, fails its checksum or cannot be decoded."""

    label: int
    rank: int
    reason: str


class Stored(NamedTuple):
    """An intact exemplar; ``extra`` is empty if it has none."""

    rank: int
    payload: bytes
    extra: bytes


def insert(connection: sqlite3.Connection, table: str, label: int, first_rank: int, blobs: Sequence[bytes]) -> None:
    """Add payloads or extras of a class, ranked from ``first_rank`` on."""
    rows = ((label, rank, zlib.crc32(blob), blob) for rank, blob in enumerate(blobs, first_rank))
    connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", rows)


def delete_from(connection: sqlite3.Connection, table: str, label: int, first_rank: int) -> None:
    """Drop the exemplars of a class from ``first_rank`` on."""
    connection.execute(f"DELETE FROM {table} WHERE label = ? AND rank >= ?", (label, first_rank))


def stored_sizes(connection: sqlite3.Connection, has_extras: bool) -> dict[int, list[int]]:
    """Bytes of payload and extra of every exemplar, by label, in rank order."""
    # length() of a blob reads only its header
    query = "SELECT label, length(payload) FROM exemplars ORDER BY label, rank"
    if has_extras:
        query = (
            "SELECT label, length(payload) + coalesce(length(extra), 0) "
            "FROM exemplars LEFT JOIN extras USING (label, rank) ORDER BY label, rank"
        )
    sizes: dict[int, list[int]] = {}
    for label, size in connection.execute(query):
        sizes.setdefault(label, []).append(size)
    return sizes


def read_payload(connection: sqlite3.Connection, label: int, rank: int) -> bytes | None:
    """One payload; None if its checksum does not match.

    Raises:
        IndexError: there is no such exemplar.
    """
    row = connection.execute(
        "SELECT crc, payload FROM exemplars WHERE label = ? AND rank = ?", (label, rank)
    ).fetchone()
    if row is None:
        raise IndexError(f"class {label} has no exemplar of rank {rank}")
    return row[1] if zlib.crc32(row[1]) == row[0] else None


def read_class(
    connection: sqlite3.Connection, has_extras: bool, label: int
) -> tuple[list[Stored], list[DamagedExemplar]]:
    """A class's intact exemplars in rank order, and those whose checksum does not match."""
    intact: list[Stored] = []
    damaged: list[DamagedExemplar] = []
    query = "SELECT rank, crc, payload, 0, x'' FROM exemplars WHERE label = ? ORDER BY rank"
    if has_extras:
        query = (
            "SELECT rank, exemplars.crc, payload, coalesce(extras.crc, 0), coalesce(extra, x'') "
            "FROM exemplars LEFT JOIN extras USING (label, rank) WHERE label = ? ORDER BY rank"
        )
    for rank, crc, payload, extra_crc, extra in connection.execute(query, (label,)):
        if zlib.crc32(payload) == crc and zlib.crc32(extra) == extra_crc:
            intact.append(Stored(rank, payload, extra))
        else:
            damaged.append(DamagedExemplar(label, rank, "checksum mismatch"))
    return intact, damaged


def misplaced(connection: sqlite3.Connection, classes: Mapping[int, ClassRow]) -> list[DamagedExemplar]:
    """Exemplars missing from the ranks that their class's row implies, and exemplars at unexpected ranks.

    A flipped bit in a label or rank moves an exemplar from its place to another.
    """
    found: list[DamagedExemplar] = []
    ranks: dict[int, Counter[int]] = {}
    for label, rank in connection.execute("SELECT label, rank FROM exemplars"):
        ranks.setdefault(label, Counter())[rank] += 1
    for label in sorted({*ranks, *classes}):
        expected = range(classes[label].exemplars if label in classes else 0)
        have = ranks.get(label, Counter())
        found += [DamagedExemplar(label, rank, "missing") for rank in expected if rank not in have]
        found += [DamagedExemplar(label, rank, "unexpected label or rank") for rank in have if rank not in expected]
        found += [DamagedExemplar(label, rank, "stored twice") for rank, times in have.items() if times > 1]
    return found


def uneven(connection: sqlite3.Connection, has_extras: bool, classes: Mapping[int, ClassRow]) -> list[DamagedExemplar]:
    """The first exemplar of every class whose bytes differ from its row: an extra may be misplaced."""
    sizes = stored_sizes(connection, has_extras)
    return [
        DamagedExemplar(label, 0, f"its class has {sum(sizes.get(label, ()))} bytes, expected {row.payload_bytes}")
        for label, row in classes.items()
        if (len(sizes.get(label, ())), sum(sizes.get(label, ()))) != (row.exemplars, row.payload_bytes)
    ]


def bytes_of(connection: sqlite3.Connection, has_extras: bool, label: int, rank: int) -> list[bytes]:
    """A payload and its extra as stored, damaged or not."""
    tables = {"exemplars": "payload"} | ({"extras": "extra"} if has_extras else {})
    queries = [f"SELECT {column} FROM {table} WHERE label = ? AND rank = ?" for table, column in tables.items()]
    rows = [connection.execute(query, (label, rank)).fetchone() for query in queries]
    return [bytes(row[0]) for row in rows if row is not None]
