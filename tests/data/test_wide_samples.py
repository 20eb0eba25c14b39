"""Samples wider than 8 bits: the declared range, or the guess and its remark, against hand-computed values."""

from __future__ import annotations

import re
import struct
from pathlib import Path

import imagecodecs
import numpy as np
import pytest
from data_samples import encoded, png_by_hand, png_chunk, pngs, write_files

from toolkit.data import images
from toolkit.data.catalog import load_dataset

SIDE = 16
LEVELS = np.random.default_rng(0).integers(0, 256, (SIDE, SIDE))
LEVELS[0, 0], LEVELS[0, 1] = 0, 255


def _read(data: bytes) -> tuple[np.ndarray, list[str]]:
    told: list[str] = []
    return images.decode_image(data, SIDE, told.append).astype(int), told


def _tiff(samples: np.ndarray, bits: int | None = None, **tags: tuple[int, ...]) -> bytes:
    """A little-endian TIFF of one strip built by its specification, with any further SHORT or LONG tags."""
    channels = samples.shape[2] if samples.ndim == 3 else 1
    kind = {"u": 1, "i": 2, "f": 3}[samples.dtype.kind]
    fields = {
        256: (SIDE,),
        257: (SIDE,),
        258: (bits or 8 * samples.itemsize,) * channels,
        259: (1,),
        262: (2 if channels >= 3 else 1,),
        273: (8,),
        277: (channels,),
        278: (SIDE,),
        279: (samples.nbytes,),
        284: (1,),
        339: (kind,) * channels,
        **{int(tag[1:]): values for tag, values in tags.items()},
    }
    body = samples.tobytes()
    directory, late = b"", b""
    start = 8 + len(body) + 2 + 12 * len(fields) + 4
    for tag, values in sorted(fields.items()):
        packed = struct.pack(f"<{len(values)}I", *values)
        if len(packed) > 4:
            directory += struct.pack("<HHII", tag, 4, len(values), start + len(late))
            late += packed
        else:
            directory += struct.pack("<HHI", tag, 4, len(values)) + packed
    header, count = b"II*\0" + struct.pack("<I", 8 + len(body)), struct.pack("<H", len(fields))
    return header + body + count + directory + bytes(4) + late


@pytest.mark.parametrize(
    ("samples", "expected", "remark"),
    [
        (LEVELS.astype(np.int32), LEVELS, "32-bit samples: their range was guessed to be 8 bits"),
        (LEVELS.astype(np.uint16), LEVELS, "16-bit samples: their range was guessed to be 8 bits"),
        ((16 * LEVELS).astype(np.uint16), 16 * LEVELS * 255 / 4095, "16-bit samples: .* guessed to be 12 bits"),
        ((16 * LEVELS).astype(np.int16), 16 * LEVELS * 255 / 4095, "16-bit samples: .* guessed to be 12 bits"),
        ((257 * LEVELS).astype(np.uint16), LEVELS, None),
        ((257 * LEVELS).astype(np.uint32), LEVELS, "32-bit samples: their range was guessed to be 16 bits"),
        (((2**32 - 1) // 255 * LEVELS).astype(np.uint32), LEVELS, "guessed from the image"),
        ((4 * LEVELS - 500).astype(np.int16), LEVELS, "guessed from the image"),
        ((LEVELS / 255).astype(np.float32), LEVELS, r"guessed to be 0\.\.1$"),
        ((LEVELS / 255).astype(np.float64), LEVELS, r"guessed to be 0\.\.1$"),
        (LEVELS.astype(np.float32), LEVELS, r"guessed to be 0\.\.255$"),
        ((40 * LEVELS - 7.5).astype(np.float32), LEVELS, "guessed from the image"),
    ],
)
def test_the_range_is_guessed_by_the_rule_and_the_guess_is_reported(
    samples: np.ndarray, expected: np.ndarray, remark: str | None
) -> None:
    seen, told = _read(_tiff(samples))
    assert np.abs(seen - np.rint(expected)[..., None]).max() <= 0.51
    assert len(told) == (remark is not None)
    assert remark is None or re.search(remark, told[0])


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_one_non_finite_pixel_does_not_blacken_the_rest(bad: float) -> None:
    samples = (LEVELS / 255).astype(np.float32)
    samples[5, 7] = bad
    seen, _ = _read(_tiff(samples))
    expected = np.repeat(LEVELS[..., None], 3, axis=2)
    expected[5, 7] = 255 if bad == np.inf else 0
    np.testing.assert_array_equal(seen, expected)


def test_an_image_without_any_finite_sample_is_unreadable() -> None:
    with pytest.raises(images.Unreadable, match="no finite sample"):
        _read(_tiff(np.full((SIDE, SIDE), np.nan, np.float32)))


def test_a_declared_range_takes_precedence_over_any_guess() -> None:
    samples = (1000 + 2 * LEVELS).astype(np.uint16)
    expected = np.rint((samples - 1000.0) * 255 / 1020)
    for low, high in (("t340", "t341"), ("t280", "t281")):
        seen, told = _read(_tiff(samples, **{low: (1000,), high: (2020,)}))
        assert np.abs(seen - expected[..., None]).max() <= 1
        assert told == []
    seen, told = _read(_tiff((0.5 * LEVELS).astype(np.float32), t340=(0,), t341=(255,)))
    assert np.abs(seen - np.rint(0.5 * LEVELS)[..., None]).max() <= 1
    assert told == []


def test_a_tiff_with_samples_packed_in_12_bits_declares_them() -> None:
    wide = (16 * LEVELS).astype(np.uint16).reshape(-1, 2)
    packed = np.stack([wide[:, 0] >> 4, (wide[:, 0] & 15) << 4 | wide[:, 1] >> 8, wide[:, 1] & 255], axis=1)
    strip = packed.astype(np.uint8).reshape(SIDE, -1)
    seen, told = _read(_tiff(strip, bits=12))
    assert np.abs(seen - np.rint(16 * LEVELS * 255 / 4095)[..., None]).max() <= 1
    assert told == []


@pytest.mark.parametrize("form", ["PNG", "TIFF"])
def test_twelve_bit_colour_in_sixteen_bits_is_not_black(form: str) -> None:
    samples = np.random.default_rng(1).integers(0, 4096, (SIDE, SIDE, 3)).astype(np.uint16)
    seen, told = _read(png_by_hand(samples, 2, SIDE, SIDE) if form == "PNG" else _tiff(samples))
    assert np.abs(seen - samples * (255 / 4095)).max() <= 0.51
    assert told == ["16-bit samples: their range was guessed to be 12 bits"]


def test_colour_tiffs_of_wide_samples_are_read_at_full_depth() -> None:
    samples = np.random.default_rng(2).random((SIDE, SIDE, 3)).astype(np.float32)
    assert np.abs(_read(_tiff(samples))[0] - 255 * samples).max() <= 0.51
    colour = np.random.default_rng(3).integers(0, 65_536, (SIDE, SIDE, 4)).astype(np.uint16)
    share = colour[..., 3:] / 65_535
    over_white = colour[..., :3] / 257 * share + 255 * (1 - share)
    assert np.abs(_read(_tiff(colour, t338=(2,)))[0] - over_white).max() <= 2
    premultiplied = (colour[..., :3] * share).astype(np.uint16)
    seen, _ = _read(_tiff(np.concatenate([premultiplied, colour[..., 3:]], axis=2), t338=(1,)))
    assert np.abs(seen - over_white).max() <= 2
    np.testing.assert_array_equal(_read(_tiff((257 * LEVELS).astype(np.uint16), t262=(0,)))[0][..., 0], 255 - LEVELS)
    np.testing.assert_array_equal(
        _read(_tiff((257 * LEVELS).astype(np.uint16), t274=(3,)))[0][..., 0], LEVELS[::-1, ::-1]
    )


def test_a_transparent_value_of_sixteen_bit_png_turns_white() -> None:
    grey = (257 * LEVELS).astype(np.uint16)
    key = png_chunk(b"tRNS", struct.pack(">H", int(grey[3, 3])))
    seen, _ = _read(png_by_hand(grey, 0, SIDE, SIDE, key))
    np.testing.assert_array_equal(seen[..., 0], np.where(grey[3, 3] == grey, 255, LEVELS))
    colour = np.stack([grey, grey[::-1], grey[:, ::-1]], axis=2)
    key = png_chunk(b"tRNS", struct.pack(">HHH", *map(int, colour[4, 4])))
    seen, _ = _read(png_by_hand(colour, 2, SIDE, SIDE, key))
    expected = np.where((colour == colour[4, 4]).all(axis=2, keepdims=True), 255, colour // 257)
    np.testing.assert_array_equal(seen, expected)


def test_guesses_are_noted_once_per_dataset_with_their_number(tmp_path: Path, cache: Path) -> None:
    wide = encoded((16 * LEVELS).astype(np.uint16))
    files = pngs({"train/ant": 3, "train/bee": 3, "test/ant": 1, "test/bee": 1})
    root = write_files(
        tmp_path / "set",
        {
            **files,
            "train/ant/w.png": wide,
            "test/bee/w.png": wide,
            "train/bee/w.tif": encoded((LEVELS / 255).astype(np.float32), "TIFF"),
        },
    )
    for _ in range(2):
        assert load_dataset(str(root), 16).notes[:2] == (
            "2 images: 16-bit samples: their range was guessed to be 12 bits",
            "1 image: floating-point samples: their range was guessed to be 0..1",
        )


# -- JPEG XL and HEIC ------------------------------------------------------------------------------------------


@pytest.mark.parametrize("container", [False, True])
@pytest.mark.parametrize("channels", [1, 3, 4])
def test_jpeg_xl_is_read(channels: int, container: bool) -> None:
    shape = (SIDE, SIDE) if channels == 1 else (SIDE, SIDE, channels)
    pixels = np.random.default_rng(channels).integers(0, 256, shape, np.uint8)
    seen, told = _read(imagecodecs.jpegxl_encode(pixels, lossless=True, usecontainer=container))
    expected: np.ndarray = pixels[..., None] if channels == 1 else pixels
    if channels == 4:
        share = pixels[..., 3:] / 255
        expected = pixels[..., :3] * share + 255 * (1 - share)
    assert np.abs(seen - expected).max() <= (1 if channels == 4 else 0)
    assert told == []


def test_wide_jpeg_xl_and_animations_are_read() -> None:
    grey = (257 * LEVELS).astype(np.uint16)
    np.testing.assert_array_equal(_read(imagecodecs.jpegxl_encode(grey, lossless=True))[0][..., 0], LEVELS)
    frames = np.random.default_rng(5).integers(0, 256, (3, SIDE, SIDE, 3), np.uint8)
    np.testing.assert_array_equal(_read(imagecodecs.jpegxl_encode(frames, lossless=True))[0], frames[0])


@pytest.mark.parametrize("size", [(300, 200), (8, 8), (1920, 1080), (1, 1000), (257, 1029), (640, 480), (2048, 1024)])
def test_the_size_of_a_jpeg_xl_is_known_from_its_header(size: tuple[int, int], monkeypatch: pytest.MonkeyPatch) -> None:
    width, height = size
    data = imagecodecs.jpegxl_encode(np.zeros((height, width, 3), np.uint8), lossless=True, effort=1)
    monkeypatch.setattr(images, "MAX_PIXELS", width * height - 1)

    def refused(*args: object, **kwargs: object) -> None:
        raise AssertionError("it was decoded")

    monkeypatch.setattr(imagecodecs, "jpegxl_decode", refused)
    with pytest.raises(images.Unreadable, match=f"^{width} x {height} pixels"):
        images.decode_image(data, 16)


@pytest.mark.parametrize("cut", [3, 12, 100, -2])
def test_a_truncated_jpeg_xl_is_unreadable(cut: int) -> None:
    data = imagecodecs.jpegxl_encode(np.random.default_rng(0).integers(0, 256, (40, 40, 3), np.uint8))
    with pytest.raises(images.Unreadable, match="damaged"):
        images.decode_image(data[:cut], 16)


def test_heic_is_named_as_such() -> None:
    for brands in (b"heic\0\0\0\0mif1heic", b"mif1\0\0\0\0mif1heic", b"msf1\0\0\0\0hevc"):
        with pytest.raises(images.Unreadable, match=r"^HEIC is not supported: convert it"):
            images.decode_image(struct.pack(">I", 8 + len(brands)) + b"ftyp" + brands + bytes(200), 16)
    avif = encoded(np.zeros((SIDE, SIDE, 3), np.uint8), "AVIF")
    assert _read(avif)[0].max() <= 2
