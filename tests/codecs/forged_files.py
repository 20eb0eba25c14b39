"""Image files that claim what they are not, made from real ones of 32 pixels."""

from __future__ import annotations

import io
import struct
import zlib

import imagecodecs
import numpy as np
from codec_samples import natural
from PIL import Image

IMAGE = natural(1, 32)[0]
JPEG = bytes(imagecodecs.jpeg8_encode(IMAGE, level=50))
PNG = bytes(imagecodecs.png_encode(IMAGE))
WEBP = bytes(imagecodecs.webp_encode(IMAGE, level=50, lossless=False))
FLAT_WEBP = bytes(imagecodecs.webp_encode(np.full((32, 32, 3), 100, np.uint8), lossless=True))
JXL = bytes(imagecodecs.jpegxl_encode(IMAGE, level=75, effort=3))
J2K = bytes(imagecodecs.jpeg2k_encode(IMAGE, level=31, codecformat="j2k", reversible=False))


def _avif() -> bytes:
    file = io.BytesIO()
    Image.fromarray(IMAGE).save(file, "AVIF", quality=40, speed=10, subsampling="4:4:4")
    return file.getvalue()


AVIF = _avif()


class BitWriter:
    """Writes numbers of some bits, the lowest first or, with ``high_first``, the highest."""

    def __init__(self, high_first: bool = False) -> None:
        self._bits: list[int] = []
        self._high_first = high_first

    def put(self, value: int, count: int) -> BitWriter:
        bits = [value >> place & 1 for place in range(count)]
        self._bits += reversed(bits) if self._high_first else bits
        return self

    def to_bytes(self) -> bytes:
        bits = np.array(self._bits, np.uint8)
        return np.packbits(bits, bitorder="big" if self._high_first else "little").tobytes()


def segment(marker: int, content: bytes) -> bytes:
    """A marker segment of JPEG and JPEG 2000."""
    return struct.pack(">HH", marker, 2 + len(content)) + content


def box(kind: bytes, content: bytes) -> bytes:
    """A box of AVIF, JPEG XL and JP2."""
    return struct.pack(">I4s", 8 + len(content), kind) + content


def frame(height: int, width: int, components: int = 3) -> bytes:
    """A baseline JPEG's frame header."""
    parts = b"".join(bytes([number + 1, 0x11, min(number, 1)]) for number in range(components))
    return segment(0xFFC0, struct.pack(">BHHB", 8, height, width, components) + parts)


def jpeg(height: int, width: int, before: bytes = b"", after: bytes = b"") -> bytes:
    """A JPEG file that claims a size; segments before and after its frame header."""
    at = JPEG.index(b"\xff\xc0")
    end = at + 2 + int.from_bytes(JPEG[at + 2 : at + 4], "big")
    return JPEG[:at] + before + frame(height, width) + after + JPEG[end:]


def jpeg_of_scans(side: int, scans: int) -> bytes:
    """A JPEG file whose scans are empty but for their headers, a component each."""
    head = jpeg(side, side)
    head = head[: head.index(b"\xff\xda")]
    return head + segment(0xFFDA, b"\1\1\0\0\x3f\0") * scans + b"\xff\xd9"


def progressive_jpeg(side: int, scans: int) -> bytes:
    """A progressive JPEG file whose last scan comes again and again."""
    file = io.BytesIO()
    Image.new("RGB", (side, side), (90, 120, 60)).save(file, "JPEG", progressive=True)
    content = file.getvalue()
    last = content.rindex(b"\xff\xda")
    return content[:last] + content[last:-2] * scans + b"\xff\xd9"


def png_chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(">I", zlib.crc32(kind + content))


def png(
    height: int, width: int, data: bytes, depth: int = 8, colour: int = 2, interlaced: int = 0, more: bytes = b""
) -> bytes:
    """A PNG file of compressed data."""
    header = struct.pack(">IIBBBBB", width, height, depth, colour, 0, 0, interlaced)
    chunks = png_chunk(b"IHDR", header) + more + png_chunk(b"IDAT", data) + png_chunk(b"IEND", b"")
    return PNG[:8] + chunks


def zeros(count: int) -> bytes:
    """Zlib data of about ``count`` zeros, at 1000 to 1; its checksum is wrong, which is found out at the end."""
    writer = zlib.compressobj(9)
    head = writer.compress(b"") + writer.flush(zlib.Z_FULL_FLUSH)
    block = writer.compress(bytes(2**20)) + writer.flush(zlib.Z_FULL_FLUSH)
    return head + block * -(-count // 2**20) + writer.flush()


def webp(height: int, width: int) -> bytes:
    """A lossy WebP file that claims a size."""
    at = WEBP.index(b"\x9d\x01\x2a") + 3
    return WEBP[:at] + struct.pack("<HH", width, height) + WEBP[at + 4 :]


def flat_webp(height: int, width: int) -> bytes:
    """A valid lossless WebP file of a single colour: 38 bytes whatever its size."""
    at = FLAT_WEBP.index(b"VP8L") + 9
    return FLAT_WEBP[:at] + struct.pack("<I", width - 1 | height - 1 << 14) + FLAT_WEBP[at + 4 :]


def extended_webp(height: int, width: int, frame: bytes, flags: int = 0) -> bytes:
    """An extended WebP file: its canvas, and the only chunk of another file."""
    canvas = struct.pack("<I", flags) + (width - 1).to_bytes(3, "little") + (height - 1).to_bytes(3, "little")
    chunks = b"VP8X" + struct.pack("<I", len(canvas)) + canvas + frame[12:]
    return b"RIFF" + struct.pack("<I", 4 + len(chunks)) + b"WEBP" + chunks


def avif(
    ispe: tuple[int, int] = (32, 32),
    sequence: tuple[int, int] = (32, 32),
    extents: int = 1,
    kind: bytes = b"av01",
    more: bytes = b"",
) -> bytes:
    """An AVIF file whose item claims one size (height, width), and whose AV1 stream another.

    Args:
        ispe, sequence: the two sizes.
        extents: pieces of the item, each of them the whole image.
        kind: of the item.
        more: further properties.
    """
    meta = AVIF[AVIF.index(b"meta") + 8 : AVIF.index(b"mdat") - 4]
    parts = {}
    while meta:
        (length,) = struct.unpack_from(">I", meta)
        parts[meta[4:8]] = meta[8:length]
        meta = meta[length:]
    data = _av1(*sequence)
    properties = parts[b"iprp"]
    (length,) = struct.unpack_from(">I", properties)
    listed, associated = properties[8:length], properties[length:]
    at = listed.index(b"ispe") + 8
    listed = listed[:at] + struct.pack(">II", ispe[1], ispe[0]) + listed[at + 8 :] + more
    parts[b"iprp"] = box(b"ipco", listed) + associated
    parts[b"iinf"] = parts[b"iinf"].replace(b"av01", kind)
    head = AVIF[: AVIF.index(b"meta") - 4]
    place = 0  # known once the boxes before the data have their lengths
    for _ in range(2):
        located = struct.pack(">II", place, len(data)) * extents
        parts[b"iloc"] = struct.pack(">IHHHHH", 0, 0x4400, 1, 1, 0, extents) + located
        written = head + box(b"meta", bytes(4) + b"".join(box(name, content) for name, content in parts.items()))
        place = len(written) + 8
    return written + box(b"mdat", data)


def _av1(height: int, width: int) -> bytes:
    """The AV1 stream of :data:`AVIF` with another size in its sequence header."""
    data = AVIF[AVIF.index(b"mdat") + 4 :]
    assert data[:3] == b"\x12\0\x0a"
    bits = np.unpackbits(np.frombuffer(data[4 : 4 + data[3]], np.uint8))
    across, down = 1 + int(bits[10:14] @ [8, 4, 2, 1]), 1 + int(bits[14:18] @ [8, 4, 2, 1])
    if (height, width) == (32, 32):
        return data
    writer = BitWriter(high_first=True)
    for bit in bits[:10]:
        writer.put(int(bit), 1)
    writer.put(15, 4).put(15, 4).put(width - 1, 16).put(height - 1, 16)
    for bit in bits[18 + across + down :]:
        writer.put(int(bit), 1)
    header = writer.to_bytes()
    return data[:3] + bytes([len(header)]) + header + data[4 + data[3] :]


def jxl(height: int, width: int, extra_channels: int = 0, animated: bool = False) -> bytes:
    """A JPEG XL codestream that claims a size; what follows its header is a frame of 32 pixels."""
    writer = BitWriter().put(0, 1)
    for side, ratio in ((height, 0), (width, None)):
        writer.put(3, 2).put(side - 1, 30)
        if ratio is not None:
            writer.put(ratio, 3)
    if not extra_channels and not animated:
        writer.put(1, 1)
    else:
        writer.put(0, 1).put(animated, 1)
        if animated:
            writer.put(0, 3).put(0, 1).put(0, 1).put(1, 1).put(0, 2).put(0, 2).put(0, 2).put(0, 1)
        writer.put(0, 1).put(0, 2).put(1, 1)
        writer.put(3 if extra_channels else 0, 2)
        if extra_channels:
            writer.put(extra_channels - 1, 12)
            writer.put((1 << extra_channels) - 1, extra_channels)  # each as usual
        writer.put(1, 1).put(1, 1).put(0, 2).put(1, 1)
    writer.put(1, 1)
    assert JXL[2] & 1  # a small size takes 9 bits, the usual metadata and transform one each
    return b"\xff\x0a" + writer.to_bytes() + JXL[4:]


def j2k(
    height: int,
    width: int,
    components: int = 3,
    tile: tuple[int, int] | None = None,
    block: int = 4,
    precinct: int = 0x88,
) -> bytes:
    """A JPEG 2000 codestream that claims a size, components, tiles, blocks of 2^(2 + block) and precincts."""
    down, across = tile or (height, width)
    sizes = struct.pack(">H8IH", 0, width, height, 0, 0, across, down, 0, 0, components)
    coding = J2K.index(b"\xff\x52")
    length = int.from_bytes(J2K[coding + 2 : coding + 4], "big")
    style = bytearray(J2K[coding : coding + 2 + length])
    style[10:12] = bytes([block, block])
    style[14:] = bytes([precinct]) * (len(style) - 14)
    return J2K[:2] + segment(0xFF51, sizes + b"\7\1\1" * components) + bytes(style) + J2K[coding + 2 + length :]


def jp2(height: int, width: int) -> bytes:
    """A JPEG 2000 file around a codestream that claims a size."""
    header = struct.pack(">IIHBBBB", height, width, 3, 7, 7, 0, 0)
    colours = b"\1\0\0" + struct.pack(">I", 16)
    return (
        box(b"jP  ", b"\r\n\x87\n")
        + box(b"ftyp", b"jp2 \0\0\0\0jp2 ")
        + box(b"jp2h", box(b"ihdr", header) + box(b"colr", colours))
        + box(b"jp2c", j2k(height, width))
    )
