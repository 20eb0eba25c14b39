"""Image formats that Pillow does not read at full depth or at all: JPEG XL, 16-bit PNG and TIFF beyond 8 bits.

For each, size and depth are read from the header before anything is decoded.
"""

from __future__ import annotations

import io
import struct
from typing import NamedTuple

import imagecodecs
import numpy as np
from PIL import Image, TiffImagePlugin

from toolkit.data.metadata import PNG_SIGNATURE
from toolkit.data.samples import Range, Tell, picture

_JXL_CONTAINER = b"\0\0\0\x0cJXL \r\n\x87\n"
_JXL_CODESTREAM = b"\xff\x0a"
_HEIC_BRANDS = {b"heic", b"heix", b"heim", b"heis", b"hevc", b"hevx", b"heif", b"mif1", b"msf1"}
_ICON_SIGNATURE = b"\0\0\1\0"
_TIFF_SIGNATURES = (b"II*\0", b"MM\0*", b"II+\0", b"MM\0+")
_WIDTH, _HEIGHT, _BITS, _PHOTOMETRIC, _SAMPLES, _PLANES, _EXTRA, _ORIENTATION = 256, 257, 258, 262, 277, 284, 338, 274
_RANGES = ((340, 341), (280, 281))
"""Tags of the minimum and the maximum sample; those of any type come first."""
_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB = 0, 1, 2


class Header(NamedTuple):
    """Width, height, and bytes per decoded pixel, from a file's header."""

    width: int
    height: int
    pixel_bytes: int


def is_jpeg_xl(data: bytes) -> bool:
    """Whether a file starts like JPEG XL."""
    return data.startswith((_JXL_CODESTREAM, _JXL_CONTAINER))


def is_heic(data: bytes) -> bool:
    """Whether a file is HEIF with HEVC pictures, as phones write them; AVIF is not."""
    if data[4:8] != b"ftyp":
        return False
    (length,) = struct.unpack_from(">I", data)
    brands = {data[8:12], *(data[at : at + 4] for at in range(16, min(length, len(data), 256), 4))}
    return bool(brands & _HEIC_BRANDS) and not brands & {b"avif", b"avis"}


# -- JPEG XL ---------------------------------------------------------------------------------------------------


class _Bits:
    """Reads the fields of a JPEG XL header, least significant bit of each byte first (ISO/IEC 18181-1 annex B)."""

    def __init__(self, data: bytes) -> None:
        self._value = int.from_bytes(data, "little")
        self._left = 8 * len(data)

    def take(self, count: int) -> int:
        if count > self._left:
            raise ValueError("truncated header")
        value = self._value & ((1 << count) - 1)
        self._value >>= count
        self._left -= count
        return value

    def choose(self, *widths: int) -> int:
        return self.take(widths[self.take(2)])


def jpeg_xl_header(data: bytes) -> Header:
    """Size from a JPEG XL header (SizeHeader, annex D.2), and bytes per pixel for four channels.

    Raises:
        ValueError: the header is truncated.
    """
    bits = _Bits(_codestream(data)[2:34])
    small = bits.take(1)

    def side() -> int:
        return 8 * (bits.take(5) + 1) if small else bits.choose(9, 13, 18, 30) + 1

    height = side()
    ratio = bits.take(3)
    width = side() if ratio == 0 else height * (1, 12, 4, 3, 16, 5, 2)[ratio - 1] // (1, 10, 3, 2, 9, 4, 1)[ratio - 1]
    return Header(width, height, 4 * -(-_depth(bits) // 8))


def _depth(bits: _Bits) -> int:
    """Bits per sample from the start of ImageMetadata (annex D.3); 32 if rarer fields come first."""
    if bits.take(1):  # all defaults
        return 8
    if bits.take(1):
        bits.take(3)  # orientation
        if bits.take(3):  # intrinsic size, preview, animation
            return 32
    if bits.take(1):  # floating point
        return 32
    kind = bits.take(2)
    return (8, 10, 12)[kind] if kind < 3 else bits.take(6) + 1


def _codestream(data: bytes) -> bytes:
    """The start of the codestream, whether bare or in a container."""
    if data.startswith(_JXL_CODESTREAM):
        return data[:64]
    at = 0
    while at + 8 <= len(data):
        length, kind = struct.unpack_from(">I4s", data, at)
        start = at + 8
        if length == 1:
            (length,) = struct.unpack_from(">Q", data, start)
            start += 8
        if kind in (b"jxlc", b"jxlp"):
            start += 4 * (kind == b"jxlp")  # index of the part
            return data[start : start + 64]
        if length < 8:  # the rest of the file
            break
        at += length
    raise ValueError("no codestream")


def read_jpeg_xl(data: bytes, tell: Tell) -> Image.Image:
    """A JPEG XL file, upright, as an 8-bit picture; the first frame of an animation."""
    frame = imagecodecs.jpegxl_decode(data, index=0, numthreads=1)
    channels = frame.shape[2] if frame.ndim == 3 else 1
    declared = Range(0.0, 1.0) if frame.dtype.kind == "f" else None
    return picture(frame, alpha=channels in (2, 4), declared=declared, tell=tell)


# -- PNG -------------------------------------------------------------------------------------------------------


def is_wide_png(data: bytes) -> bool:
    """Whether a file is a PNG with 16-bit samples."""
    return data.startswith(PNG_SIGNATURE) and data[24:25] == b"\x10"


def read_wide_png(data: bytes, tell: Tell) -> Image.Image:
    """A PNG with 16-bit samples as an 8-bit picture; a transparent colour becomes alpha."""
    samples = imagecodecs.png_decode(data)
    return picture(samples, alpha=samples.ndim == 3 and samples.shape[2] in (2, 4), tell=tell)


def icon_header(data: bytes) -> Header:
    """The largest PNG in an icon file, which Pillow decodes on opening; zero pixels for any other file."""
    found = [Header(0, 0, 4)]
    at = data.find(PNG_SIGNATURE) if data.startswith(_ICON_SIGNATURE) else -1
    while 0 <= at <= len(data) - 24:
        width, height = struct.unpack_from(">II", data, at + 16)
        found.append(Header(width, height, 4))
        at = data.find(PNG_SIGNATURE, at + 1)
    return max(found, key=lambda header: header.width * header.height)


# -- TIFF ------------------------------------------------------------------------------------------------------


class WideTiff:
    """The first page of a TIFF with samples wider than 8 bits, in grey or RGB.

    Attributes:
        header: of that page.
        orientation: EXIF value, or None.
    """

    def __init__(self, data: bytes, tags: TiffImagePlugin.ImageFileDirectory_v2) -> None:
        self._data, self._tags = data, tags
        self._bits = max(tags[_BITS])
        samples = tags.get(_SAMPLES, 1)
        self.orientation = tags.get(_ORIENTATION)
        self.header = Header(tags[_WIDTH], tags[_HEIGHT], samples * -(-self._bits // 8))

    def read(self, tell: Tell) -> Image.Image:
        """The page as an 8-bit picture, without applying the orientation."""
        samples = imagecodecs.tiff_decode(self._data, index=0)
        if samples.ndim == 3 and self._tags.get(_PLANES, 1) == 2:
            samples = np.moveaxis(samples, 0, 2)
        extra = self._tags.get(_EXTRA, ())
        extra = extra if isinstance(extra, tuple) else (extra,)
        alpha = len(extra) == 1 and extra[0] in (1, 2)
        if extra and not alpha and self._tags[_PHOTOMETRIC] == _RGB:
            samples = samples[..., : -len(extra)]
        shown = picture(
            samples,
            alpha=alpha,
            premultiplied=extra == (1,),
            declared=self._range(),
            bits=self._bits,
            tell=tell,
        )
        if self._tags[_PHOTOMETRIC] == _WHITE_IS_ZERO and not alpha:
            return shown.point(lambda level: 255 - level)
        return shown

    def _range(self) -> Range | None:
        for low, high in _RANGES:
            if low in self._tags and high in self._tags:
                found = Range(float(np.min(self._tags[low])), float(np.max(self._tags[high])))
                if np.isfinite(found).all() and found.high > found.low:
                    return found
        return None


def wide_tiff(data: bytes) -> WideTiff | None:
    """A TIFF with samples wider than 8 bits in a supported layout; None for any other file."""
    if not data.startswith(_TIFF_SIGNATURES):
        return None
    try:
        tags = TiffImagePlugin.ImageFileDirectory_v2(data[: 16 if data[2:4] in (b"+\0", b"\0+") else 8])
        file = io.BytesIO(data)
        file.seek(tags.next)
        tags.load(file)
        found = WideTiff(data, tags)
        taken = tags[_PHOTOMETRIC] in (_WHITE_IS_ZERO, _BLACK_IS_ZERO, _RGB)
        return found if taken and max(tags[_BITS]) > 8 and min(tags[_BITS]) % 8 == 0 else None
    except Exception:  # broken tags raise all kinds of errors: leave the diagnosis to Pillow
        return None
