"""Metadata of image files, of which only the orientation is used."""

from __future__ import annotations

import struct
from collections.abc import Iterator

from PIL import ExifTags, Image

_TURNS: dict[object, Image.Transpose] = {
    2: Image.Transpose.FLIP_LEFT_RIGHT,
    3: Image.Transpose.ROTATE_180,
    4: Image.Transpose.FLIP_TOP_BOTTOM,
    5: Image.Transpose.TRANSPOSE,
    6: Image.Transpose.ROTATE_270,
    7: Image.Transpose.TRANSVERSE,
    8: Image.Transpose.ROTATE_90,
}
PNG_SIGNATURE = b"\x89PNG\r\n\x1a\n"
_PNG_KEPT = (b"IHDR", b"PLTE", b"tRNS", b"IDAT", b"IEND")
_JPEG_DROPPED = (*range(0xE1, 0xEE), 0xEF, 0xFE)
"""APP1 to APP13, APP15 and comments. APP0 (JFIF) and APP14 (Adobe) define the colour space."""
_WEBP_DROPPED = (b"EXIF", b"XMP ", b"ICCP")


def upright(picture: Image.Image, orientation: object) -> Image.Image:
    """A picture rotated or flipped by its EXIF orientation, 1..8; other values change nothing."""
    turn = _TURNS.get(orientation)
    return picture if turn is None else picture.transpose(turn)


def orientation_of(image: Image.Image, exif: bytes = b"") -> object:
    """The orientation from an opened file, or from the EXIF block removed from it; None if there is none."""
    try:
        block = Image.Exif() if exif else image.getexif()
        if exif:
            block.load(exif)
        return block.get(ExifTags.Base.Orientation)
    except Exception:  # Pillow's parsers raise all kinds of errors; a block that is not EXIF has no orientation
        return None


def bare(data: bytes) -> tuple[bytes, bytes]:
    """A PNG, JPEG or WebP file without its metadata, and its EXIF block; other files unchanged.

    If the structure of a file is broken, everything from there on is kept for the decoder.
    """
    if data.startswith(PNG_SIGNATURE):
        kept, exif = _split(_png_parts(data))
        return PNG_SIGNATURE + kept, exif
    if data.startswith(b"\xff\xd8"):
        kept, exif = _split(_jpeg_parts(data))
        return b"\xff\xd8" + kept, exif.removeprefix(b"Exif\0\0")
    if data[:4] == b"RIFF" and data[8:12] == b"WEBP":
        kept, exif = _split(_webp_parts(data))
        return b"RIFF" + struct.pack("<I", 4 + len(kept)) + b"WEBP" + kept, exif.removeprefix(b"Exif\0\0")
    return data, b""


FilePart = tuple[bytes, bytes]
"""Bytes to keep and the EXIF block of one part of a file; either may be empty."""


def _split(parts: Iterator[FilePart]) -> tuple[bytes, bytes]:
    found = list(parts)
    return b"".join(kept for kept, _ in found), next((exif for _, exif in found if exif), b"")


def _png_parts(data: bytes) -> Iterator[FilePart]:
    at = len(PNG_SIGNATURE)
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        end = at + 12 + length
        if end > len(data):
            break
        if kind in _PNG_KEPT:
            yield data[at:end], b""
        elif kind == b"eXIf":
            yield b"", data[at + 8 : end - 4]
        at = end
    yield data[at:], b""


def _jpeg_parts(data: bytes) -> Iterator[FilePart]:
    at = 2
    while at + 4 <= len(data) and data[at] == 0xFF and data[at + 1] != 0xDA:  # up to the scan
        marker, (length,) = data[at + 1], struct.unpack_from(">H", data, at + 2)
        if marker == 0xFF:  # padding
            at += 1
            continue
        segment = data[at : at + 2 + length]
        if marker in _JPEG_DROPPED:
            yield b"", segment[4:] if marker == 0xE1 and segment[4:10] == b"Exif\0\0" else b""
        else:
            yield segment, b""
        at += 2 + length
    yield data[at:], b""


def _webp_parts(data: bytes) -> Iterator[FilePart]:
    at = 12
    while at + 8 <= len(data):
        kind, (length,) = data[at : at + 4], struct.unpack_from("<I", data, at + 4)
        end = at + 8 + length + length % 2
        if kind in _WEBP_DROPPED:
            yield b"", data[at + 8 : at + 8 + length] if kind == b"EXIF" else b""
        else:
            yield data[at:end], b""
        at = end
    yield data[at:], b""
