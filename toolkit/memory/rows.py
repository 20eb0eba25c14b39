"""Rows of a memory file: exemplars and the extras kept with them, by label and rank, each with its checksum."""

from __future__ import annotations

import sqlite3
import zlib
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NamedTuple


@dataclass(frozen=True)
class Damaged:
    """An exemplar whose payload no longer matches its checksum or cannot be decoded."""

    label: int
    rank: int
    reason: str


class Stored(NamedTuple):
    """An intact exemplar; without extras that of each is empty."""

    payload: bytes
    extra: bytes


def insert(connection: sqlite3.Connection, table: str, label: int, first_rank: int, blobs: Sequence[bytes]) -> None:
    """Add payloads or extras of a class, at ``first_rank`` and after."""
    rows = ((label, rank, zlib.crc32(blob), blob) for rank, blob in enumerate(blobs, first_rank))
    connection.executemany(f"INSERT INTO {table} VALUES (?, ?, ?, ?)", rows)


def stored_sizes(connection: sqlite3.Connection, has_extras: bool) -> dict[int, list[int]]:
    """Bytes of payload and extra of every exemplar, by label, in the order of ranks."""
    # length() of a blob reads its header only
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


def read_class(connection: sqlite3.Connection, has_extras: bool, label: int) -> tuple[list[Stored], list[Damaged]]:
    """A class's intact exemplars in the order of ranks, and those whose checksum does not match."""
    intact: list[Stored] = []
    damaged: list[Damaged] = []
    query = "SELECT rank, crc, payload, 0, x'' FROM exemplars WHERE label = ? ORDER BY rank"
    if has_extras:
        query = (
            "SELECT rank, exemplars.crc, payload, coalesce(extras.crc, 0), coalesce(extra, x'') "
            "FROM exemplars LEFT JOIN extras USING (label, rank) WHERE label = ? ORDER BY rank"
        )
    for rank, crc, payload, extra_crc, extra in connection.execute(query, (label,)):
        if zlib.crc32(payload) == crc and zlib.crc32(extra) == extra_crc:
            intact.append(Stored(payload, extra))
        else:
            damaged.append(Damaged(label, rank, "its checksum does not match"))
    return intact, damaged


def bytes_of(connection: sqlite3.Connection, has_extras: bool, label: int, rank: int) -> list[bytes]:
    """A payload and its extra as they lie there, damaged or not."""
    tables = {"exemplars": "payload"} | ({"extras": "extra"} if has_extras else {})
    queries = [f"SELECT {column} FROM {table} WHERE label = ? AND rank = ?" for table, column in tables.items()]
    rows = [connection.execute(query, (label, rank)).fetchone() for query in queries]
    return [bytes(row[0]) for row in rows if row is not None]
