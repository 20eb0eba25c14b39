"""Range asymmetric numeral systems (rANS) for many short streams at once, one per exemplar, in integer arithmetic.

A stream of CompressAI's coder has an overhead of 6 bytes and takes 3 ms from Python, and a damaged one can abort the
process. Here the overhead is 3 bytes including a checksum, numpy codes hundreds of streams in parallel, and decoding
terminates for any bytes, with values or with a report of damage.

A long sequence is dealt to several lanes, so that an image of 512 pixels takes as many steps as one of 64::

    value   0 1 2 3 4 5 ...       stream:  checksum (7 bits), whether there is a tail (1 bit)
    lane    0 1 2 0 1 2 ...                states of the lanes, 4 bytes each
                                           bytes of the lanes, in the order in which they are read
                                           tail: values beyond the tables, last first; its length in 2 bytes

A single lane starts from state 1 instead of the lowest normalised state, which saves 1.5 bytes: the decoder accepts a
low state once no bytes are left.

Source: Duda, "Asymmetric numeral systems" (arXiv 1311.2540); Giesen, "Interleaved entropy coders" (arXiv 1402.3392).
"""

from __future__ import annotations

import struct
import zlib
from bisect import bisect_right
from collections.abc import Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np

from toolkit.codecs.varint import write_varint
from toolkit.foundation.errors import WorkError

PRECISION = 16
"""Frequencies of a table add up to 2^16, as in CompressAI."""
_TOTAL = 1 << PRECISION
_LOWEST = 1 << 23
"""A normalised state is in [2^23, 2^31)."""
_STATE_BYTES = 4
_TAIL = 128
_SYMBOLS_A_LANE = 8192
_FEW = 16
"""Up to this many streams are coded one by one: a symbol takes 1 us in Python, or 100 us for all streams in numpy."""
_MOST_STATE = 2**20
"""Maximum size of decompressed tables in bytes; those of CompressAI's largest models have 200 kB."""
_MOST_OF_A_VALUE = 2 + 5
"""Maximum number of bytes per value in a stream: two in a lane, five in the tail."""
_ROWS = struct.Struct("<H")
_LENGTH = struct.Struct("<H")


@dataclass(frozen=True, eq=False)
class Tables:
    """Frequency tables, one per row; the last symbol of a row is the escape symbol for values outside it.

    Attributes:
        frequencies: an int array per row, with entries of at least 1 that add up to 2^16.
        offsets: int64 (rows,), the value of the first symbol of each row.
    """

    frequencies: tuple[np.ndarray, ...]
    offsets: np.ndarray

    @classmethod
    def of_cdfs(cls, cdfs: np.ndarray, lengths: np.ndarray, offsets: np.ndarray) -> Tables:
        """From CompressAI's format: int (rows, longest), row r valid up to ``lengths[r]``, rising from 0 to 2^16."""
        rows = tuple(np.diff(row[:length].astype(np.int64)) for row, length in zip(cdfs, lengths, strict=True))
        return cls(rows, np.asarray(offsets, np.int64))

    def __len__(self) -> int:
        return len(self.frequencies)

    @cached_property
    def lengths(self) -> np.ndarray:
        """Number of symbols per row, int64 (rows + 1,); the extra row has a single symbol for padding lanes."""
        return np.array([*(len(row) for row in self.frequencies), 1])

    @cached_property
    def _first(self) -> np.ndarray:
        """Start of each row in the concatenated tables."""
        return np.concatenate([[0], np.cumsum(self.lengths)[:-1]])

    @cached_property
    def _widths(self) -> np.ndarray:
        return np.concatenate([*self.frequencies, [_TOTAL]]).astype(np.int64)

    @cached_property
    def _edges(self) -> np.ndarray:
        """Concatenated cumulative frequencies; row r starts at r x 2^16, so that one search covers all rows."""
        return np.cumsum(self._widths) - self._widths

    @cached_property
    def _lists(self) -> tuple[list[int], list[int]]:
        """Frequencies and edges as lists, for loops in Python."""
        return self._widths.tolist(), self._edges.tolist()

    def to_bytes(self) -> bytes:
        """Serialised form."""
        widths = np.concatenate(self.frequencies) if self.frequencies else np.empty(0)
        parts = [
            np.asarray(self.lengths[:-1], "<u2"),
            np.asarray(self.offsets, "<i4"),
            np.asarray(widths - 1, "<u2"),
        ]
        packed = zlib.compress(b"".join(part.tobytes() for part in parts), 9)
        return _ROWS.pack(len(self)) + packed

    @classmethod
    def from_bytes(cls, state: bytes) -> Tables:
        """The tables from the result of :meth:`to_bytes`.

        Raises:
            WorkError: the state is damaged.
        """
        try:
            (rows,) = _ROWS.unpack_from(state)
            inflater = zlib.decompressobj()
            content = inflater.decompress(state[_ROWS.size :], _MOST_STATE)
            if not inflater.eof or inflater.unused_data:
                raise ValueError(f"they are truncated, or have more than {_MOST_STATE} bytes")
            lengths = np.frombuffer(content, "<u2", rows).astype(np.int64)
            offsets = np.frombuffer(content, "<i4", rows, 2 * rows).astype(np.int64)
            widths = np.frombuffer(content, "<u2", int(lengths.sum()), 6 * rows).astype(np.int64) + 1
            if 6 * rows + 2 * len(widths) != len(content):
                raise ValueError("their length does not match the header")
            frequencies = tuple(np.split(widths, np.cumsum(lengths)[:-1]))
            if any(row.sum() != _TOTAL for row in frequencies):
                raise ValueError(f"the frequencies of a row do not add up to {_TOTAL}")
        except (struct.error, zlib.error, ValueError) as error:
            raise WorkError(f"the stored entropy tables are damaged: {error}") from error
        return cls(frequencies, offsets)

    def encode(self, values: np.ndarray, rows: np.ndarray) -> list[bytes]:
        """One stream per sequence.

        Args:
            values: int (N, S).
            rows: int (S,) or (N, S), table row of each value.
        """
        rows = np.broadcast_to(rows, values.shape)
        symbols = values - self.offsets[rows]
        escape = self.lengths[rows] - 1
        beyond = (symbols < 0) | (symbols >= escape)
        dealt = _deal(self._first[rows] + np.where(beyond, escape, symbols), self._first[-1])
        alone = len(values) <= _FEW and dealt.shape[2] == 1
        bodies = (_encode_alone if alone else _encode)(self._widths[dealt], self._edges[dealt] % _TOTAL)
        return [_sealed(body, value[out]) for body, value, out in zip(bodies, values, beyond, strict=True)]


class Decoder:
    """Reads N streams of equal length in parallel.

    Args:
        tables: the tables used for encoding.
        streams: from :meth:`Tables.encode`.
        length: number of values per stream, all of which will be read.
    """

    def __init__(self, tables: Tables, streams: Sequence[bytes], length: int) -> None:
        self._tables = tables
        self._lanes = _lanes(length)
        self._lane = 0
        head = _STATE_BYTES * self._lanes
        # the buffer is as long as the longest stream, so longer ones than an encoder can write are refused
        most = 1 + head + _LENGTH.size + _MOST_OF_A_VALUE * length
        parts = [_opened(stream) if len(stream) <= most else None for stream in streams]
        self.damaged = np.array([part is None for part in parts], bool)
        self._tails = [b"" if part is None else part[1] for part in parts]
        bodies = [b"" if part is None else part[0] for part in parts]
        # the state of a single lane is shorter if the whole stream is
        bodies = [body.rjust(head, b"\0") if self._lanes == 1 else body for body in bodies]
        self._ends = np.array([len(body) for body in bodies], np.int64)
        self.damaged |= self._ends < head
        # two extra bytes, since lanes of a damaged stream may read beyond its end
        self._bytes = np.zeros((len(bodies), int(self._ends.max(initial=head)) + 2), np.uint8)
        for row, body in zip(self._bytes, bodies, strict=True):
            row[: len(body)] = np.frombuffer(body, np.uint8)
        states = self._bytes[:, :head].reshape(len(bodies), self._lanes, _STATE_BYTES)
        self._x = states @ (256 ** np.arange(_STATE_BYTES - 1, -1, -1))
        self._at = np.full(len(bodies), head)
        self._tail_at = [0] * len(bodies)

    def read(self, rows: np.ndarray) -> np.ndarray:
        """The next values, int64 (N, S); ``rows`` is int (S,) or (N, S). Values of a damaged stream are arbitrary."""
        count = len(self._x)
        rows = np.broadcast_to(rows, (count, rows.shape[-1]))
        tables = self._tables
        if count <= _FEW and self._lanes == 1:
            found = np.array([self._read_alone(number, own) for number, own in enumerate(rows.tolist())], np.int64)
            found = found.reshape(rows.shape)
        else:
            found = self._read_together(rows)
        symbols = found - tables._first[rows]
        values = symbols + tables.offsets[rows]
        beyond = symbols == tables.lengths[rows] - 1
        for number in np.flatnonzero(beyond.any(axis=1)):
            values[number, beyond[number]] = [self._beyond(number) for _ in range(int(beyond[number].sum()))]
        return values

    def _read_together(self, rows: np.ndarray) -> np.ndarray:
        """The next symbols of all streams as positions in the concatenated tables, one numpy step per symbol.

        Symbols are dealt to the lanes in turn over the whole stream, so a part may begin and end between lanes.
        """
        count, length = rows.shape
        found = np.empty((count, length), np.int64)
        start = min(-self._lane % self._lanes, length)
        if start:
            found[:, :start] = self._step(rows[:, :start])
        steps = (length - start) // self._lanes
        end = start + steps * self._lanes
        dealt = rows[:, start:end].reshape(count, steps, self._lanes)
        symbols = np.empty((steps, count, self._lanes), np.int64)
        for step, row in enumerate(np.ascontiguousarray(np.moveaxis(dealt, 0, 1))):
            symbols[step] = self._step(row)
        found[:, start:end] = np.moveaxis(symbols, 0, 1).reshape(count, end - start)
        if end < length:
            found[:, end:] = self._step(rows[:, end:])
        return found

    def _step(self, rows: np.ndarray) -> np.ndarray:
        """One symbol from each of the next lanes, int (N, lanes or fewer); states are refilled after the last lane."""
        tables = self._tables
        lanes = slice(self._lane, self._lane + rows.shape[1])
        base, x = rows << PRECISION, self._x[:, lanes]
        slots = x & (_TOTAL - 1)
        found = np.searchsorted(tables._edges, slots + base, side="right") - 1
        self._x[:, lanes] = tables._widths[found] * (x >> PRECISION) + slots + base - tables._edges[found]
        self._lane = (self._lane + rows.shape[1]) % self._lanes
        if not self._lane:
            self._refill()
        return found

    def _read_alone(self, number: int, rows: list[int]) -> list[int]:
        """The same for one stream in Python, symbol by symbol."""
        widths, edges = self._tables._lists
        body = self._bytes[number].tolist()
        x, at, end = int(self._x[number, 0]), int(self._at[number]), int(self._ends[number])
        symbols = []
        for row in rows:
            target = (x & (_TOTAL - 1)) + (row << PRECISION)
            found = bisect_right(edges, target) - 1
            symbols.append(found)
            x = widths[found] * (x >> PRECISION) + target - edges[found]
            for _ in range(2):
                if x < _LOWEST and at < end:
                    x = x << 8 | body[at]
                    at += 1
        self._x[number, 0], self._at[number] = x, at
        return symbols

    def finish(self) -> np.ndarray:
        """Which streams are damaged, bool (N,): those that did not end at the expected position and state."""
        if self._lane:  # the encoder padded the last step
            self._lane = 0
            self._refill()
        unread = [at != len(tail) for at, tail in zip(self._tail_at, self._tails, strict=True)]
        ended = (self._at == self._ends) & (self._x == _first_state(self._lanes)).all(axis=1)
        return self.damaged | ~ended | np.array(unread, bool)

    def _refill(self) -> None:
        """Refill every lane whose state became too small with its next bytes, at most two."""
        missing = (self._x < _LOWEST).astype(np.int64) + (self._x < _LOWEST >> 8)
        if not missing.any():
            return
        if self._lanes == 1:
            missing = np.minimum(missing, (self._ends - self._at)[:, None])
        rank = np.cumsum(missing, axis=1)
        at = np.minimum(self._at[:, None] + rank - missing, self._bytes.shape[1] - 2)
        images = np.arange(len(at))[:, None]
        first, second = self._bytes[images, at], self._bytes[images, at + 1]
        self._x = np.where(missing > 0, self._x << 8 | first, self._x)
        self._x = np.where(missing == 2, self._x << 8 | second, self._x)
        self._at += rank[:, -1]

    def _beyond(self, number: int) -> int:
        """The next value of a stream's tail; if there is none, 0, and the stream is marked as damaged."""
        value = shift = 0
        tail = self._tails[number]
        while self._tail_at[number] < len(tail) and shift <= 28:
            byte = tail[self._tail_at[number]]
            self._tail_at[number] += 1
            value |= (byte & 127) << shift
            shift += 7
            if byte < 128:
                return value >> 1 ^ -(value & 1)
        self.damaged[number] = True
        return 0


def _sealed(body: bytes, beyond: np.ndarray) -> bytes:
    """A stream from the coded symbols and the values outside the tables."""
    flag = 0
    if len(beyond):
        flag, tail = _TAIL, b"".join(_signed_varint(int(value)) for value in beyond)
        body += tail + _LENGTH.pack(len(tail))
    return bytes([zlib.crc32(body) % _TAIL | flag]) + body


def _opened(stream: bytes) -> tuple[bytes, bytes] | None:
    """Body and tail of a stream from :func:`_sealed`; None if it is damaged."""
    if not stream or zlib.crc32(stream[1:]) % _TAIL != stream[0] % _TAIL:
        return None
    if stream[0] < _TAIL:
        return stream[1:], b""
    if len(stream) < 1 + _LENGTH.size:
        return None
    end = len(stream) - _LENGTH.size
    (length,) = _LENGTH.unpack_from(stream, end)
    return (stream[1 : end - length], stream[end - length : end]) if length < end else None


def _first_state(lanes: int) -> int:
    return 1 if lanes == 1 else _LOWEST


def _lanes(length: int) -> int:
    return max(1, -(-length // _SYMBOLS_A_LANE))


def _deal(sequence: np.ndarray, filler: int) -> np.ndarray:
    """Sequences (N, S) to (steps, N, lanes), with the last step padded."""
    count, length = sequence.shape
    lanes = _lanes(length)
    steps = -(-length // lanes)
    dealt = np.full((count, steps * lanes), filler, np.int64)
    dealt[:, :length] = sequence
    return np.ascontiguousarray(np.moveaxis(dealt.reshape(count, steps, lanes), 0, 1))


def _encode(widths: np.ndarray, starts: np.ndarray) -> list[bytes]:
    """Streams of symbols with these frequencies and cumulative frequencies, int64 (steps, N, lanes)."""
    steps, count, lanes = widths.shape
    room = 2 * steps * lanes + _STATE_BYTES * lanes + 2
    written = np.zeros((count, room), np.uint8)
    at = np.full(count, room - 2)  # filled from the end, because rANS decodes in reverse order
    images = np.broadcast_to(np.arange(count)[:, None], (count, lanes))
    x = np.full((count, lanes), _first_state(lanes), np.int64)
    spare_from = _LOWEST >> PRECISION << 8
    for width, start in zip(widths[::-1], starts[::-1], strict=True):
        spare = (x >= width * spare_from).astype(np.int64) + (x >= width * spare_from << 8)
        if spare.any():
            rank = np.cumsum(spare, axis=1)
            at -= rank[:, -1]
            place = at[:, None] + rank - spare
            for byte in (0, 1):  # the higher of two bytes is read first
                take = spare > byte
                bits = x >> np.where(spare == 2, 8 * (1 - byte), 0) & 255
                written[images[take], (place + byte)[take]] = bits[take]
            x = x >> 8 * spare
        x = (x // width << PRECISION) + x % width + start
    at -= _STATE_BYTES * lanes
    states = x[..., None] >> np.array([24, 16, 8, 0]) & 255
    written[images[:, :1], at[:, None] + np.arange(_STATE_BYTES * lanes)] = states.reshape(count, -1)
    bodies = [row[begin : room - 2].tobytes() for row, begin in zip(written, at, strict=True)]
    return [body.lstrip(b"\0") if len(body) == _STATE_BYTES else body for body in bodies]


def _encode_alone(widths: np.ndarray, starts: np.ndarray) -> list[bytes]:
    """The same for a few single-lane streams in Python, since a numpy step costs the same for one as for hundreds."""
    bodies = []
    for width, start in zip(
        np.moveaxis(widths[..., 0], 1, 0).tolist(), np.moveaxis(starts[..., 0], 1, 0).tolist(), strict=True
    ):
        x, written = _first_state(1), bytearray()
        for frequency, first in zip(reversed(width), reversed(start), strict=True):
            while x >= frequency * (_LOWEST >> PRECISION << 8):
                written.append(x & 255)
                x >>= 8
            x = (x // frequency << PRECISION) + x % frequency + first
        body = x.to_bytes(_STATE_BYTES, "big") + bytes(reversed(written))
        bodies.append(body.lstrip(b"\0") if len(body) == _STATE_BYTES else body)
    return bodies


def _signed_varint(value: int) -> bytes:
    """An integer with its sign in the lowest bit."""
    return write_varint(value << 1 if value >= 0 else (-value << 1) - 1)
