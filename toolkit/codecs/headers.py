"""The claimed size of an image file, read before any decoder sees the file.

A decoder allocates memory for the claimed size before it reads the data: a file of 1,167 bytes can request a gigabyte.
A reader here checks every place from which the decoder takes a size, and accepts only files like those of the encoders
in this package: one still image without extras. Unusual contents may be harmless, but may also be a second image, a
second size, or many passes over the pixels, so they are refused.

Each reader takes the bytes of a file and returns (height, width, components). It raises a :class:`WorkError` or a
``struct.error`` for bytes that it cannot parse.
"""

from __future__ import annotations

import functools
import struct

from toolkit.foundation.errors import WorkError

Claim = tuple[int, int, int]
"""Height, width and components."""

_HEAD = 2**12
"""Maximum number of bytes before the image data; ours have at most 700."""
_HEADS = 256
"""Size of the caches. Heads of one codec agree, or differ in a length only, and small images decode in 30 us."""
_SCAN = b"\xff\xda"
_SCAN_HEADS = (b"\0\x0c\3", b"\0\x08\1")
_PNG_HEAD, _PNG_CHUNK = struct.Struct(">16sIIBB"), struct.Struct(">I4s")
_PNG_COMPONENTS = {0: 1, 2: 3, 3: 1, 4: 2, 6: 4}
_J2K_SIZE, _J2K_PART = struct.Struct(">4s4xII24xH"), struct.Struct(">HHHIBBH")
_BOX = struct.Struct(">I4s")


class _JpegSize:
    """Size of a sequential JPEG file with one scan of three components, or of one (ISO 10918-1, B.2).

    Even an empty scan visits every block, so many short scans take long. All files of a codec have the same head, so it
    is compared with the previous one: 32-pixel images decode in 15 us.
    """

    def __init__(self) -> None:
        self._last: tuple[bytes, Claim] | None = None

    def __call__(self, file: bytes) -> Claim:
        if self._last is None or not file.startswith(self._last[0]):
            starts = (file.find(_SCAN + head, 0, _HEAD) for head in _SCAN_HEADS)
            scan = next((start for start in starts if start >= 0), -1)
            if scan < 0:
                raise WorkError("not a JPEG file with a scan of one or three components")
            last = self._last = file[: scan + 5], _jpeg_frame(file[:scan])
            if last[1][2] != file[scan + 4]:
                raise WorkError("a JPEG file whose scan has not all its components")
        else:
            last = self._last
        if file.find(_SCAN, len(last[0])) >= 0:
            raise WorkError("a JPEG file with several scans")
        return last[1]


def _jpeg_frame(head: bytes) -> Claim:
    """Size from the segments before the scan."""
    claim: Claim | None = None
    at = 2 if head[:2] == b"\xff\xd8" else len(head)
    while at < len(head):
        marker, length = struct.unpack_from(">HH", head, at)
        if marker in (0xFFC0, 0xFFC1) and claim is None:
            depth, height, width, components = struct.unpack_from(">BHHB", head, at + 4)
            if depth != 8:
                raise WorkError(f"not an 8-bit RGB image: {depth} bits per sample")
            claim = height, width, components
        elif marker not in (0xFFC4, 0xFFDB, 0xFFDD, 0xFFFE) and not 0xFFE0 <= marker <= 0xFFEF:
            raise WorkError(f"not a plain JPEG file: it has the marker {marker:04x}")
        at += 2 + length
    if claim is None or at != len(head):
        raise WorkError("not a JPEG file: its segments do not end at its scan")
    return claim


jpeg_size = _JpegSize()


def png_size(file: bytes) -> Claim:
    """Size of a PNG file of header, image data and end only (ISO 15948, 5.6).

    Other chunks may be compressed to a thousandth of their size in memory.
    """
    start, width, height, depth, colour = _PNG_HEAD.unpack_from(file)
    if start != b"\x89PNG\r\n\x1a\n\0\0\0\rIHDR":
        raise WorkError("not a PNG file")
    if depth != 8:
        raise WorkError(f"not an 8-bit RGB image: {depth} bits per sample")
    at, kind = 33, b"IDAT"
    while kind == b"IDAT":
        length, kind = _PNG_CHUNK.unpack_from(file, at)
        at += 12 + length
    if kind != b"IEND" or at != len(file):
        raise WorkError("not a plain PNG file: it contains more than image data")
    return height, width, _PNG_COMPONENTS.get(colour, 0)


def webp_size(file: bytes) -> Claim:
    """Size of a WebP file with one frame (RFC 9649, 2.5 to 2.7); an extended file states it twice."""
    if file[:4] != b"RIFF" or file[8:12] != b"WEBP":
        raise WorkError("not a WebP file")
    if file[12:16] != b"VP8X":
        return _webp_frame(file, 12)
    flags = file[20]
    if flags & 2:
        raise WorkError("an animated WebP file")
    width, height = (1 + int.from_bytes(file[at : at + 3], "little") for at in (24, 27))
    at = 30
    while file[at : at + 4] not in (b"VP8 ", b"VP8L"):
        (length,) = struct.unpack_from("<I", file, at + 4)
        at += 8 + length + length % 2
    found = _webp_frame(file, at)
    if found[:2] != (height, width):
        raise WorkError(f"a WebP file of {width} x {height} pixels with a frame of {found[1]} x {found[0]}")
    return height, width, 4 if flags & 16 else found[2]


def _webp_frame(file: bytes, at: int) -> Claim:
    if file[at : at + 4] == b"VP8 " and file[at + 11 : at + 14] == b"\x9d\x01\x2a":
        width, height = struct.unpack_from("<HH", file, at + 14)
        return height & 0x3FFF, width & 0x3FFF, 3
    if file[at : at + 4] == b"VP8L" and file[at + 8 : at + 9] == b"\x2f":
        (bits,) = struct.unpack_from("<I", file, at + 9)
        return 1 + (bits >> 14 & 0x3FFF), 1 + (bits & 0x3FFF), 4 if bits >> 28 & 1 else 3
    raise WorkError("not a WebP file: it has no frame")


def jpeg2000_size(file: bytes) -> Claim:
    """Size of a codestream of one tile in one part, with blocks of 64 x 64 (ISO 15444-1, A.4 to A.6).

    OpenJPEG takes 9 KB per tile and 200 bytes per block, and there can be a block for every 16 pixels.
    """
    start, width, height, components = _J2K_SIZE.unpack_from(file)
    if start != b"\xff\x4f\xff\x51":
        raise WorkError("not a JPEG 2000 codestream")
    if components not in (1, 3):
        return height, width, components
    tile_part = file.find(b"\xff\x90\0\x0a", 0, _HEAD)
    if tile_part < 0:
        raise WorkError("not a JPEG 2000 codestream with a tile")
    claim = _j2k_main(file[:tile_part], components)
    _, _, tile, length, part, _, data = _J2K_PART.unpack_from(file, tile_part)
    if (tile, part, data, tile_part + length + 2) != (0, 0, 0xFF93, len(file)) or not file.endswith(b"\xff\xd9"):
        raise WorkError("not a plain JPEG 2000 codestream: its tile is not one part up to the end")
    return claim


@functools.lru_cache(_HEADS)
def _j2k_main(head: bytes, components: int) -> Claim:
    """Size from the main header, which may have only the marker segments that OpenJPEG writes by default."""
    width, height, left, top, across, down, over, under = struct.unpack_from(">8I", head, 8)
    if head[42 : 42 + 3 * components] != bytes([7, 1, 1]) * components:
        raise WorkError("not an 8-bit RGB image: its components do not have 8 bits per pixel")
    if (left, top, over, under) != (0, 0, 0, 0) or across < width or down < height:
        raise WorkError("a JPEG 2000 codestream that claims to have more than one tile")
    at, wanted = 42 + 3 * components, [0xFF52, 0xFF5C]  # coding style and quantisation, then perhaps comments
    while at < len(head):
        marker, length = struct.unpack_from(">HH", head, at)
        if marker != (wanted.pop(0) if wanted else 0xFF64):
            raise WorkError(f"not a plain JPEG 2000 codestream: it has the marker {marker:04x}")
        if marker == 0xFF52:
            style, _, layers, _, levels, *block = struct.unpack_from(">BBHBBBB", head, at + 4)
            precincts = head[at + 14 : at + 2 + length]
            if style > 1 or layers != 1 or levels > 32 or block != [4, 4] or precincts.strip(b"\x88"):
                raise WorkError("not a plain JPEG 2000 codestream: unusual blocks, precincts or layers")
        at += 2 + length
    if wanted or at != len(head):
        raise WorkError("not a plain JPEG 2000 codestream: its segments do not end at its tile")
    return height, width, components


def jxl_size(file: bytes) -> Claim:
    """Size of a bare JPEG XL codestream of a still image (ISO 18181-1, C.2 and C.3), without a container."""
    if file[:2] != b"\xff\x0a" or len(file) < 12:
        raise WorkError("not a JPEG XL codestream")
    bits = _Bits(file[2:50])
    small = bits.read(1)
    height = 8 * (1 + bits.read(5)) if small else 1 + bits.choose((9, 13, 18, 30))
    ratio = bits.read(3)
    if ratio:
        over, under = ((1, 1), (12, 10), (4, 3), (3, 2), (16, 9), (5, 4), (2, 1))[ratio - 1]
        width = height * over // under
    else:
        width = 8 * (1 + bits.read(5)) if small else 1 + bits.choose((9, 13, 18, 30))
    if bits.read(1):  # all defaults: 8-bit sRGB without extra channels
        return height, width, 3
    if bits.read(1):
        raise WorkError("not a plain JPEG XL codestream: it is rotated, animated or has a preview")
    if bits.read(1) or bits.read(2) != 0:
        raise WorkError("not an 8-bit RGB image: another number of bits per sample")
    bits.read(1)
    extra = bits.read(2)
    if extra:
        return height, width, 3 + (1 if extra == 1 else 2 + bits.read(4) if extra == 2 else 1 + bits.read(12))
    bits.read(1)
    if not bits.read(1) and (bits.read(1) or bits.read(2) != 0):
        raise WorkError("not a plain JPEG XL codestream: colours other than RGB, or an embedded profile")
    return height, width, 3


class _Bits:
    """Reads numbers of several bits, lowest bit first or, with ``high_first``, highest first."""

    def __init__(self, data: bytes, high_first: bool = False) -> None:
        self._value = int.from_bytes(data, "big" if high_first else "little")
        self._left = 8 * len(data)
        self._high_first = high_first

    def read(self, count: int) -> int:
        self._left -= count
        if self._left < 0:
            raise WorkError("its header is truncated")
        if self._high_first:
            return self._value >> self._left & (1 << count) - 1
        found = self._value & (1 << count) - 1
        self._value >>= count
        return found

    def choose(self, widths: tuple[int, int, int, int]) -> int:
        """A number whose bit width is selected by the two bits before it."""
        return self.read(widths[self.read(2)])


def avif_size(file: bytes) -> Claim:
    """Size of an AVIF file with one AV1 still image (AVIF 1.1; ISO 23008-12), which states it twice.

    libavif scales the image to the size of its item if the AV1 stream has another size.
    """
    first, _ = _BOX.unpack_from(file)
    second, _ = _BOX.unpack_from(file, first)
    height, width, start, end = _avif_item(file[: min(first + second + 8, _HEAD)])
    if end != len(file):
        raise WorkError("an AVIF file whose image does not reach to its end")
    found = _av1_size(file, start, end)
    if found[:2] != (height, width):
        raise WorkError(f"an AVIF file of {width} x {height} pixels with a frame of {found[1]} x {found[0]}")
    return found


def _boxes(head: bytes, at: int, end: int) -> dict[bytes, tuple[int, int]]:
    """Start and end of the content of each box up to ``end``, by kind."""
    found: dict[bytes, tuple[int, int]] = {}
    while at < end:
        length, kind = _BOX.unpack_from(head, at)
        if length < 8 or at + length > end or kind in found:
            raise WorkError("an AVIF file with boxes that do not fit, or duplicate boxes")
        found[kind] = at + 8, at + length
        at += length
    return found


@functools.lru_cache(_HEADS)
def _avif_item(head: bytes) -> tuple[int, int, int, int]:
    """Height, width, start and end of the only item, from the bytes up to its data."""
    data = len(head)
    top = _boxes(head, 0, data - 8)
    data_length, kind = _BOX.unpack_from(head, data - 8)
    if [*top, kind] != [b"ftyp", b"meta", b"mdat"]:
        raise WorkError("not an AVIF file of one still image")
    boxes = _boxes(head, top[b"meta"][0] + 4, top[b"meta"][1])
    if sorted(boxes) != [b"hdlr", b"iinf", b"iloc", b"iprp", b"pitm"]:
        raise WorkError("not an AVIF file of one plain still image")
    items, kind = struct.unpack_from(">H16x4s", head, boxes[b"iinf"][0] + 4)
    if items != 1 or kind != b"av01":
        raise WorkError("an AVIF file with more than one AV1 image")
    version, lengths, items, _, _, extents, start, length = struct.unpack_from(">IHHHHHII", head, boxes[b"iloc"][0])
    if (version, lengths, items, extents) != (0, 0x4400, 1, 1) or (start, length) != (data, data_length - 8):
        raise WorkError("an AVIF file whose data is not exactly one image in one extent")
    properties = _boxes(head, *boxes[b"iprp"])
    found = _boxes(head, *properties[b"ipco"]) if b"ipco" in properties else {}
    if sorted(found) != [b"av1C", b"colr", b"ispe", b"pixi"]:
        raise WorkError("not an AVIF file of one plain still image: it has other properties")
    width, height = struct.unpack_from(">II", head, found[b"ispe"][0] + 4)
    return height, width, start, start + length


def _av1_size(file: bytes, at: int, end: int) -> Claim:
    """Size from three AV1 open bitstream units: empty delimiter, sequence header and frame (AV1, 5.3 to 5.5)."""
    frame = at + 4 + file[at + 3]
    claim = _av1_sequence(file[at:frame])
    place, length = frame + 1, 0
    while file[place] > 127 and place < frame + 4:
        length |= (file[place] & 127) << 7 * (place - frame - 1)
        place += 1
    length |= file[place] << 7 * (place - frame - 1)
    if file[frame] != 0x32 or place + 1 + length != end:
        raise WorkError("not a plain AV1 still image: not one sequence with one frame")
    return claim


@functools.lru_cache(_HEADS)
def _av1_sequence(units: bytes) -> Claim:
    """Size from a delimiter and the sequence header of a reduced still picture, which fixes the frame size."""
    if units[:3] != b"\x12\0\x0a" or units[3] > 127:
        raise WorkError("not an AV1 still image")
    bits = _Bits(units[4:], high_first=True)
    profile = bits.read(3)
    if bits.read(2) != 3:
        raise WorkError("not an AV1 still image")
    bits.read(5)
    across, down = 1 + bits.read(4), 1 + bits.read(4)
    width, height = 1 + bits.read(across), 1 + bits.read(down)
    bits.read(6)  # tools
    deep = bits.read(1)
    if deep:
        raise WorkError("not an 8-bit RGB image: more bits per sample")
    grey = profile != 1 and bits.read(1)
    return height, width, 1 if grey else 3
