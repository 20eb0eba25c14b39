"""Packs: many exemplars in one row of the database, so that small payloads do not spill into pages of their own.

A pack holds consecutive ranks of one class: a head with the size and a 16-bit check of each blob, and the blobs one
after the other. A checksum over the head and one over the blobs notice any damage; the checks then tell which
exemplars are damaged. One exemplar is read alone, with its check. A pack takes three or four bytes per exemplar, and on
average half a page of the database.
"""

from __future__ import annotations

import binascii
import struct
import zlib
from collections.abc import Iterator, Sequence
from typing import NamedTuple

import numpy as np

PACK_BYTES = 32 * 1024
"""Blobs are packed together up to this size; a larger one has a pack of its own."""
_HEAD = struct.Struct("<IIB")
"""Checksum of the rest of the head and of the pack's place, checksum of the blobs, and bytes per size."""
CHECK_BYTES = 2
HEAD_BYTES = _HEAD.size
"""Bytes of a head without its table of sizes and checks."""


class Place(NamedTuple):
    """Where a pack belongs: its kind of blob, its class, and the rank of its first blob."""

    kind: int
    label: int
    first: int


class Item(NamedTuple):
    """A blob with its stored check, which does not match if the blob is damaged."""

    blob: bytes
    check: int

    @classmethod
    def of(cls, blob: bytes) -> Item:
        """A new blob with its check."""
        return cls(blob, binascii.crc_hqx(blob, 0))

    @property
    def intact(self) -> bool:
        """Whether the blob matches its check."""
        return binascii.crc_hqx(self.blob, 0) == self.check


class Part(NamedTuple):
    """One blob of a pack: where it starts, its bytes and its check, and the bytes of all blobs."""

    start: int
    size: int
    check: int
    total: int


class BrokenHead(ValueError):
    """The head of a pack is damaged: sizes and number of its blobs are unknown."""


def pack(place: Place, items: Sequence[Item]) -> tuple[bytes, bytes]:
    """Head and blobs of a pack; one with damaged items stays recognisable as damaged."""
    sizes = np.array([len(item.blob) for item in items], "<u4")
    width = int(size_bytes(sizes.max()))
    table = sizes.view(np.uint8).reshape(-1, 4)[:, :width].tobytes()
    checks = np.array([item.check for item in items], "<u2").tobytes()
    data = b"".join(item.blob for item in items)
    seal = zlib.crc32(data) if all(item.intact for item in items) else ~zlib.crc32(data) & 0xFFFFFFFF
    rest = _HEAD.pack(0, seal, width)[4:] + table + checks
    return struct.pack("<I", _head_seal(place, rest)) + rest, data


def size_bytes(sizes: np.ndarray) -> np.ndarray:
    """Bytes that store each size, int64 of the same shape."""
    return 1 + np.searchsorted([2**8, 2**16, 2**24], sizes, side="right")


def sizes_of(place: Place, head: bytes) -> list[int]:
    """Bytes of each blob.

    Raises:
        BrokenHead: the head is damaged.
    """
    return _table(place, head)[0].tolist()


def unpack(place: Place, head: bytes, data: bytes) -> list[Item]:
    """The items of a pack; those of a damaged pack whose check does not match are damaged.

    Raises:
        BrokenHead: the head is damaged.
    """
    sizes, checks = _table(place, head)
    ends = np.cumsum(sizes).tolist()
    starts = [0, *ends[:-1]]
    return [Item(data[start:end], check) for start, end, check in zip(starts, ends, checks.tolist(), strict=True)]


def part_of(place: Place, head: bytes, position: int) -> Part | None:
    """Where one blob of a pack is; None if the pack has fewer.

    Raises:
        BrokenHead: the head is damaged.
    """
    sizes, checks = _table(place, head)
    if position >= len(sizes):
        return None
    return Part(int(sizes[:position].sum()), int(sizes[position]), int(checks[position]), int(sizes.sum()))


def damaged_items(place: Place, head: bytes, data: bytes, items: Sequence[Item]) -> set[int]:
    """Positions of the damaged items of a pack: all of them, if the pack is damaged but every check matches."""
    _, seal, _ = _HEAD.unpack_from(head)
    if zlib.crc32(data) == seal and sum(len(item.blob) for item in items) == len(data):
        return set()
    return {n for n, item in enumerate(items) if not item.intact} or set(range(len(items)))


def grouped(items: Sequence[Item]) -> Iterator[list[Item]]:
    """Items in order, in groups that fill a pack."""
    group: list[Item] = []
    size = 0
    for item in items:
        if group and size + len(item.blob) > PACK_BYTES:
            yield group
            group, size = [], 0
        group.append(item)
        size += len(item.blob)
    if group:
        yield group


def _table(place: Place, head: bytes) -> tuple[np.ndarray, np.ndarray]:
    """Sizes, int64 (N,), and checks, int64 (N,)."""
    if len(head) < _HEAD.size:
        raise BrokenHead("the table of a pack does not match its checksum")
    seal, _, width = _HEAD.unpack_from(head)
    count, left = divmod(len(head) - _HEAD.size, width + CHECK_BYTES) if 1 <= width <= 4 else (0, 1)
    if left or not count or _head_seal(place, head[4:]) != seal:
        raise BrokenHead("the table of a pack does not match its checksum")
    wide = np.zeros((count, 4), np.uint8)
    wide[:, :width] = np.frombuffer(head, np.uint8, count * width, _HEAD.size).reshape(count, width)
    checks = np.frombuffer(head, "<u2", count, _HEAD.size + count * width)
    return wide.view("<u4")[:, 0].astype(np.int64), checks.astype(np.int64)


def _head_seal(place: Place, rest: bytes) -> int:
    """Checksum of a head and of its place, so that a pack whose class or rank has changed is noticed."""
    return zlib.crc32(rest, zlib.crc32(ascii(tuple(place)).encode()))  # a flipped bit may have changed a type
