"""Unsigned integers as bytes: seven bits per byte, lowest first, the highest bit set in all but the last (LEB128)."""

from __future__ import annotations


def write_varint(value: int) -> bytes:
    """An integer of at least 0 as bytes."""
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])


def read_varint(payload: bytes, start: int, most: int) -> tuple[int, int]:
    """The integer that begins at ``start``, and its end.

    Raises:
        IndexError: it is cut short, or has more than ``most`` bytes.
    """
    value = 0
    for place, byte in enumerate(payload[start : start + most]):
        value |= (byte & 127) << 7 * place
        if byte < 128:
            return value, start + place + 1
    raise IndexError
