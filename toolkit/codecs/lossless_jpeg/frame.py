"""The header of a JPEG file: everything before its entropy-coded scan."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache

import numpy as np

from toolkit.codecs.base import MAX_PIXELS

END = b"\xff\xd9"
"""The marker after the scan."""
BASELINE = 0xC0
"""The marker of the only frames that are coded here."""
_START, _SCAN, _QUANTISATION, _HUFFMAN, _RESTARTS = 0xD8, 0xDA, 0xDB, 0xC4, 0xDD
_OTHER_FRAMES = {*range(0xC1, 0xD0)} - {_HUFFMAN, 0xC8, 0xCC}
"""Progressive, lossless and arithmetic-coded frames, and extended ones, which may have 12 bits."""
_MOST_COMPONENTS = 3


@dataclass(frozen=True, eq=False)
class Frame:
    """A baseline frame with one scan of all its components, and the tables to read and write it.

    Coefficients are int16 (T,): all blocks of the first component in raster order, then of the next, 64 per block in
    zigzag order.

    Attributes:
        header: the bytes before the scan.
        order: int64 (B, 2), component and first coefficient of each block, in the order of the scan.
        blocks: int64 (C, 2), rows and columns of blocks of each component.
        starts: int64 (C,), where each component's coefficients begin.
        steps: int64 (C, 64), quantisation steps in zigzag order.
        lookup: uint16 (2, C, 65536), for DC and AC: length of the code with which 16 bits begin, times 256, plus its
            symbol; 0 if there is none.
        codes, lengths: int64 (2, C, 256), code and length of each symbol; length 0 if it has none.
    """

    header: bytes
    order: np.ndarray
    blocks: np.ndarray
    starts: np.ndarray
    steps: np.ndarray
    lookup: np.ndarray
    codes: np.ndarray
    lengths: np.ndarray

    @property
    def coefficients(self) -> int:
        """Number of coefficients, T."""
        return int(64 * self.blocks.prod(axis=1).sum())


def scan_start(file: bytes) -> int | None:
    """Where the scan of a JPEG file begins; None if it has none."""
    return next((stop for marker, _, stop in segments(file) if marker == _SCAN), None)


def segments(file: bytes) -> Iterator[tuple[int, int, int]]:
    """Marker, start and stop of each whole segment of a JPEG file, up to the scan."""
    at = 2
    while file[:2] == bytes([0xFF, _START]) and at + 4 <= len(file) and file[at] == 0xFF:
        marker = file[at + 1]
        if marker == 0xFF:  # a fill byte
            at += 1
            continue
        stop = at + 2 + int.from_bytes(file[at + 2 : at + 4], "big")
        if stop > len(file):
            return
        yield marker, at, stop
        if marker == _SCAN:
            return
        at = stop


@lru_cache(maxsize=16)
def frame_of(header: bytes) -> Frame | None:
    """The frame of a header; None if its scan cannot be coded here.

    That is: not baseline with 8 bits, more than three components or several scans, restart intervals, odd sampling,
    damage, or more than :data:`~toolkit.codecs.base.MAX_PIXELS`.
    """
    try:
        return _parsed(header)
    except (IndexError, KeyError, ValueError):
        return None


def _parsed(header: bytes) -> Frame | None:
    steps: dict[int, np.ndarray] = {}
    tables: dict[int, tuple[bytes, bytes]] = {}
    frame = b""
    for marker, start, stop in segments(header):
        segment = header[start + 4 : stop]
        if marker == BASELINE:
            frame = segment
        elif marker in _OTHER_FRAMES or (marker == _RESTARTS and any(segment)):
            return None
        elif marker == _QUANTISATION:
            steps |= _quantisation(segment)
        elif marker == _HUFFMAN:
            tables |= _huffman(segment)
        elif marker == _SCAN:
            return _frame(header, frame, segment, steps, tables)
    return None


def _quantisation(segment: bytes) -> dict[int, np.ndarray]:
    found = {}
    while segment:
        wide, number = divmod(segment[0], 16)
        size = 128 if wide else 64
        found[number] = np.frombuffer(segment[1 : 1 + size], ">u2" if wide else "u1", 64).astype(np.int64)
        segment = segment[1 + size :]
    return found


def _huffman(segment: bytes) -> dict[int, tuple[bytes, bytes]]:
    """Numbers of codes of each length 1..16, and their symbols, by class and number of the table."""
    found = {}
    while segment:
        counts = segment[1:17]
        stop = 17 + sum(counts)
        found[segment[0]] = (counts, segment[17:stop])
        segment = segment[stop:]
    return found


def _frame(
    header: bytes, frame: bytes, scan: bytes, steps: dict[int, np.ndarray], tables: dict[int, tuple[bytes, bytes]]
) -> Frame | None:
    height, width, count = int.from_bytes(frame[1:3], "big"), int.from_bytes(frame[3:5], "big"), frame[5]
    if frame[0] != 8 or not 1 <= count <= _MOST_COMPONENTS or not 0 < height * width <= MAX_PIXELS:
        return None
    if scan[0] != count or scan[1 + 2 * count : 4 + 2 * count] != bytes([0, 63, 0]):
        return None
    components = [frame[6 + 3 * number : 9 + 3 * number] for number in range(count)]
    chosen = [scan[1 + 2 * number : 3 + 2 * number] for number in range(count)]
    if [one[0] for one in components] != [one[0] for one in chosen]:
        return None
    # a single component is not interleaved: its sampling says nothing
    sampling = np.array([[one[1] % 16, one[1] // 16] if count > 1 else [1, 1] for one in components])
    if sampling.min() < 1 or sampling.max() > 2 or (sampling.max(axis=0) % sampling).any():
        return None
    unit = 8 * sampling.max(axis=0)
    units = -(-np.array([height, width]) // unit)
    blocks = units * sampling
    sizes = 64 * blocks.prod(axis=1)
    starts = np.cumsum(sizes) - sizes
    used = [[(0, one[1] // 16) for one in chosen], [(1, one[1] % 16) for one in chosen]]
    coded = [[_codes(*tables[16 * kind + number]) for kind, number in row] for row in used]
    lookup, codes, lengths = (
        np.stack([np.stack([table[part] for table in row]) for row in coded]) for part in range(3)
    )
    return Frame(
        header,
        _order(units, sampling, blocks, starts),
        blocks,
        starts,
        np.stack([steps[one[2]] for one in components]),
        lookup,
        codes,
        lengths,
    )


def _order(units: np.ndarray, sampling: np.ndarray, blocks: np.ndarray, starts: np.ndarray) -> np.ndarray:
    """Component and first coefficient of each block in scan order: unit by unit; see :class:`Frame`.

    Args:
        units: int (2,), rows and columns of coding units.
        sampling: int (C, 2), rows and columns of blocks per unit of each component.
        blocks, starts: as in :class:`Frame`.
    """
    firsts = [
        (start + 64 * np.arange(grid.prod()))
        .reshape(units[0], rows, units[1], columns)
        .transpose(0, 2, 1, 3)
        .reshape(-1, rows * columns)
        for (rows, columns), grid, start in zip(sampling, blocks, starts, strict=True)
    ]
    components = np.repeat(np.arange(len(starts)), sampling.prod(axis=1))
    return np.stack([np.tile(components, units.prod()), np.concatenate(firsts, axis=1).ravel()], axis=1)


def _codes(counts: bytes, symbols: bytes) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Lookup table, codes and lengths of one Huffman table; see :class:`Frame`.

    Raises:
        ValueError: the lengths are not those of a code.
    """
    lookup, codes, lengths = np.zeros(2**16, np.uint16), np.zeros(256, np.int64), np.zeros(256, np.int64)
    code, place = 0, 0
    for length, count in enumerate(counts, 1):
        for symbol in symbols[place : place + count]:
            if code >= 2**length:
                raise ValueError("too many codes")
            codes[symbol], lengths[symbol] = code, length
            lookup[code << 16 - length : code + 1 << 16 - length] = length << 8 | symbol
            code += 1
        place += count
        code *= 2
    return lookup, codes, lengths
