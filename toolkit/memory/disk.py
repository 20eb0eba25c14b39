"""Bytes that exemplars take in a memory's file, computed from the sizes of their payloads alone.

One model for every budget: a memory keeps what fits by it, so a probe that asks the same functions promises what a
build stores. It follows SQLite's format (https://www.sqlite.org/fileformat2.html, section 1.6): a pack's row fills
overflow pages completely, and what is left shares a leaf page with other rows. How well leaf pages are filled depends
on the order of all changes, so their share is an upper estimate; a memory measures its file before it commits.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TypeVar

import numpy as np

from toolkit.memory.allocation import allocate
from toolkit.memory.packs import CHECK_BYTES, HEAD_BYTES, PACK_BYTES, size_bytes

PAGE_BYTES = 1024
"""A pack ends within a page, so small pages waste less: with 4,096 bytes three times as much."""
FIXED_BYTES = 7 * PAGE_BYTES
"""Schema, facts, and the first page of each table and index, with a page to spare."""
_Bytes = TypeVar("_Bytes", int, np.ndarray)
_LEAF = PAGE_BYTES - 8
_LARGEST_LOCAL = PAGE_BYTES - 35
_LEAST_LOCAL = (PAGE_BYTES - 12) * 32 // 255 - 23
_OVERFLOW = PAGE_BYTES - 4
_RECORD_BYTES = 16
"""Header of a pack's record, its label and its first rank."""
_CELL_BYTES = 16
"""Sizes, row number, address of the first overflow page, and place in the leaf page."""
_CLASS_BYTES = 64
"""A class's row with its name."""
_INDEX_BYTES = 32
"""A pack's entry in the index, whose pages are half full at worst."""
_MAPPED = _LEAF // 5
"""Pages whose owners one page of SQLite's pointer map lists."""


def fixed_bytes(shared: int, files: int = 1) -> int:
    """Bytes of memories without exemplars.

    Args:
        shared: bytes of the codec's shared header, stored in every file.
        files: their number.
    """
    return files * (FIXED_BYTES + _mapped(-(-shared // _OVERFLOW) * PAGE_BYTES))


def prefix_bytes(payloads: Sequence[int] | np.ndarray, extras: Sequence[int] | np.ndarray = ()) -> np.ndarray:
    """Bytes that a class takes with its first exemplar, its first two, and so on, int64 (N,).

    Args:
        payloads: sizes in selection order.
        extras: sizes of what is kept with each exemplar, if anything.
    """
    rows = _pack_bytes(np.asarray(payloads, np.int64))
    if len(extras):
        rows = rows + _pack_bytes(np.asarray(extras, np.int64))
    return _mapped(_CLASS_BYTES + rows)


def prefix_bytes_in_shards(payloads: np.ndarray, shards: np.ndarray) -> np.ndarray:
    """:func:`prefix_bytes` of a class whose exemplars are spread over several files.

    Args:
        payloads: int (N,), sizes in selection order.
        shards: int (N,), the file of each.
    """
    added = np.zeros(len(payloads), np.int64)
    for shard in np.unique(shards):
        own = np.flatnonzero(shards == shard)
        added[own] = np.diff(prefix_bytes(payloads[own]), prepend=0)
    return np.cumsum(added)


def fitting(sizes: Mapping[int, Sequence[int] | np.ndarray], budget: int, shared: int) -> dict[int, int]:
    """Number of exemplars of each class that a memory within a budget keeps, by label.

    Args:
        sizes: bytes of each class's payloads in selection order.
        budget: bytes on disk.
        shared: bytes of the codec's shared header.

    Raises:
        BudgetTooSmall: one exemplar per class does not fit.
    """
    return allocate({label: prefix_bytes(own) for label, own in sizes.items()}, budget, fixed_bytes(shared))


def uniform_bytes(size: int, count: float, classes: int, shared: int) -> int:
    """Bytes on disk of a memory with ``count`` exemplars of ``size`` bytes per class; a part of one counts too."""
    packed = max(1, PACK_BYTES // max(1, size))
    pack = _pack_bytes(np.full(packed, size))
    whole, rest = divmod(count, packed)
    part = float(np.interp(rest, np.arange(packed + 1), [0, *pack]))
    return fixed_bytes(shared) + classes * int(_mapped(math.ceil(_CLASS_BYTES + whole * int(pack[-1]) + part)))


def smallest_bytes(largest: Sequence[tuple[int, int]], shared: int, files: int = 1) -> int:
    """Bytes on disk of a memory with one exemplar per class.

    Args:
        largest: for each class, bytes of its largest payload and of what is kept with it, 0 if nothing.
        shared: bytes of the codec's shared header.
        files: over which the exemplars are spread.
    """
    firsts = (prefix_bytes([payload], [extra] if extra else [])[0] for payload, extra in largest)
    return fixed_bytes(shared, files) + int(sum(firsts))


def _pack_bytes(sizes: np.ndarray) -> np.ndarray:
    """Bytes of the packs of the first blob, the first two, and so on, int64 (N,)."""
    ends = np.cumsum(sizes)
    widths = size_bytes(sizes)
    total = np.empty(len(sizes), np.int64)
    start, stored, before = 0, 0, 0
    while start < len(sizes):
        stop = max(start + 1, int(np.searchsorted(ends, stored + PACK_BYTES, side="right")))
        tables = np.arange(1, stop - start + 1) * (CHECK_BYTES + np.maximum.accumulate(widths[start:stop]))
        records = _RECORD_BYTES + HEAD_BYTES + tables + ends[start:stop] - stored
        total[start:stop] = before + _INDEX_BYTES + _row_bytes(records)
        start, stored, before = stop, int(ends[stop - 1]), int(total[stop - 1])
    return total


def _row_bytes(records: np.ndarray) -> np.ndarray:
    """Bytes of overflow pages and of a share of a leaf page, int64 (N,), for rows with records of int64 (N,) bytes.

    A row that takes more than half a leaf page has it alone. The others are next to each other, see :func:`is_small`,
    and fill three quarters of their pages at least, on average.
    """
    cells = _cells(records)
    leaf = np.where(cells > _LEAF // 2, PAGE_BYTES, np.minimum(PAGE_BYTES, cells * 4 // 3 + 30))
    return leaf + -(-(records + _CELL_BYTES - cells) // _OVERFLOW) * PAGE_BYTES


def is_small(head: bytes, data: bytes) -> bool:
    """Whether a pack shares its leaf page with others: such rows are kept together, so that they fill pages."""
    return bool(_cells(np.array(_RECORD_BYTES + len(head) + len(data))) <= _LEAF // 2)


def _cells(records: np.ndarray) -> np.ndarray:
    """Bytes in leaf pages, int64 (N,), of rows with records of int64 (N,) bytes."""
    surplus = _LEAST_LOCAL + (records - _LEAST_LOCAL) % _OVERFLOW
    local = np.where(records <= _LARGEST_LOCAL, records, np.where(surplus <= _LARGEST_LOCAL, surplus, _LEAST_LOCAL))
    return local + _CELL_BYTES


def _mapped(size: _Bytes) -> _Bytes:
    """Bytes with their share of the pointer map."""
    return size + -(-size // _MAPPED)
