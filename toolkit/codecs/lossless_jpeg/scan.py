"""The scan of a baseline JPEG file as quantised coefficients, and back to the same bytes.

Source: ITU-T T.81, annexes F.1 and F.2.
"""

from __future__ import annotations

import numpy as np
from numba import njit

from toolkit.codecs.lossless_jpeg.frame import Frame

_MOST_OF_A_COEFFICIENT = 8
"""Bytes: a code of 16 bits, a value of 16, each byte perhaps followed by a zero byte."""


def read_scan(file: bytes, frame: Frame) -> np.ndarray | None:
    """The coefficients of a file, int16 (T,), see :class:`~toolkit.codecs.lossless_jpeg.frame.Frame`; None if damaged.

    What follows the scan is not looked at.
    """
    coefficients = np.zeros(frame.coefficients, np.int16)
    scan = np.frombuffer(file, np.uint8, offset=len(frame.header))
    intact = _read(scan, frame.order, frame.lookup, coefficients)
    return coefficients if intact else None


def write_scan(coefficients: np.ndarray, frame: Frame) -> bytes | None:
    """The scan of coefficients, int16 (T,); None if the frame's tables have no code for a value."""
    scan = np.empty(_MOST_OF_A_COEFFICIENT * (len(coefficients) + 1), np.uint8)
    size = _write(coefficients, frame.order, frame.codes, frame.lengths, scan)
    return None if size < 0 else scan[:size].tobytes()


@njit(cache=True, nogil=True)
def _read(scan, order, lookup, coefficients):
    position, bits, held = 0, np.uint64(0), 0
    before = np.zeros(lookup.shape[1], np.int64)
    for block in range(len(order)):
        component, start = order[block]
        k = 0
        while k < 64:
            while held <= 32:
                byte = 0xFF  # as if the scan went on with ones, as its last byte does
                if position < len(scan) and scan[position] != 0xFF:
                    byte = scan[position]
                    position += 1
                elif position + 1 < len(scan) and scan[position + 1] == 0:
                    position += 2
                bits = bits << np.uint64(8) | np.uint64(byte)
                held += 8
            found = lookup[min(k, 1), component, np.int64(bits >> np.uint64(held - 16)) & 0xFFFF]
            if found == 0:
                return False
            held -= found >> 8
            run, size = (found & 0xFF) >> 4, np.int64(found & 15)
            if k == 0 and run:
                return False
            if k and size == 0:
                if run not in (0, 15):
                    return False
                k += 16 if run else 64
                continue
            k += run
            if k > 63:
                return False
            value = np.int64(bits >> np.uint64(held - size)) & (1 << size) - 1
            held -= size
            if size and value >> size - 1 == 0:
                value -= (1 << size) - 1
            if k == 0:
                before[component] += value
                value = before[component]
            coefficients[start + k] = value
            k += 1
    return True


@njit(cache=True, nogil=True)
def _write(coefficients, order, codes, lengths, scan):
    position, bits, held = 0, np.uint64(0), 0
    before = np.zeros(lengths.shape[1], np.int64)
    for block in range(len(order)):
        component, start = order[block]
        last = 63
        while last and coefficients[start + last] == 0:
            last -= 1
        run = 0
        for k in range(65):
            if k > last and (k != 64 or last == 63):  # after the last value there is one code, if any
                continue
            value = np.int64(coefficients[start + k]) if k < 64 else 0
            if k == 0:
                value, before[component] = value - before[component], value
            elif k < 64 and value == 0:
                run += 1
                continue
            size = 0
            while abs(value) >> size:
                size += 1
            while run > 15 or size >= 0:
                symbol = 0xF0 if run > 15 else run << 4 | size
                length = lengths[min(k, 1), component, symbol] if symbol < 256 else 0
                if length == 0:
                    return -1
                bits = bits << np.uint64(length) | np.uint64(codes[min(k, 1), component, symbol])
                held += length
                if run > 15:
                    run -= 16
                else:
                    bits = bits << np.uint64(size) | np.uint64(value if value >= 0 else value + (1 << size) - 1)
                    held += size
                    run, size = 0, -1
                while held >= 8:
                    held -= 8
                    position = _put(scan, position, np.int64(bits >> np.uint64(held)) & 0xFF)
    if held:
        position = _put(scan, position, (np.int64(bits << np.uint64(8 - held)) | (1 << 8 - held) - 1) & 0xFF)
    return position


@njit(cache=True, nogil=True)
def _put(scan, position, byte):
    """Write a byte, and a zero byte after 0xFF, which is then no marker; the next position."""
    scan[position] = byte
    if byte != 0xFF:
        return position + 1
    scan[position + 1] = 0
    return position + 2
