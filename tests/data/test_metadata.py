"""Metadata of image files: the orientation is used, and damage to the rest does not make an image unreadable."""

from __future__ import annotations

import io
import os
import struct
import zlib

import numpy as np
import pytest
from data_samples import encoded, noise, pixels_of, png_by_hand, png_chunk
from PIL import Image

from toolkit.data import images

PIXELS = noise(1, 16, 16)
PNG = encoded(PIXELS)
AFTER_HEADER = 33
"""Bytes of a PNG's signature and IHDR."""
BEFORE_END = len(PNG) - 12


def _with(chunk: bytes, at: int = AFTER_HEADER) -> bytes:
    return PNG[:at] + chunk + PNG[at:]


def _exif(*entries: tuple[int, int, int, bytes], orientation: int = 3) -> bytes:
    """A little-endian EXIF block with an orientation and other entries: tag, type, count, value."""
    rows = sorted([(274, 3, 1, struct.pack("<I", orientation)), *entries])
    packed = b"".join(struct.pack("<HHI4s", *row) for row in rows)
    return b"II*\0" + struct.pack("<IH", 8, len(rows)) + packed + bytes(4)


@pytest.mark.parametrize(
    "data",
    [
        pytest.param(_with(png_chunk(b"tEXt", b"Comment\0" + bytes(5_000_000))), id="5 MB of text"),
        pytest.param(_with(png_chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(5_000_000)))), id="text that inflates"),
        pytest.param(
            _with(png_chunk(b"iTXt", b"C\0\1\0\0\0" + zlib.compress(bytes(5_000_000))), BEFORE_END), id="at end"
        ),
        pytest.param(_with(png_chunk(b"iCCP", b"p\0\0" + zlib.compress(os.urandom(5_000_000)))), id="5 MB of ICC"),
        pytest.param(_with(png_chunk(b"iCCP", b"p\0\0 not deflated")), id="garbage ICC"),
        pytest.param(_with(png_chunk(b"eXIf", b"garbage, no EXIF")), id="garbage eXIf"),
        pytest.param(_with(png_chunk(b"eXIf", b"")), id="empty eXIf"),
        pytest.param(_with(png_chunk(b"pHYs", b"\1")), id="short pHYs"),
        pytest.param(_with(struct.pack(">I4s", 3, b"tEXt") + b"abc" + bytes(4)), id="text with a wrong checksum"),
    ],
)
def test_odd_metadata_of_a_png_leaves_its_pixels_alone(data: bytes) -> None:
    np.testing.assert_array_equal(images.decode_image(data, 16), PIXELS)


@pytest.mark.parametrize(("form", "options"), [("JPEG", {}), ("WEBP", {"lossless": True}), ("TIFF", {})])
def test_profiles_of_5_mb_are_skipped_in_other_formats(form: str, options: dict) -> None:
    plain = encoded(PIXELS, form, **options)
    data = encoded(PIXELS, form, icc_profile=os.urandom(5_000_000), **options)
    np.testing.assert_array_equal(images.decode_image(data, 16), pixels_of(plain))


ODD = {
    "resolution as text": (282, 2, 2, b"72\0\0"),
    "negative pointer": (34665, 6, 1, b"\xb6\0\0\0"),
    "float in XMP": (700, 11, 1, struct.pack("<f", 0.5)),
    "description as a rational": (270, 10, 1, struct.pack("<I", 8)),
    "signed unit": (296, 9, 1, struct.pack("<i", -2)),
    "unknown type": (271, 77, 1, b"abcd"),
    "value outside": (271, 2, 5000, struct.pack("<I", 90_000)),
}


@pytest.mark.parametrize("form", ["JPEG", "PNG", "WEBP"])
@pytest.mark.parametrize("entry", ODD.values(), ids=ODD)
def test_orientation_is_read_beside_odd_entries(entry: tuple[int, int, int, bytes], form: str) -> None:
    options = {"lossless": True} if form == "WEBP" else {"quality": 100, "subsampling": 0} if form == "JPEG" else {}
    data = encoded(PIXELS, form, exif=b"Exif\0\0" + _exif(entry), **options)
    plain = pixels_of(encoded(PIXELS, form, **options))
    np.testing.assert_array_equal(images.decode_image(data, 16), plain[::-1, ::-1])


def test_orientation_is_read_from_a_truncated_block() -> None:
    whole = _exif()
    cut = whole[:8] + struct.pack("<H", 100) + whole[10:22]
    data = encoded(PIXELS, "JPEG", quality=100, subsampling=0, exif=b"Exif\0\0" + cut)
    plain = pixels_of(encoded(PIXELS, "JPEG", quality=100, subsampling=0))
    np.testing.assert_array_equal(images.decode_image(data, 16), plain[::-1, ::-1])


@pytest.mark.parametrize("orientation", [0, 9, 65_535])
def test_an_unknown_orientation_changes_nothing(orientation: int) -> None:
    data = encoded(PIXELS, "PNG", exif=_exif(orientation=orientation))
    np.testing.assert_array_equal(images.decode_image(data, 16), PIXELS)


def test_orientation_survives_the_removal_of_metadata() -> None:
    text = png_chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(5_000_000)))
    data = _with(text + png_chunk(b"eXIf", _exif()))
    np.testing.assert_array_equal(images.decode_image(data, 16), PIXELS[::-1, ::-1])


def test_a_damaged_picture_is_still_refused_whatever_metadata_it_has() -> None:
    data = _with(png_chunk(b"zTXt", b"C\0\0" + zlib.compress(bytes(5_000_000))))
    with pytest.raises(images.Unreadable):
        images.decode_image(data[:-200], 16)
    jpeg = encoded(noise(8, 40, 40), "JPEG", comment=b"x" * 1000)
    with pytest.raises(images.Unreadable, match="truncated"):
        images.decode_image(jpeg[: len(jpeg) - 400], 16)


def test_a_jpeg_with_a_broken_index_of_further_pictures_is_read() -> None:
    """Pillow looks for more pictures (MPF) in APP2 of a JPEG, which may contain anything."""
    plain = encoded(PIXELS, "JPEG", quality=100)
    entries = struct.pack(">HHI4s", 45057, 4, 1, b"\0\0\0\2") * 2
    block = b"MPF\0" + b"MM\0*" + struct.pack(">IH", 8, 2) + entries + bytes(4)
    data = plain[:2] + b"\xff\xe2" + struct.pack(">H", 2 + len(block)) + block + plain[2:]
    np.testing.assert_array_equal(images.decode_image(data, 16), pixels_of(plain))


# -- limits ----------------------------------------------------------------------------------------------------


def _refuse_decoding(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(Image.Image, "load", refused)
    monkeypatch.setattr("PIL.ImageFile.ImageFile.load", refused)


@pytest.mark.parametrize("form", ["PNG", "BMP", "GIF", "WEBP", "TIFF", "JPEG"])
def test_an_image_over_the_limit_of_decoded_bytes_is_refused_from_its_header(
    form: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    data = encoded(noise(0, 40, 30), form)
    _refuse_decoding(monkeypatch)
    monkeypatch.setattr(images, "MAX_DECODED_BYTES", 4 * 40 * 30 - 1)
    with pytest.raises(images.Unreadable, match=r"^30 x 40 pixels, 4.7 KiB decoded, more than 4.7 KiB$"):
        images.decode_image(data, 16)


def test_a_png_of_13300_pixels_per_side_is_refused_in_colour_but_not_in_grey(monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.MAX_DECODED_BYTES == 512 * 1024**2
    _refuse_decoding(monkeypatch)
    with pytest.raises(images.Unreadable, match=r"^13300 x 13300 pixels, 674.8 MiB decoded, more than 512.0 MiB$"):
        images.decode_image(png_by_hand(np.zeros((1, 3), np.uint8), 2, 13_300, 13_300), 16)
    with pytest.raises(images.Unreadable, match="it was decoded"):
        images.decode_image(png_by_hand(np.zeros((1, 3), np.uint8), 0, 13_300, 13_300), 16)


def test_samples_wider_than_a_byte_count_with_their_size(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "MAX_DECODED_BYTES", 8 * 16 * 16 - 1)
    wide = np.zeros((16, 16, 3), np.uint16)
    for data in (png_by_hand(wide, 2, 16, 16), encoded(np.zeros((16, 16), np.int32), "TIFF")):
        images.decode_image(encoded(noise(0)), 16)
        if data.startswith(b"\x89PNG"):
            with pytest.raises(images.Unreadable, match=r"2\.0 KiB decoded"):
                images.decode_image(data, 16)
        else:
            assert images.decode_image(data, 16).shape == (16, 16, 3)


def test_a_large_picture_hidden_in_an_icon_is_refused() -> None:
    png = png_by_hand(np.zeros((1, 4), np.uint8), 6, 13_300, 13_300)
    directory = struct.pack("<HHH", 0, 1, 1) + struct.pack("<BBBBHHII", 16, 16, 0, 0, 1, 24, len(png), 22)
    with pytest.raises(images.Unreadable, match=r"^13300 x 13300 pixels"):
        images.decode_image(directory + png, 16)
    small = io.BytesIO()
    Image.fromarray(PIXELS).save(small, "ICO", sizes=[(16, 16)])
    np.testing.assert_array_equal(images.decode_image(small.getvalue(), 16), PIXELS)


def test_large_images_are_decoded_one_at_a_time(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(images, "_LARGE_BYTES", 16)
    held = []
    framed = images.framed
    monkeypatch.setattr(images, "framed", lambda *given: (held.append(images._large.locked()), framed(*given))[1])
    images.decode_image(PNG, 16)
    assert held == [True]
    assert not images._large.locked()
