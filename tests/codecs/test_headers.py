"""Sizes read from headers, compared with Pillow and imagecodecs, and files with false headers."""

from __future__ import annotations

import io
import struct
from collections.abc import Callable

import forged_files as forged
import imagecodecs
import numpy as np
import pytest
from codec_samples import flat, natural, noise
from PIL import Image

from toolkit.codecs import headers
from toolkit.codecs.spec import parse_codec
from toolkit.foundation.errors import WorkError

READERS = {
    "jpeg": headers.jpeg_size,
    "png": headers.png_size,
    "webp": headers.webp_size,
    "avif": headers.avif_size,
    "jxl": headers.jxl_size,
    "jpeg2000": headers.jpeg2000_size,
}
SIZES = [(8, 8), (9, 31), (17, 16), (32, 32), (33, 47), (64, 64), (65, 40), (100, 131), (264, 120)]
SETTINGS = (
    "jpeg:quality=1",
    "jpeg:quality=75,subsampling=420",
    "jpeg:quality=100,subsampling=444",
    "png",
    "webp:quality=1",
    "webp:quality=90,method=0",
    "webp:lossless=yes",
    "avif:quality=30,speed=10,subsampling=420",
    "avif:quality=90,speed=10,subsampling=444",
    "jxl:quality=20,effort=1",
    "jxl:quality=90,effort=3",
    "jxl:distance=0,effort=4",
    "jxl:quality=60,effort=7",
    "jpeg2000:psnr=20",
    "jpeg2000:psnr=60",
)


def reader(spec: str) -> Callable[[bytes], headers.Claim]:
    return READERS[spec.partition(":")[0]]


@pytest.mark.parametrize("setting", SETTINGS)
def test_the_claimed_size_is_that_of_the_decoded_image(setting: str) -> None:
    for height, width in SIZES:
        codec = parse_codec(setting + ("," if ":" in setting else ":") + "shared=no")
        side = max(height, width)
        images = np.concatenate([natural(1, side), noise(1, side), flat(side)[:1]])[:, :height, :width]
        for payload in codec.encode(np.ascontiguousarray(images)):
            file = codec.to_file(payload)
            assert reader(setting)(file) == (height, width, 3)
            if not setting.startswith(("jxl", "jpeg2000")):
                with Image.open(io.BytesIO(file)) as image:
                    assert (image.height, image.width) == (height, width)
        assert codec.decode([payload]).shape == (1, height, width, 3)


@pytest.mark.parametrize("size", [(1, 1), (1, 300), (300, 1), (2, 7), (1024, 1024), (3000, 40)])
def test_the_claimed_size_of_odd_shapes(size: tuple[int, int]) -> None:
    image = np.zeros((*size, 3), np.uint8)
    files = {
        "jpeg": imagecodecs.jpeg8_encode(image),
        "png": imagecodecs.png_encode(image),
        "webp": imagecodecs.webp_encode(image, lossless=False),
        "jxl": imagecodecs.jpegxl_encode(image, level=75, effort=1),
        "jpeg2000": imagecodecs.jpeg2k_encode(image, level=40, codecformat="j2k"),
    }
    for name, file in files.items():
        assert READERS[name](bytes(file)) == (*size, 3), name


def test_the_sizes_that_jpeg_xl_writes_as_a_ratio() -> None:
    for height, width in ((40, 40), (50, 60), (30, 40), (20, 30), (90, 160), (40, 50), (30, 60), (320, 256)):
        file = bytes(imagecodecs.jpegxl_encode(np.zeros((height, width, 3), np.uint8), level=75, effort=1))
        assert headers.jxl_size(file) == (height, width, 3)


def test_an_extended_webp_file_of_pillow() -> None:
    written = io.BytesIO()
    Image.fromarray(natural(1, 40)[0]).save(written, "WEBP", quality=60, exif=b"Exif\0\0MM\0*\0\0\0\x08\0\0")
    assert written.getvalue()[12:16] == b"VP8X"
    assert headers.webp_size(written.getvalue()) == (40, 40, 3)


def test_other_components_are_counted() -> None:
    grey, alpha = np.zeros((20, 30), np.uint8), np.zeros((20, 30, 4), np.uint8)
    alpha[..., 3] = np.arange(30)
    assert headers.png_size(bytes(imagecodecs.png_encode(grey))) == (20, 30, 1)
    assert headers.png_size(bytes(imagecodecs.png_encode(alpha))) == (20, 30, 4)
    assert headers.webp_size(bytes(imagecodecs.webp_encode(alpha, lossless=True))) == (20, 30, 4)
    assert headers.jpeg2000_size(bytes(imagecodecs.jpeg2k_encode(grey, codecformat="j2k"))) == (20, 30, 1)
    assert headers.jpeg2000_size(forged.j2k(1000, 1000, components=3000)) == (1000, 1000, 3000)
    assert headers.jxl_size(forged.jxl(2000, 1000, extra_channels=4000)) == (2000, 1000, 4003)
    with pytest.raises(WorkError, match="16 bits per sample"):
        headers.png_size(bytes(imagecodecs.png_encode(alpha.astype(np.uint16))))


def test_decoders_accept_forged_files_of_the_right_size() -> None:
    assert imagecodecs.jpeg8_decode(forged.jpeg(32, 32)).shape == (32, 32, 3)
    assert imagecodecs.png_decode(forged.png(32, 32, forged.zeros(3200))).shape == (32, 32, 3)
    assert imagecodecs.webp_decode(forged.flat_webp(70, 50), hasalpha=False).shape == (70, 50, 3)
    assert imagecodecs.avif_decode(forged.avif()).shape == (32, 32, 3)
    assert imagecodecs.avif_decode(forged.avif(ispe=(300, 200))).shape == (300, 200, 3)
    assert imagecodecs.jpegxl_decode(forged.jxl(32, 32)).shape == (32, 32, 3)
    assert imagecodecs.jpeg2k_decode(forged.j2k(32, 32)).shape == (32, 32, 3)
    assert imagecodecs.jpeg2k_decode(forged.j2k(64, 64, tile=(1, 1))).shape == (64, 64, 3)


LIES = {
    "jpeg": [
        forged.jpeg(32, 32, after=forged.frame(18000, 18000)),
        forged.jpeg(32, 32).replace(forged.frame(32, 32), b""),
        forged.jpeg(32, 32, before=b"\0\0\0\0"),
        forged.jpeg(32, 32, before=forged.segment(0xFFFE, bytes(5000))),
        forged.jpeg_of_scans(32, 3),
        forged.jpeg(32, 32)[:-2] + forged.JPEG[forged.JPEG.index(b"\xff\xda") :],
        forged.progressive_jpeg(32, 3),
        b"\xff\xd8\xff\xd9",
    ],
    "png": [
        forged.png(32, 32, forged.zeros(3200), more=forged.png_chunk(b"zTXt", b"a\0\0")),
        forged.png(32, 32, forged.zeros(3200)) + b"\0",
        forged.png(32, 32, forged.zeros(3200))[:-12],
    ],
    "webp": [
        forged.extended_webp(32, 32, forged.flat_webp(16383, 16383)),
        forged.extended_webp(16383, 16383, forged.WEBP),
        forged.extended_webp(32, 32, forged.WEBP, flags=2),
        forged.WEBP.replace(b"VP8 ", b"ALPH"),
    ],
    "avif": [
        forged.avif(ispe=(16000, 16000)),
        forged.avif(sequence=(16000, 16000)),
        forged.avif(kind=b"grid"),
        forged.avif(extents=2),
        forged.avif(more=forged.box(b"ispe", struct.pack(">III", 0, 16000, 16000))),
        forged.avif(more=forged.box(b"a1op", b"\1")),
        forged.avif() + forged.box(b"moov", b""),
        forged.avif().replace(b"\x12\0\x0a", b"\x0a\0\x0a"),
    ],
    "jxl": [
        forged.jxl(32, 32, animated=True),
        forged.box(b"JXL ", b"\r\n\x87\n") + forged.JXL,
        b"\xff\x0a" + bytes(9),
    ],
    "jpeg2000": [
        forged.j2k(255, 255, tile=(1, 1)),
        forged.j2k(64, 64, block=0),
        forged.j2k(64, 64, precinct=0x11),
        forged.jp2(32, 32),
        forged.J2K[:-2] + forged.J2K[forged.J2K.index(b"\xff\x90") :],
        forged.J2K.replace(b"\xff\x5c", forged.segment(0xFF53, b"\0\0\1\0\0\0\0") + b"\xff\x5c"),
    ],
}


@pytest.mark.parametrize("name", list(LIES))
def test_a_file_with_a_second_size_image_or_pass_is_refused(name: str) -> None:
    for number, lie in enumerate(LIES[name]):
        with pytest.raises((WorkError, struct.error)):
            pytest.fail(f"{number}: {READERS[name](lie)}")
        with pytest.raises(WorkError, match="cannot be decoded"):
            parse_codec(f"{name}:shared=no").decode([lie])


@pytest.mark.parametrize("name", list(READERS))
def test_any_bytes_give_a_size_or_a_refusal(name: str) -> None:
    rng = np.random.default_rng(3)
    whole = {
        "jpeg": forged.JPEG,
        "png": forged.PNG,
        "webp": forged.WEBP,
        "avif": forged.AVIF,
        "jxl": forged.JXL,
        "jpeg2000": forged.J2K,
    }[name]
    assert READERS[name](whole) == (32, 32, 3)
    for end in range(min(400, len(whole))):
        damaged = bytearray(whole)
        damaged[end] = int(rng.integers(256))
        for file in (whole[:end], bytes(damaged), rng.bytes(end)):
            try:
                assert len(READERS[name](file)) == 3
            except (WorkError, struct.error):
                continue
