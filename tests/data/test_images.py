"""Decoding: every pixel mode, orientation and kind of damage, against values computed here."""

from __future__ import annotations

import struct

import imagecodecs
import numpy as np
import pytest
from data_samples import encoded, noise, png_by_hand, png_chunk
from PIL import Image

from toolkit.data import images

SIDE = 16


def _samples(channels: int, dtype: type = np.uint8) -> np.ndarray:
    shape = (SIDE, SIDE) if channels == 1 else (SIDE, SIDE, channels)
    return np.random.default_rng(channels).integers(0, np.iinfo(dtype).max, shape, dtype=dtype, endpoint=True)


def _over_white(colour: np.ndarray, alpha: np.ndarray) -> np.ndarray:
    share = alpha[..., None] / 255
    return colour * share + 255 * (1 - share)


def _assert_close(decoded: np.ndarray, expected: np.ndarray, within: float) -> None:
    assert decoded.shape == (SIDE, SIDE, 3)
    assert decoded.dtype == np.uint8
    if expected.ndim == 2:
        expected = expected[..., None]
    assert np.abs(decoded - expected.astype(float)).max() <= within


@pytest.mark.parametrize("file_format", ["PNG", "BMP", "TIFF", "PPM"])
def test_rgb_comes_through_unchanged(file_format: str) -> None:
    pixels = noise(1)
    np.testing.assert_array_equal(images.decode_image(encoded(pixels, file_format), SIDE), pixels)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_grey_and_one_bit_images_fill_all_three_channels(file_format: str) -> None:
    grey = _samples(1)
    _assert_close(images.decode_image(encoded(grey, file_format), SIDE), grey, within=0)
    bits = grey > 127
    _assert_close(images.decode_image(encoded(Image.fromarray(bits), file_format), SIDE), bits * 255, within=0)


@pytest.mark.parametrize("file_format", ["PNG", "TIFF"])
def test_sixteen_bit_grey_is_scaled_and_rounded(file_format: str) -> None:
    samples = _samples(1, np.uint16)
    samples[0, :6] = [0, 128, 129, 65_406, 65_407, 65_535]  # 128.5 is where 0 turns into 1
    _assert_close(images.decode_image(encoded(samples, file_format), SIDE), np.rint(samples / 257), within=0)


def test_dark_sixteen_bit_grey_stays_dark() -> None:
    samples = np.full((SIDE, SIDE), 200, np.uint16)
    _assert_close(images.decode_image(encoded(samples), SIDE), np.ones((SIDE, SIDE)), within=0)


@pytest.mark.parametrize(("colour_type", "channels"), [(2, 3), (6, 4), (4, 2)])
def test_sixteen_bit_colour_is_scaled_to_within_a_level(colour_type: int, channels: int) -> None:
    samples = _samples(channels, np.uint16)
    if channels == 3:
        expected, within = np.rint(samples / 257), 1.0
    else:
        expected, within = _over_white(samples[..., :-1] / 257, samples[..., -1] / 257), 2.0  # alpha is cut as well
    _assert_close(images.decode_image(png_by_hand(samples, colour_type, SIDE, SIDE), SIDE), expected, within)


def test_floating_point_samples_up_to_one_are_fractions_of_white() -> None:
    samples = _samples(1).astype(np.float32)
    _assert_close(images.decode_image(encoded(samples / 255, "TIFF"), SIDE), samples, within=0)
    _assert_close(images.decode_image(encoded(samples, "TIFF"), SIDE), samples, within=0)


def test_transparent_images_are_composited_over_white() -> None:
    rgba = _samples(4)
    _assert_close(images.decode_image(encoded(rgba), SIDE), _over_white(rgba[..., :3], rgba[..., 3]), within=1)
    la = _samples(2)
    _assert_close(images.decode_image(encoded(la), SIDE), _over_white(la[..., :1], la[..., 1]), within=1)


def test_a_transparent_colour_key_turns_white() -> None:
    rgb = noise(3)
    rgb[2, 3] = rgb[7, 9] = (10, 20, 30)
    expected = np.where((rgb == (10, 20, 30)).all(axis=2, keepdims=True), 255, rgb)
    key = png_chunk(b"tRNS", struct.pack(">HHH", 10, 20, 30))
    _assert_close(images.decode_image(png_by_hand(rgb, 2, SIDE, SIDE, key), SIDE), expected, within=0)
    grey = _samples(1)
    key = png_chunk(b"tRNS", struct.pack(">H", int(grey[0, 0])))
    expected = np.where(grey == grey[0, 0], 255, grey)
    _assert_close(images.decode_image(png_by_hand(grey, 0, SIDE, SIDE, key), SIDE), expected, within=0)


def test_palettes_are_looked_up_with_and_without_transparency() -> None:
    palette = np.random.default_rng(5).integers(0, 256, (256, 3), dtype=np.uint8)
    index = _samples(1)
    plte = png_chunk(b"PLTE", palette.tobytes())
    _assert_close(images.decode_image(png_by_hand(index, 3, SIDE, SIDE, plte), SIDE), palette[index], within=0)
    alpha = np.random.default_rng(6).integers(0, 256, 256, dtype=np.uint8)
    clear = plte + png_chunk(b"tRNS", alpha.tobytes())
    expected = _over_white(palette[index], alpha[index])
    _assert_close(images.decode_image(png_by_hand(index, 3, SIDE, SIDE, clear), SIDE), expected, within=1)


def test_cmyk_is_mixed_as_inks_on_white() -> None:
    inks = _samples(4).astype(int)
    expected = (255 - inks[..., :3]) * (255 - inks[..., 3:]) / 255
    tiff = encoded(Image.fromarray(inks.astype(np.uint8), "CMYK"), "TIFF")
    _assert_close(images.decode_image(tiff, SIDE), expected, within=1)
    flat = np.full((SIDE, SIDE, 4), (200, 30, 90, 40), np.uint8)
    jpeg = encoded(Image.fromarray(flat, "CMYK"), "JPEG", quality=100)
    expected = np.full((SIDE, SIDE, 3), [(255 - ink) * (255 - 40) / 255 for ink in (200, 30, 90)])
    _assert_close(images.decode_image(jpeg, SIDE), expected, within=4)


@pytest.mark.parametrize(("file_format", "options"), [("GIF", {}), ("WEBP", {"lossless": True}), ("PNG", {})])
def test_an_animation_gives_its_first_frame(file_format: str, options: dict) -> None:
    frames = [np.full((SIDE, SIDE, 3), colour, np.uint8) for colour in ((250, 10, 20), (0, 200, 0), (0, 0, 99))]
    first, *rest = map(Image.fromarray, frames)
    data = encoded(first, file_format, save_all=True, append_images=rest, duration=50, **options)
    _assert_close(images.decode_image(data, SIDE), frames[0], within=0)


_ROW_0_AND_COLUMN_0 = {
    1: ("top", "left"),
    2: ("top", "right"),
    3: ("bottom", "right"),
    4: ("bottom", "left"),
    5: ("left", "top"),
    6: ("right", "top"),
    7: ("right", "bottom"),
    8: ("left", "bottom"),
}
"""Where the stored image's first row and column appear, in the words of the EXIF specification (tag 274)."""


def _as_seen(stored: np.ndarray, orientation: int) -> np.ndarray:
    rows, columns = stored.shape[:2]
    row_0, column_0 = _ROW_0_AND_COLUMN_0[orientation]
    upright = row_0 in ("top", "bottom")
    seen = np.empty((rows, columns, 3) if upright else (columns, rows, 3), np.uint8)
    for r in range(rows):
        for c in range(columns):
            sides = {row_0: r, column_0: c}
            y = sides["top"] if "top" in sides else seen.shape[0] - 1 - sides["bottom"]
            x = sides["left"] if "left" in sides else seen.shape[1] - 1 - sides["right"]
            seen[y, x] = stored[r, c]
    return seen


@pytest.mark.parametrize("file_format", ["PNG", "TIFF", "WEBP"])
@pytest.mark.parametrize("orientation", range(1, 9))
def test_every_exif_orientation_is_turned_upright(orientation: int, file_format: str) -> None:
    stored = noise(orientation, SIDE, SIDE)
    exif = Image.Exif()
    exif[274] = orientation
    options = {"lossless": True} if file_format == "WEBP" else {}
    decoded = images.decode_image(encoded(stored, file_format, exif=exif, **options), SIDE)
    np.testing.assert_array_equal(decoded, _as_seen(stored, orientation))


def test_orientation_is_applied_before_the_crop_of_a_jpeg() -> None:
    stored = np.zeros((32, 96, 3), np.uint8)
    stored[:, :32], stored[:, 32:64], stored[:, 64:] = (200, 0, 0), (0, 200, 0), (0, 0, 200)
    exif = Image.Exif()
    exif[274] = 6
    seen = images.decode_image(encoded(stored, "JPEG", quality=95, subsampling=0, exif=exif), 32)
    assert np.abs(seen.astype(int) - (0, 200, 0)).max() <= 3


def test_the_shorter_side_is_scaled_and_the_middle_kept() -> None:
    y, x = np.mgrid[:60, :100]
    ramps = np.stack([2 * x, 4 * y, np.full_like(x, 77)], axis=2).astype(np.uint8)
    decoded = images.decode_image(encoded(ramps), 30)
    # Halving puts pixel i at 2i + 0.5; of the 50 columns the crop keeps 10..39. A linear ramp stays one inside.
    at = 2 * np.arange(30) + 0.5
    inner = slice(2, -2)
    assert np.abs(decoded[inner, inner, 0] - 2.0 * (at + 20)[None, inner]).max() <= 1
    assert np.abs(decoded[inner, inner, 1] - 4.0 * at[inner, None]).max() <= 1
    assert (decoded[..., 2] == 77).all()


@pytest.mark.parametrize(
    ("height", "width", "size"), [(37, 91, 16), (91, 37, 16), (33, 32, 32), (9, 23, 40), (64, 64, 8)]
)
def test_cropping_while_scaling_agrees_with_scaling_then_cropping(height: int, width: int, size: int) -> None:
    pixels = noise(2, height, width)
    shorter = min(height, width)
    scaled = Image.fromarray(pixels).resize((round(width * size / shorter), round(height * size / shorter)), 3)
    left, top = (scaled.width - size) // 2, (scaled.height - size) // 2
    expected = np.asarray(scaled)[top : top + size, left : left + size].astype(int)
    assert np.abs(images.decode_image(encoded(pixels), size) - expected).max() <= 1


@pytest.mark.parametrize(("height", "width"), [(37, 91), (91, 37), (48, 64), (30, 40), (24, 32), (20, 100)])
def test_an_oblong_is_the_centre_of_the_image_scaled_to_just_cover_it(height: int, width: int) -> None:
    pixels = noise(2, height, width)
    scale = max(24 / height, 32 / width)
    scaled = Image.fromarray(pixels).resize((max(32, round(width * scale)), max(24, round(height * scale))), 3)
    left, top = (scaled.width - 32) // 2, (scaled.height - 24) // 2
    expected = np.asarray(scaled)[top : top + 24, left : left + 32].astype(int)
    decoded = images.decode_image(encoded(pixels), "24x32")
    assert decoded.shape == (24, 32, 3)
    assert np.abs(decoded - expected).max() <= 1


def test_all_of_an_image_keeps_its_aspect_and_is_never_enlarged() -> None:
    pixels = noise(2, 60, 90)
    whole = images.decode_image(encoded(pixels), images.Whole(40))
    np.testing.assert_array_equal(whole, np.asarray(Image.fromarray(pixels).resize((60, 40), 3)))
    np.testing.assert_array_equal(images.decode_image(encoded(pixels), images.Whole(60)), pixels)
    np.testing.assert_array_equal(images.decode_image(encoded(pixels), images.Whole(500)), pixels)


@pytest.mark.parametrize(("height", "width"), [(1, 9000), (9000, 1), (4, 17_000), (90, 100), (40, 5000)])
def test_all_of_an_image_stays_within_a_number_of_pixels_and_a_longest_side(height: int, width: int) -> None:
    whole = images.framed_array(np.zeros((height, width, 3), np.uint8), images.Whole(64, 4000))
    assert whole[..., 0].size <= 4000
    assert max(whole.shape) <= 16_383
    assert min(whole.shape[:2]) >= 1
    if height * width > 2 * 4000 and min(height, width) > 1:
        assert whole[..., 0].size > 3000


@pytest.mark.parametrize("kind", ["PNG", "JPEG", "WEBP", "TIFF", "AVIF"])
def test_pixels_are_counted_from_the_header(kind: str) -> None:
    assert images.image_pixels(encoded(noise(3, 20, 31), kind)) == 620
    with pytest.raises(images.Unreadable):
        images.image_pixels(b"nothing")


@pytest.mark.parametrize("dtype", [np.float32, np.float64, np.uint16])
def test_pixels_of_wide_tiffs_are_counted_too(dtype: type) -> None:
    data = imagecodecs.tiff_encode(np.zeros((20, 31), dtype))
    assert images.decode_image(data, 16).shape == (16, 16, 3)
    assert images.image_pixels(data) == 620


def test_a_very_long_image_is_never_scaled_whole(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = []
    resize = Image.Image.resize

    def recorded(image: Image.Image, size: tuple[int, int], *args: object) -> Image.Image:
        asked.append(size)
        return resize(image, (8, 8), *args)

    monkeypatch.setattr(Image.Image, "resize", recorded)
    images.decode_image(encoded(np.zeros((2, 3_000, 3), np.uint8)), 512)
    assert asked == [(512, 512)]


def test_arrays_are_squared_like_files() -> None:
    pixels = noise(4, 20, 50)
    np.testing.assert_array_equal(images.framed_array(pixels, 16), images.decode_image(encoded(pixels), 16))
    grey = pixels[..., 0]
    for array in (grey, grey[..., None]):
        np.testing.assert_array_equal(images.framed_array(array, 16), images.decode_image(encoded(grey), 16))


_WHOLE = encoded(noise(8, 40, 40), "JPEG", quality=90)


@pytest.mark.parametrize(
    ("data", "reason"),
    [
        pytest.param(b"", "empty file", id="zero bytes"),
        pytest.param(b"just text, named .jpg\n" * 40, "not an image in a known format", id="text"),
        pytest.param(_WHOLE[: len(_WHOLE) // 2], "truncated", id="half a JPEG"),
        pytest.param(_WHOLE[:-2], "truncated", id="JPEG without its end"),
        pytest.param(encoded(noise(8, 40, 40))[:2000], "truncated", id="half a PNG"),
        pytest.param(encoded(noise(8, 40, 40), "GIF")[:900], "truncated", id="half a GIF"),
        pytest.param(encoded(noise(8, 40, 40), "WEBP")[:900], "damaged", id="half a WebP"),
        pytest.param(encoded(noise(8, 40, 40), "TIFF")[:900], "not an image|truncated", id="half a TIFF"),
        pytest.param(png_by_hand(np.zeros((1, 3), np.uint8), 2, 13_378, 13_378), "178 megapixels", id="a bomb"),
    ],
)
def test_incomplete_and_invalid_images_are_unreadable(data: bytes, reason: str) -> None:
    with pytest.raises(images.Unreadable, match=reason):
        images.decode_image(data, SIDE)


def test_the_pixel_limit_is_178_megapixels_and_counts_both_sides(monkeypatch: pytest.MonkeyPatch) -> None:
    assert images.MAX_PIXELS // 10**6 == 178
    monkeypatch.setattr(images, "MAX_PIXELS", 20 * 30)
    assert images.decode_image(encoded(noise(0, 20, 30)), SIDE).shape == (SIDE, SIDE, 3)
    with pytest.raises(images.Unreadable, match="20 x 31 pixels"):
        images.decode_image(encoded(noise(0, 31, 20)), SIDE)


def test_a_postscript_file_is_not_handed_to_another_program(monkeypatch: pytest.MonkeyPatch) -> None:
    def run(*args: object, **kwargs: object) -> None:
        raise AssertionError("another program was started")

    monkeypatch.setattr("subprocess.check_call", run)
    monkeypatch.setattr("subprocess.Popen", run)
    document = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 9 9\n%%EndComments\nshowpage\n"
    with pytest.raises(images.Unreadable, match="known format"):
        images.decode_image(document, 16)
