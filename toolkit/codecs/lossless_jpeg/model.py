"""Quantised JPEG coefficients under a context model, coded with rANS.

Every coefficient is a sequence of yes-or-no decisions. Each decision has a context: what is already known of the block
and of the blocks above and to the left. A context's probability begins at a value that is part of this codec
(``prior.npz``, from ``notebooks/studies/jpeg_prior.py``) and follows the decisions of the image, so no statistics are
stored. All arithmetic is in integers: decoding gives the same values on every machine.

Per block, components one after the other: the number of nonzero AC coefficients; the coefficients in zigzag order until
all of these are known, each as zero or not, length in binary, lower bits and sign; DC as the difference from a
prediction that makes pixels continue across the edges of the blocks.

The decisions are coded last first, because rANS reverses the order: an encoder writes them down with their
probabilities. It starts from state 1, as :mod:`toolkit.codecs.neural.rans`; a decoder that does not end there, at the
end of the stream, has read a damaged one.

Sources: contexts after Horn et al., "The design, implementation, and deployment of a system to transparently compress
hundreds of petabytes of image files for a file-storage service" (Lepton, NSDI 2017); Duda (arXiv 1311.2540).
"""

from __future__ import annotations

from functools import cache
from pathlib import Path
from typing import NamedTuple

import numpy as np
from numba import njit

from toolkit.codecs.lossless_jpeg.frame import Frame

PRIOR = Path(__file__).with_name("prior.npz")
_ONE = 1 << 16
_RAREST = 48
"""Probabilities stay at least this far from 0 and 1, in 65,536ths."""
_LOWEST = 1 << 23
"""A normalised state is in [2^23, 2^31)."""
_STATE_BYTES = 4
_RATES = np.array([int(_ONE / (seen + 1.5)) for seen in range(256)], np.int64)
"""Share of the way to the latest decision that a probability goes, in 65,536ths, after so many decisions."""
_MOST_SEEN = 250
_ZIGZAG = np.array(
    [
        *(0, 1, 5, 6, 14, 15, 27, 28, 2, 4, 7, 13, 16, 26, 29, 42, 3, 8, 12, 17, 25, 30, 41, 43, 9, 11, 18, 24, 31, 40),
        *(44, 53, 10, 19, 23, 32, 39, 45, 52, 54, 20, 22, 33, 38, 46, 51, 55, 60, 21, 34, 37, 47, 50, 56, 59, 61),
        *(35, 36, 48, 49, 57, 58, 62, 63),
    ],
    np.int64,
)
"""Place in zigzag order of each coefficient in raster order."""
_DOWN, _ACROSS = _ZIGZAG[::8].copy(), _ZIGZAG[:8].copy()
"""Places of the coefficients without horizontal, and without vertical, change."""
_AT_EDGE = np.rint(4096 * np.sqrt(2) * np.cos(np.arange(8) * np.pi / 16)).astype(np.int64)
"""Value of the 1-D DCT's basis functions at the first pixel, relative to DC's, times 4096."""

# classes of numbers of nonzero coefficients, of such still to come, and of coefficients of the neighbouring blocks
_COUNT_CLASSES, _LEFT_CLASSES, _NEAR_CLASSES, _ACTIVITIES = 10, 8, 8, 8
_LENGTHS, _DC_LENGTHS = 12, 16
_COUNT = 0
_ZERO = _COUNT + 2 * _COUNT_CLASSES * 3 * 64
_LENGTH = _ZERO + 2 * 64 * _LEFT_CLASSES * _NEAR_CLASSES
_BITS = _LENGTH + 2 * 64 * _NEAR_CLASSES * _LENGTHS
_SIGN = _BITS + 2 * 64 * _LENGTHS
_DC_ZERO = _SIGN + 2 * 64 * 9
_DC_LENGTH = _DC_ZERO + 2 * _ACTIVITIES * 4
_DC_BITS = _DC_LENGTH + 2 * _ACTIVITIES * _DC_LENGTHS
_DC_SIGN = _DC_BITS + 2 * _DC_LENGTHS
CONTEXTS = _DC_SIGN + 2 * 3

_RECORD, _DECODE, _COUNT_ONLY = 0, 1, 2


class _Coder(NamedTuple):
    """What a walk over the coefficients reads and writes; tuples of arrays are what numba takes.

    Attributes:
        state: int64 (4,), state of rANS, place in ``stream``, mode, and decisions so far.
        probabilities: uint16 (CONTEXTS,), that a decision is yes, in 65,536ths.
        seen: uint8 (CONTEXTS,), decisions that a probability rests on.
        decisions: uint32 (N,), probability and outcome of each; context and outcome when only counting.
        stream: uint8 (S,), to decode.
    """

    state: np.ndarray
    probabilities: np.ndarray
    seen: np.ndarray
    decisions: np.ndarray
    stream: np.ndarray


def encode_coefficients(coefficients: np.ndarray, frame: Frame) -> bytes:
    """The stream of the coefficients of a frame, int16 (T,)."""
    probabilities, seen = prior()
    coder = _coder(_RECORD, probabilities, seen, np.empty(_most_decisions(coefficients), np.uint32))
    _code(coefficients, frame, coder)
    stream = np.empty(2 * coder.state[3] + 2 * _STATE_BYTES, np.uint8)
    return stream[_write(coder.decisions[: coder.state[3]], stream) :].tobytes()


def decode_coefficients(stream: bytes, frame: Frame) -> np.ndarray | None:
    """The coefficients, int16 (T,); None if the stream is damaged."""
    if len(stream) < _STATE_BYTES:
        return None
    coefficients = np.zeros(frame.coefficients, np.int16)
    coder = _coder(_DECODE, *prior(), np.empty(0, np.uint32), np.frombuffer(stream, np.uint8))
    coder.state[:2] = int.from_bytes(stream[:_STATE_BYTES], "big"), _STATE_BYTES
    _code(coefficients, frame, coder)
    return coefficients if coder.state[0] == 1 and coder.state[1] == len(stream) else None


def count_decisions(coefficients: np.ndarray, frame: Frame, counts: np.ndarray) -> None:
    """Add the decisions of an image to ``counts``, int64 (CONTEXTS, 2): number of no and of yes per context."""
    flat = np.full(CONTEXTS, _ONE // 2, np.uint16), np.zeros(CONTEXTS, np.uint8)
    coder = _coder(_COUNT_ONLY, *flat, np.empty(_most_decisions(coefficients), np.uint32))
    _code(coefficients, frame, coder)
    counts += np.bincount(coder.decisions[: coder.state[3]], minlength=2 * CONTEXTS).reshape(-1, 2)


@cache
def prior() -> tuple[np.ndarray, np.ndarray]:
    """Probabilities and the numbers of decisions that they rest on when an image begins; see :class:`_Coder`."""
    with np.load(PRIOR) as file:
        return file["probabilities"], file["seen"]


def _coder(
    mode: int, probabilities: np.ndarray, seen: np.ndarray, decisions: np.ndarray, stream: np.ndarray | None = None
) -> _Coder:
    state = np.array([0, 0, mode, 0], np.int64)
    return _Coder(
        state, probabilities.copy(), seen.copy(), decisions, np.empty(0, np.uint8) if stream is None else stream
    )


def _code(coefficients: np.ndarray, frame: Frame, coder: _Coder) -> None:
    nonzero = np.zeros(len(coefficients) // 64, np.int64)
    _walk(coefficients, frame.starts, frame.blocks, frame.steps, nonzero, coder)


@njit(cache=True, nogil=True)
def _most_decisions(coefficients):
    """At most so many decisions code the coefficients."""
    count = 0
    for value in coefficients:
        size = 0
        while abs(np.int64(value)) >> size:
            size += 1
        count += 1 + 2 * size
    return count + len(coefficients) // 64 * 48  # the number of nonzero coefficients, and DC's difference


@njit(cache=True, nogil=True)
def _write(decisions, stream):
    """Write the stream of decisions to the end of ``stream``; where it begins."""
    state, place = 1, len(stream)
    for number in range(len(decisions) - 1, -1, -1):
        likely, yes = np.int64(decisions[number] >> 1), decisions[number] & 1
        first, share = (0, likely) if yes else (likely, _ONE - likely)
        while state >= share << 15:
            place -= 1
            stream[place] = state & 0xFF
            state >>= 8
        state = (state // share << 16) + state % share + first
    for _ in range(_STATE_BYTES):
        place -= 1
        stream[place] = state & 0xFF
        state >>= 8
    return place


@njit(cache=True, nogil=True)
def _decide(coder, context, yes):
    """Code one decision; ``yes``, 0 or 1, is ignored when decoding. The decision."""
    state, probabilities, seen, decisions, stream = coder
    likely = np.int64(probabilities[context])
    if state[2] == _DECODE:
        slot = state[0] & _ONE - 1
        yes = 1 if slot < likely else 0
        value = likely * (state[0] >> 16) + slot if yes else (_ONE - likely) * (state[0] >> 16) + slot - likely
        while value < _LOWEST and state[1] < len(stream):
            value = value << 8 | stream[state[1]]
            state[1] += 1
        state[0] = value
    else:
        decisions[state[3]] = (likely if state[2] == _RECORD else context) << 1 | yes
        state[3] += 1
    rate = _RATES[seen[context]]
    likely = likely + ((_ONE - likely) * rate >> 16) if yes else likely - (likely * rate >> 16)
    probabilities[context] = min(max(likely, _RAREST), _ONE - _RAREST)
    seen[context] = min(seen[context] + 1, _MOST_SEEN)
    return yes


@njit(cache=True, nogil=True)
def _code_size(coder, length_context, most, bits_context, size):
    """Code an integer of at least 1: its length in binary, then the bits below the first. The integer."""
    longer = 0
    while longer < most - 1 and _decide(coder, length_context + longer, 1 if size >> longer + 1 else 0):
        longer += 1
    value = 1
    for place in range(longer - 1, -1, -1):
        value = value << 1 | _decide(coder, bits_context + place, size >> place & 1)
    return value


@njit(cache=True, nogil=True)
def _class_of(value, bounds):
    """The number of bounds that a value is not below."""
    found = 0
    while found < len(bounds) and value >= bounds[found]:
        found += 1
    return found


_COUNT_BOUNDS = (1, 2, 3, 4, 6, 9, 13, 20, 32)
_LEFT_BOUNDS = (2, 3, 4, 6, 9, 14, 23)
_NEAR_BOUNDS = (1, 7, 14, 21, 33, 53, 105)


@njit(cache=True, nogil=True)
def _walk(coefficients, starts, blocks, steps, nonzero, coder):
    """Code the blocks of all components in order; fills ``coefficients`` when decoding, and ``nonzero`` by block."""
    for component in range(len(starts)):
        table = min(component, 1)
        rows, columns = blocks[component]
        for row in range(rows):
            for column in range(columns):
                block = starts[component] // 64 + row * columns + column
                above = block - columns if row else -1
                left = block - 1 if column else -1
                other = _other_component(component, row, column, starts, blocks, nonzero)
                count = _code_count(coefficients, table, block, above, left, other, nonzero, coder)
                _code_ac(coefficients, table, block, above, left, columns, count, coder)
                _code_dc(coefficients, table, block, above, left, steps[component], count, coder)


@njit(cache=True, nogil=True)
def _other_component(component, row, column, starts, blocks, nonzero):
    """Class of the number of nonzero coefficients at the same place of a component before: 0 to 2; 0 if it is first."""
    if component == 0:
        return 0
    before = component - 1
    rows, columns = blocks[before]
    there = row * rows // blocks[component, 0] * columns + column * columns // blocks[component, 1]
    count = nonzero[starts[before] // 64 + there]
    return _class_of(count if component == 2 else count >> 2, (1, 3))


@njit(cache=True, nogil=True)
def _code_count(coefficients, table, block, above, left, other, nonzero, coder):
    """Code the number of nonzero AC coefficients of a block, and return it."""
    count = 0
    if coder.state[2] != _DECODE:
        for k in range(64 * block + 1, 64 * block + 64):
            count += coefficients[k] != 0
    near = 5
    if above >= 0 and left >= 0:
        near = nonzero[above] + nonzero[left] + 1 >> 1
    elif above >= 0 or left >= 0:
        near = nonzero[max(above, left)]
    contexts = _COUNT + ((table * _COUNT_CLASSES + _class_of(near, _COUNT_BOUNDS)) * 3 + other) * 64
    node = 1
    for place in range(5, -1, -1):
        node = node << 1 | _decide(coder, contexts + node, count >> place & 1)
    nonzero[block] = node & 63
    return node & 63


@njit(cache=True, nogil=True)
def _code_ac(coefficients, table, block, above, left, columns, count, coder):
    """Code the AC coefficients of a block, of which ``count`` are not 0."""
    for k in range(1, 64):
        if count == 0:
            return
        up = np.int64(coefficients[64 * above + k]) if above >= 0 else 0
        back = np.int64(coefficients[64 * left + k]) if left >= 0 else 0
        near = 13 * (abs(up) + abs(back))
        if above >= 0 and left >= 0:
            near = near + 6 * abs(np.int64(coefficients[64 * (above - 1) + k])) >> 1
        near = _class_of(near, _NEAR_BOUNDS)
        value = np.int64(coefficients[64 * block + k])
        place = table * 64 + k
        if count < 64 - k:
            context = _ZERO + (place * _LEFT_CLASSES + _class_of(count, _LEFT_BOUNDS)) * _NEAR_CLASSES + near
            if not _decide(coder, context, 1 if value else 0):
                continue
        count -= 1
        lengths = _LENGTH + (place * _NEAR_CLASSES + near) * _LENGTHS
        size = _code_size(coder, lengths, _LENGTHS, _BITS + place * _LENGTHS, abs(value))
        signs = 3 * _sign_class(up) + _sign_class(back)
        negative = _decide(coder, _SIGN + place * 9 + signs, 1 if value < 0 else 0)
        coefficients[64 * block + k] = -size if negative else size


@njit(cache=True, nogil=True)
def _sign_class(value):
    return 1 if value > 0 else (2 if value < 0 else 0)


@njit(cache=True, nogil=True)
def _code_dc(coefficients, table, block, above, left, steps, count, coder):
    """Code DC of a block as the difference from its prediction; the AC coefficients are known."""
    predicted, activity = 0, _ACTIVITIES - 1
    if above >= 0 or left >= 0:
        up = _continued(coefficients, block, above, _DOWN, steps) if above >= 0 else 0
        back = _continued(coefficients, block, left, _ACROSS, steps) if left >= 0 else 0
        if above >= 0 and left >= 0:
            predicted, difference = up + back + 16 >> 5, abs(up - back) >> 3
        else:
            predicted, difference = up + back + 8 >> 4, 24
        activity = _class_of(difference, (1, 2, 4, 8, 16, 32, 64))
    value = np.int64(coefficients[64 * block]) - predicted
    context = _DC_ZERO + (table * _ACTIVITIES + activity) * 4 + _class_of(count, (1, 4, 12))
    if not _decide(coder, context, 1 if value else 0):
        coefficients[64 * block] = predicted
        return
    lengths = _DC_LENGTH + (table * _ACTIVITIES + activity) * _DC_LENGTHS
    size = _code_size(coder, lengths, _DC_LENGTHS - 1, _DC_BITS + table * _DC_LENGTHS, abs(value))
    known = (1 if above >= 0 else 0) + (1 if above >= 0 and left >= 0 else 0)
    negative = _decide(coder, _DC_SIGN + table * 3 + known, 1 if value < 0 else 0)
    coefficients[64 * block] = predicted - size if negative else predicted + size


@njit(cache=True, nogil=True)
def _continued(coefficients, block, neighbour, places, steps):
    """16 times the DC with which the mean of a block's edge is that of its neighbour's edge beside it."""
    total = 0
    for order in range(1, 8):
        k = places[order]
        there = np.int64(coefficients[64 * neighbour + k])
        total += _AT_EDGE[order] * steps[k] * ((-there if order & 1 else there) - coefficients[64 * block + k])
    return 16 * np.int64(coefficients[64 * neighbour]) + (total // steps[0] >> 8)
