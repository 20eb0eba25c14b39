"""The learned-jpeg codec against Pillow's own files, and against the coefficients that jpeglib reads from its files."""

from __future__ import annotations

import io
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jpeglib
import numpy as np
import pytest
import scipy.fft
from codec_samples import flat, natural, noise, psnr
from learned_jpeg_samples import ODD, Build, standard, with_everything
from PIL import Image, JpegImagePlugin

from toolkit.codecs import learned_jpeg
from toolkit.codecs.jpeg_tables import QuantisationTables
from toolkit.codecs.spec import parse_codec
from toolkit.foundation import threads


def coefficients(file: bytes, folder: Path) -> Any:
    """Tables and indices of a JPEG file as libjpeg reads them."""
    path = folder / "read.jpg"
    path.write_bytes(file)
    return jpeglib.read_dct(str(path))


@pytest.fixture
def restored_threads() -> Iterator[None]:
    before = threads._threads
    yield
    threads.set_threads(before)


# -- the files ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("rounding", ["nearest", "deadzone", "sample"])
@pytest.mark.parametrize("subsampling", ["420", "444"])
def test_files_hold_the_tables_in_natural_order(tmp_path: Path, spec: Build, subsampling: str, rounding: str) -> None:
    tables = QuantisationTables(ODD.luma, ODD.chroma, np.full((2, 8, 8), 0.7), np.ones((2, 8, 8)))
    codec = parse_codec(spec(tables, f"shared=no,subsampling={subsampling},rounding={rounding}"))
    file = codec.encode(natural(1, 40))[0]
    read = coefficients(file, tmp_path)
    np.testing.assert_array_equal(read.qt, [ODD.luma, ODD.chroma])
    assert list(read.quant_tbl_no) == [0, 1, 1]
    with Image.open(io.BytesIO(file)) as image:
        assert (image.format, image.mode, image.size) == ("JPEG", "RGB", (40, 40))
        assert JpegImagePlugin.get_sampling(image) == {"444": 0, "420": 2}[subsampling]


@pytest.mark.parametrize("quality", [10, 50, 95])
@pytest.mark.parametrize("subsampling", ["420", "444"])
@pytest.mark.parametrize("size", [8, 33, 96])
def test_standard_tables_give_the_pixels_of_pillows_quality(
    spec: Build, quality: int, subsampling: str, size: int
) -> None:
    images = np.concatenate([natural(2, size), noise(1, size), flat(size)])
    codec = parse_codec(spec(QuantisationTables(*standard(quality)), f"shared=no,subsampling={subsampling}"))
    decoded = codec.decode(codec.encode(images))
    for image, ours in zip(images, decoded, strict=True):
        theirs = io.BytesIO()
        Image.fromarray(image).save(theirs, "JPEG", quality=quality, subsampling={"444": 0, "420": 2}[subsampling])
        with Image.open(theirs) as opened:
            np.testing.assert_array_equal(ours, np.asarray(opened))


@pytest.mark.parametrize(("size", "sampling"), [(8, "444"), (95, "444"), (96, "420"), (97, "420")])
@pytest.mark.parametrize("rounding", ["nearest", "deadzone"])
def test_automatic_subsampling_is_that_of_jpeg(spec: Build, size: int, sampling: str, rounding: str) -> None:
    tables, images = with_everything(50), natural(1, size)
    automatic = parse_codec(spec(tables, f"shared=no,rounding={rounding}"))
    explicit = parse_codec(spec(tables, f"shared=no,rounding={rounding},subsampling={sampling}"))
    assert automatic.encode(images) == explicit.encode(images)


@pytest.mark.parametrize("rounding", ["nearest", "deadzone", "sample"])
@pytest.mark.parametrize("size", [8, 33, 96])
def test_all_bytes_before_the_first_pixel_are_shared(spec: Build, size: int, rounding: str) -> None:
    shared = parse_codec(spec(with_everything(50), f"rounding={rounding},entropy=huffman"))
    ordinary = parse_codec(spec(with_everything(50), f"rounding={rounding},shared=no"))
    images = np.concatenate([natural(4, size), flat(size)])
    payloads, files = shared.encode(images), ordinary.encode(images)
    assert [shared.to_file(payload) for payload in payloads] == files
    for payload, file in zip(payloads, files, strict=True):
        scan = file.index(b"\xff\xda")
        first_pixel = scan + 2 + int.from_bytes(file[scan + 2 : scan + 4], "big")
        assert len(payload) == 1 + len(file) - first_pixel - len(b"\xff\xd9")
    assert shared.shared_bytes() == pytest.approx(632, rel=0.05)
    assert ordinary.shared_bytes() == 0
    fresh = parse_codec(str(shared))
    fresh.load_shared(shared.shared_state())
    np.testing.assert_array_equal(fresh.decode(payloads), ordinary.decode(files))


@pytest.mark.parametrize("rounding", ["nearest", "deadzone", "sample"])
@pytest.mark.parametrize("subsampling", ["420", "444"])
@pytest.mark.parametrize(("height", "width"), [(8, 8), (9, 17), (16, 24), (24, 16), (33, 31), (100, 90)])
def test_images_of_any_size_keep_their_size(
    spec: Build, height: int, width: int, subsampling: str, rounding: str
) -> None:
    images = np.concatenate([natural(3, 100), noise(1, 100)])[:, :height, :width]
    codec = parse_codec(spec(with_everything(75), f"subsampling={subsampling},rounding={rounding}"))
    nearest = parse_codec(spec(with_everything(75), f"subsampling={subsampling}"))
    decoded = codec.decode(codec.encode(images))
    assert decoded.shape == images.shape
    assert decoded.dtype == np.uint8
    loss = psnr(nearest.decode(nearest.encode(images)), images) - psnr(decoded, images)
    assert loss.max() < 2.5, "a block in the wrong place would cost more"
    assert not codec.lossless
    assert codec.weights_bytes() == 0


def test_the_size_is_written_into_the_frame_header_and_nowhere_else(tmp_path: Path, spec: Build) -> None:
    luma = np.full((8, 8), 9)
    luma[0, :2] = 255, 192  # the bytes of a frame header's marker, inside the table
    tables = QuantisationTables(luma, luma, np.full((2, 8, 8), 0.6))
    codec = parse_codec(spec(tables, "shared=no,rounding=deadzone"))
    file = codec.encode(natural(1, 33))[0]
    assert file.index(b"\xff\xc0") < file.index(b"\xff\xc0\x00\x11")
    read = coefficients(file, tmp_path)
    assert (read.height, read.width) == (33, 33)
    np.testing.assert_array_equal(read.qt[0], luma)


@pytest.mark.parametrize("rounding", ["nearest", "deadzone", "sample"])
def test_the_thread_count_changes_nothing(spec: Build, restored_threads: None, rounding: str) -> None:
    codec, images, results = parse_codec(spec(with_everything(50), f"rounding={rounding}")), natural(34, 128), []
    for count in (1, 2, 3):
        threads.set_threads(count)
        payloads = codec.encode(images)
        results.append((payloads, codec.decode(payloads)))
    for payloads, decoded in results[1:]:
        assert payloads == results[0][0]
        np.testing.assert_array_equal(decoded, results[0][1])


# -- the roundings -----------------------------------------------------------------------------------------------


def forward(image: np.ndarray, subsampling: str) -> list[np.ndarray]:
    """Float DCT coefficients of Y, Cb and Cr, (rows, columns, 8, 8) each, written down from the JFIF standard."""
    sides = [-side % (16 if subsampling == "420" else 8) for side in image.shape[:2]]
    padded = np.pad(image, ((0, sides[0]), (0, sides[1]), (0, 0)), mode="edge")
    red, green, blue = padded.astype(float).transpose(2, 0, 1)
    planes = [
        0.299 * red + 0.587 * green + 0.114 * blue - 128,
        -0.168735892 * red - 0.331264108 * green + 0.5 * blue,
        0.5 * red - 0.418687589 * green - 0.081312411 * blue,
    ]
    if subsampling == "420":
        planes[1:] = [(p[::2, ::2] + p[1::2, ::2] + p[::2, 1::2] + p[1::2, 1::2]) / 4 for p in planes[1:]]
    return [
        np.array(
            [
                [scipy.fft.dctn(plane[y : y + 8, x : x + 8], norm="ortho") for x in range(0, plane.shape[1], 8)]
                for y in range(0, plane.shape[0], 8)
            ]
        )
        for plane in planes
    ]


def expected(image: np.ndarray, tables: QuantisationTables, subsampling: str) -> list[np.ndarray]:
    """The dead zone's indices, by its definition."""
    assert tables.dead_zone is not None
    found = []
    for plane, number in zip(forward(image, subsampling), (0, 1, 1), strict=True):
        ratio = plane / tables.steps[number]
        index = np.copysign(np.maximum(np.floor(abs(ratio) + 0.5), 1), ratio)
        found.append(np.where(abs(ratio) < tables.dead_zone[number], 0, index).astype(int))
    return found


def matching(read: np.ndarray, wanted: np.ndarray) -> float:
    return float((read == wanted[: read.shape[0], : read.shape[1]]).mean())


@pytest.mark.parametrize("quality", [20, 50, 75])
@pytest.mark.parametrize("subsampling", ["420", "444"])
@pytest.mark.parametrize("size", [64, 100])
def test_on_photographs_libjpeg_arrives_at_the_chosen_indices(
    tmp_path: Path, spec: Build, real_data: Path, size: int, subsampling: str, quality: int
) -> None:
    files = sorted((real_data / "kodak").iterdir())[:6]
    crops = np.stack([np.asarray(Image.open(file).convert("RGB"))[80 : 80 + size, 200 : 200 + size] for file in files])
    tables = with_everything(quality)
    codec = parse_codec(spec(tables, f"shared=no,subsampling={subsampling},rounding=deadzone"))
    shares = []
    for image, file in zip(crops, codec.encode(crops), strict=True):
        read = coefficients(file, tmp_path)
        wanted = expected(image, tables, subsampling)
        shares.append([matching(*pair) for pair in zip((read.Y, read.Cb, read.Cr), wanted, strict=True)])
    assert np.mean(shares, axis=0).min() >= 0.99
    assert np.min(shares) >= 0.97, "least where colours are saturated: some indices stand for pixels outside 0..255"


@pytest.mark.parametrize("subsampling", ["420", "444"])
@pytest.mark.parametrize("size", [32, 41, 72])
def test_a_dead_zone_drops_small_coefficients_and_saves_bytes(
    tmp_path: Path, spec: Build, size: int, subsampling: str
) -> None:
    images = natural(8, size)
    sizes, zeros = [], []
    for dead_zone in (0.5, 0.6, 0.8, 1.2):
        tables = with_everything(60, dead_zone)
        files = parse_codec(spec(tables, f"shared=no,subsampling={subsampling},rounding=deadzone")).encode(images)
        sizes.append(sum(map(len, files)))
        read = [coefficients(file, tmp_path).Y for file in files]
        zeros.append(np.mean([(luma == 0).mean() for luma in read]))
    nearest = parse_codec(spec(with_everything(60), f"shared=no,subsampling={subsampling}")).encode(images)
    assert np.all(np.diff(sizes) < 0)
    assert np.all(np.diff(zeros) > 0)
    assert sizes[1] < sum(map(len, nearest))
    assert sizes[0] == pytest.approx(sum(map(len, nearest)), rel=0.005), "a threshold of half a step is no dead zone"


@pytest.mark.parametrize("subsampling", ["420", "444"])
@pytest.mark.parametrize("size", [8, 24, 33])
def test_flat_greys_give_the_same_file_with_a_dead_zone(spec: Build, size: int, subsampling: str) -> None:
    images = flat(size)[:3]  # greys: libjpeg rounds colours to whole YCbCr values before its DCT
    name = spec(with_everything(50, 0.5), f"shared=no,subsampling={subsampling}")
    assert parse_codec(f"{name},rounding=deadzone").encode(images) == parse_codec(name).encode(images)


@pytest.mark.parametrize(
    ("ratio", "dead_zone", "index"),
    [
        (0.49, 0.5, 0),
        (0.5, 0.5, 1),
        (0.7, 0.7, 1),
        (0.69, 0.7, 0),
        (1.2, 1.3, 0),
        (1.3, 1.3, 1),
        (1.99, 2, 0),
        (2.4, 2, 2),
        (2.6, 2, 3),
        (0.7, 0.6, 1),
        (1.4, 0.6, 1),
        (1.6, 0.6, 2),
        (0, 0.5, 0),
    ],
)
@pytest.mark.parametrize("sign", [1, -1])
def test_an_index_is_zero_below_the_threshold_and_otherwise_the_nearest(
    ratio: float, dead_zone: float, index: int, sign: int
) -> None:
    steps = np.arange(64).reshape(8, 8) + 1
    found = learned_jpeg.nearest_beyond_dead_zone(sign * ratio * steps * (1 + 1e-12), steps, np.full((8, 8), dead_zone))
    np.testing.assert_array_equal(found, np.full((8, 8), sign * index))


@pytest.mark.parametrize(
    ("z", "step", "alpha"), [(13.0, 10, 0.02), (-4.9, 10, 0.005), (0.0, 3, 0.3), (-250.2, 99, 4e-5)]
)
def test_indices_are_drawn_with_the_stated_probability(z: float, step: int, alpha: float) -> None:
    count = 4000
    drawn = learned_jpeg.sampled(
        np.full((count, 8, 8), z), np.full((8, 8), step), np.full((8, 8), alpha), np.random.default_rng(1)
    ).ravel()
    levels = sorted(range(-20, 20), key=lambda level: abs(z - level * step))[:5]
    weights = [np.exp(-alpha * (z - level * step) ** 2) for level in levels]
    for level, weight in zip(levels, weights, strict=True):
        probability = weight / sum(weights)
        bound = 5 * np.sqrt(probability * (1 - probability) / drawn.size)
        assert abs((drawn == level).mean() - probability) <= bound
    assert set(drawn) <= set(levels)


@pytest.mark.parametrize("alpha", [1e9, 1e300])
def test_the_sharpest_sampling_is_the_nearest_index(alpha: float) -> None:
    z = np.random.default_rng(2).normal(0, 300, (50, 8, 8))
    steps = ODD.luma
    drawn = learned_jpeg.sampled(z, steps, np.full((8, 8), alpha), np.random.default_rng(3))
    np.testing.assert_array_equal(drawn, np.rint(z / steps))


def test_sampling_is_the_same_for_the_same_pixels_alone_or_among_others(spec: Build) -> None:
    images = natural(5, 40)
    name = spec(with_everything(50), "shared=no,rounding=sample")
    together = parse_codec(name).encode(images)
    again = parse_codec(name)
    assert [again.encode(image[None])[0] for image in images[::-1]] == together[::-1]
    nearest = parse_codec(spec(with_everything(50))).encode(images)
    assert all(drawn != plain for drawn, plain in zip(together, nearest, strict=True))
