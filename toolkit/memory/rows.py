"""Rows of a memory file: packs of payloads and of extras, by class and rank."""

from __future__ import annotations

import sqlite3
from collections import Counter
from collections.abc import Iterator, Mapping, Sequence, Set
from dataclasses import dataclass
from typing import NamedTuple

from toolkit.memory.disk import is_small
from toolkit.memory.packs import (
    BrokenHead,
    Item,
    Place,
    damaged_items,
    grouped,
    pack,
    part_of,
    sizes_of,
    unpack,
)
from toolkit.memory.state import ClassRow

_SMALL = 2**32
"""Packs that share leaf pages have numbers from here on."""
PAYLOAD, EXTRA = 0, 1
"""Kinds of blobs: an exemplar's payload, and what a method keeps with it."""


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


class Sizes(NamedTuple):
    """Bytes of a class's payloads and of the extras kept with them, in rank order; no extras if it has none."""

    payloads: list[int]
    extras: list[int]

    @property
    def total(self) -> int:
        """Bytes of all payloads and extras."""
        return sum(self.payloads) + sum(self.extras)


NO_SIZES = Sizes([], [])


class StoredPack(NamedTuple):
    """A pack as stored."""

    id: int
    place: Place
    head: bytes
    data: bytes

    def items(self) -> list[Item]:
        """Its blobs.

        Raises:
            BrokenHead: its head is damaged.
        """
        return unpack(self.place, self.head, self.data)


def insert(connection: sqlite3.Connection, kind: int, label: int, first_rank: int, blobs: Sequence[bytes]) -> None:
    """Add payloads or extras of a class, ranked from ``first_rank`` on.

    The last pack is filled up: packs depend on the blobs of a class, not on how they were added.
    """
    items = [Item.of(blob) for blob in blobs]
    if not items:
        return
    for row in list(_packs(connection, kind, label, last=True)):
        held = row.items()
        if row.place.first + len(held) == first_rank:
            connection.execute("DELETE FROM packs WHERE id = ?", (row.id,))
            first_rank, items = row.place.first, [*held, *items]
    _write(connection, kind, label, first_rank, items)


def delete_from(connection: sqlite3.Connection, kind: int, label: int, first_rank: int) -> None:
    """Drop the exemplars of a class from ``first_rank`` on."""
    connection.execute("DELETE FROM packs WHERE kind = ? AND label = ? AND first >= ?", (kind, label, first_rank))
    for row in list(_packs(connection, kind, label, last=True)):
        items = row.items()
        kept = items[: first_rank - row.place.first]
        if len(kept) < len(items):
            connection.execute("DELETE FROM packs WHERE id = ?", (row.id,))
            _write(connection, kind, label, row.place.first, kept)


def delete_class(connection: sqlite3.Connection, label: int) -> None:
    """Delete all exemplars of a class, damaged ones too."""
    connection.execute("DELETE FROM packs WHERE label = ?", (label,))


def delete(connection: sqlite3.Connection, kind: int, label: int, removed: Set[int]) -> None:
    """Delete exemplars of a class by rank, and renumber the others 0, 1, 2, ... in the same order.

    Extras, which not every exemplar has, keep the rank of their exemplar.

    Raises:
        BrokenHead: the head of a pack is damaged.
    """
    kept = {
        rank - sum(one < rank for one in removed): item
        for rank, item in _ranked(connection, kind, label)
        if rank not in removed
    }
    connection.execute("DELETE FROM packs WHERE kind = ? AND label = ?", (kind, label))
    for start in [rank for rank in sorted(kept) if rank - 1 not in kept]:
        stop = next(rank for rank in range(start, start + len(kept) + 1) if rank not in kept)
        _write(connection, kind, label, start, [kept[rank] for rank in range(start, stop)])


def stored_sizes(
    connection: sqlite3.Connection, label: int | None = None, *, skip_broken: bool = False
) -> dict[int, Sizes]:
    """Bytes of payloads and extras by label; of one class only, if its label is given.

    Raises:
        BrokenHead: the head of a pack is damaged, and such packs are not to be skipped.
    """
    sizes: dict[int, tuple[dict[int, int], dict[int, int]]] = {}
    query = "SELECT kind, label, first, head FROM packs WHERE label = coalesce(?, label) ORDER BY kind"
    for kind, of, first, head in connection.execute(query, (label,)):
        mine = sizes.setdefault(of, ({}, {}))[kind == EXTRA]
        try:
            found = sizes_of(Place(kind, of, first), head)
        except BrokenHead:
            if not skip_broken:
                raise
            continue
        mine.update(enumerate(found, first))
    return {
        of: Sizes(
            [payloads[rank] for rank in sorted(payloads)],
            [extras.get(rank, 0) for rank in sorted(payloads)] if extras else [],
        )
        for of, (payloads, extras) in sorted(sizes.items())
    }


def read_payload(connection: sqlite3.Connection, label: int, rank: int) -> bytes | None:
    """One payload; None if it is damaged.

    Raises:
        IndexError: there is no such exemplar.
    """
    found = connection.execute(
        "SELECT id, first, head FROM packs WHERE kind = 0 AND label = ? AND first <= ? ORDER BY first DESC LIMIT 1",
        (label, rank),
    ).fetchone()
    if found is None:
        raise IndexError(f"class {label} has no exemplar of rank {rank}")
    number, first, head = found
    try:
        part = part_of(Place(PAYLOAD, label, first), head, rank - first)
    except BrokenHead:
        return None
    if part is None:
        raise IndexError(f"class {label} has no exemplar of rank {rank}")
    with connection.blobopen("packs", "data", number, readonly=True) as data:  # without reading its other payloads
        data.seek(part.start)
        item = Item(data.read(part.size), part.check)
        return item.blob if len(data) == part.total and item.intact else None


def read_class(
    connection: sqlite3.Connection, label: int, exemplars: int
) -> tuple[list[Stored], list[DamagedExemplar]]:
    """A class's intact exemplars in rank order, and those that are damaged.

    Args:
        connection: to the file.
        label: of the class.
        exemplars: how many it should have.
    """
    payloads, extras = (_checked(connection, kind, label, exemplars) for kind in (PAYLOAD, EXTRA))
    intact: list[Stored] = []
    damaged: list[DamagedExemplar] = []
    for rank, payload in sorted(payloads.items()):
        extra = extras.get(rank, b"")
        if payload is None or extra is None:
            damaged.append(DamagedExemplar(label, rank, "checksum mismatch"))
        else:
            intact.append(Stored(rank, payload, extra))
    return intact, damaged


def misplaced(connection: sqlite3.Connection, classes: Mapping[int, ClassRow]) -> list[DamagedExemplar]:
    """Exemplars missing from the ranks that their class's row implies, and exemplars at unexpected ranks.

    A flipped bit in a label or rank moves a pack from its place to another.
    """
    found: list[DamagedExemplar] = []
    ranks: dict[int, Counter[int]] = {}
    for (label,) in connection.execute("SELECT DISTINCT label FROM packs WHERE kind = 0").fetchall():
        exemplars = classes[label].exemplars if label in classes else 1
        covered = (rank for row, stop in _spans(connection, PAYLOAD, label, exemplars) for rank in _covered(row, stop))
        ranks[label] = Counter(covered)
    for label in sorted({*ranks, *classes}):
        expected = range(classes[label].exemplars if label in classes else 0)
        have = ranks.get(label, Counter())
        found += [DamagedExemplar(label, rank, "missing") for rank in expected if rank not in have]
        found += [DamagedExemplar(label, rank, "unexpected label or rank") for rank in have if rank not in expected]
        found += [DamagedExemplar(label, rank, "stored twice") for rank, times in have.items() if times > 1]
    return found


def uneven(connection: sqlite3.Connection, classes: Mapping[int, ClassRow]) -> list[DamagedExemplar]:
    """The first exemplar of every class whose bytes differ from its row: an extra may be misplaced."""
    sizes = stored_sizes(connection, skip_broken=True)
    return [
        DamagedExemplar(label, 0, f"its class has {found.total} bytes, expected {row.payload_bytes}")
        for label, row in classes.items()
        if (len((found := sizes.get(label, NO_SIZES)).payloads), found.total) != (row.exemplars, row.payload_bytes)
    ]


def payload_items(connection: sqlite3.Connection) -> Iterator[tuple[int, int, bytes]]:
    """Label, rank and payload of every exemplar, damaged or not; those of broken packs are left out."""
    for kind, label, first, head, data in connection.execute("SELECT kind, label, first, head, data FROM packs"):
        place = Place(kind, label, first)
        try:
            items = unpack(place, head, data) if kind == PAYLOAD else []
        except BrokenHead:
            continue
        yield from ((label, rank, item.blob) for rank, item in enumerate(items, first))


def bytes_of(connection: sqlite3.Connection, gone: Sequence[tuple[int, int]]) -> list[bytes]:
    """Payloads and extras of exemplars as stored, damaged or not; all of a pack whose head is broken."""
    wanted = set(gone)
    found: list[bytes] = []
    for label in sorted({label for label, _ in gone}):
        for kind in (PAYLOAD, EXTRA):
            for row in _packs(connection, kind, label):
                try:
                    items = row.items()
                except BrokenHead:
                    found.append(row.data)
                    continue
                ranked = enumerate(items, row.place.first)
                found += [item.blob for rank, item in ranked if (label, rank) in wanted]
    return found


def _write(connection: sqlite3.Connection, kind: int, label: int, first: int, items: Sequence[Item]) -> None:
    for group in grouped(items):
        place = Place(kind, label, first)
        head, data = pack(place, group)
        first_id, end = (_SMALL, 2**63 - 1) if is_small(head, data) else (1, _SMALL)
        connection.execute(
            "INSERT INTO packs SELECT coalesce(max(id) + 1, ?), ?, ?, ?, ?, ? FROM packs WHERE id >= ? AND id < ?",
            (first_id, *place, head, data, first_id, end),
        )
        first += len(group)


def _packs(connection: sqlite3.Connection, kind: int, label: int, *, last: bool = False) -> Iterator[StoredPack]:
    """The packs of a class in rank order, or only the last one."""
    order = "first DESC LIMIT 1" if last else "first"
    query = f"SELECT id, first, head, data FROM packs WHERE kind = ? AND label = ? ORDER BY {order}"
    for number, first, head, data in connection.execute(query, (kind, label)):
        yield StoredPack(number, Place(kind, label, first), head, data)


def _ranked(connection: sqlite3.Connection, kind: int, label: int) -> Iterator[tuple[int, Item]]:
    """Rank and item of every blob of a class.

    Raises:
        BrokenHead: the head of a pack is damaged.
    """
    for row in _packs(connection, kind, label):
        yield from enumerate(row.items(), row.place.first)


def _spans(connection: sqlite3.Connection, kind: int, label: int, exemplars: int) -> Iterator[tuple[StoredPack, int]]:
    """The packs of a class, each with the rank at which the next one begins."""
    rows = list(_packs(connection, kind, label))
    stops = [*(row.place.first for row in rows[1:]), exemplars]
    yield from zip(rows, stops, strict=False)  # without packs there is nothing to end


def _covered(row: StoredPack, stop: int) -> range:
    """The ranks of a pack; up to the next pack's if its head is damaged."""
    first = row.place.first
    try:
        return range(first, first + len(sizes_of(row.place, row.head)))
    except BrokenHead:
        return range(first, max(stop, first + 1))


def _checked(connection: sqlite3.Connection, kind: int, label: int, exemplars: int) -> dict[int, bytes | None]:
    """Every blob of a class by rank; None for damaged ones."""
    found: dict[int, bytes | None] = {}
    for row, stop in _spans(connection, kind, label, exemplars):
        try:
            items = row.items()
        except BrokenHead:
            found |= dict.fromkeys(_covered(row, stop))
            continue
        damaged = damaged_items(row.place, row.head, row.data, items)
        first = row.place.first
        found |= {first + n: None if n in damaged else item.blob for n, item in enumerate(items)}
    return found
