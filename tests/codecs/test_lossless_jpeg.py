"""JPEG files under the context model: the same bytes again, fewer stored, damage refused."""

from __future__ import annotations

import io
import tempfile
from dataclasses import replace
from pathlib import Path

import jpeglib
import numpy as np
import pytest
from codec_samples import flat, natural, noise
from PIL import Image

from toolkit.codecs.lossless_jpeg.frame import frame_of, scan_start
from toolkit.codecs.lossless_jpeg.model import (
    CONTEXTS,
    count_decisions,
    decode_coefficients,
    encode_coefficients,
    prior,
)
from toolkit.codecs.lossless_jpeg.packing import ContextPacking
from toolkit.codecs.lossless_jpeg.scan import read_scan, write_scan
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.foundation.errors import WorkError

IMAGE = natural(1, 96)[0]
PLAIN = {"quality": 75}
KINDS = {
    "4:2:0": PLAIN,
    "4:4:4": {"subsampling": 0},
    "4:2:2": {"subsampling": 1},
    "own Huffman tables": {"optimize": True},
    "quality 100": {"quality": 100},
    "quality 1": {"quality": 1},
    "grey": {"mode": "L"},
    "metadata": {"exif": b"Exif\0\0" + bytes(range(256)) * 8},
    "progressive": {"progressive": True},
    "restart intervals": {"restart_marker_blocks": 2},
    "CMYK": {"mode": "CMYK"},
}
STORED_WHOLE = ("progressive", "restart intervals", "CMYK")


def jpeg(image: np.ndarray = IMAGE, mode: str = "RGB", **options: object) -> bytes:
    file = io.BytesIO()
    Image.fromarray(image).convert(mode).save(file, "JPEG", **options)
    return file.getvalue()


def coefficients_of(file: bytes) -> tuple[np.ndarray, ...]:
    frame = frame_of(file[: scan_start(file)])
    assert frame is not None
    values = read_scan(file, frame)
    assert values is not None
    return values, frame


@pytest.fixture(scope="module")
def packing() -> ContextPacking:
    return ContextPacking.learn([jpeg(**PLAIN)])


@pytest.mark.parametrize("kind", ["4:2:0", "4:4:4", "4:2:2", "own Huffman tables", "quality 100", "quality 1", "grey"])
@pytest.mark.parametrize(("height", "width"), [(96, 96), (31, 70), (8, 8), (1, 1)])
def test_coefficients_are_those_that_libjpeg_reads(kind: str, height: int, width: int) -> None:
    file = jpeg(IMAGE[:height, :width], **KINDS[kind])
    values, frame = coefficients_of(file)
    with tempfile.NamedTemporaryFile(suffix=".jpg") as stored:
        Path(stored.name).write_bytes(file)
        known = jpeglib.read_dct(stored.name)
    places = np.array(
        [
            *(0, 1, 8, 16, 9, 2, 3, 10, 17, 24, 32, 25, 18, 11, 4, 5, 12, 19, 26, 33, 40, 48, 41, 34, 27, 20, 13, 6),
            *(7, 14, 21, 28, 35, 42, 49, 56, 57, 50, 43, 36, 29, 22, 15, 23, 30, 37, 44, 51, 58, 59, 52, 45, 38, 31),
            *(39, 46, 53, 60, 61, 54, 47, 55, 62, 63),
        ]
    )
    for number, plane in enumerate(filter(lambda one: one is not None, (known.Y, known.Cb, known.Cr))):
        rows, columns = plane.shape[:2]
        start = frame.starts[number]
        blocks = values[start : start + 64 * frame.blocks[number].prod()].reshape(*frame.blocks[number], 64)
        np.testing.assert_array_equal(blocks[:rows, :columns], plane.reshape(rows, columns, 64)[..., places])


@pytest.mark.parametrize("kind", KINDS)
@pytest.mark.parametrize("coding", ["context", "huffman", "jxl"])
@pytest.mark.parametrize(("height", "width"), [(96, 96), (17, 40), (1, 1)])
def test_every_file_comes_back_to_the_byte(
    packing: ContextPacking, kind: str, coding: str, height: int, width: int
) -> None:
    file = jpeg(IMAGE[:height, :width], **KINDS[kind])
    payload = replace(packing, coding=coding).strip(file)
    assert ContextPacking.from_bytes(packing.to_bytes()).restore(payload) == file


@pytest.mark.parametrize("file", [b"", b"no picture", b"\x89PNG\r\n", jpeg()[:-200], jpeg() + b"more", jpeg()[:300]])
def test_what_is_no_intact_jpeg_file_is_kept_as_it_is(packing: ContextPacking, file: bytes) -> None:
    for coding in ("context", "huffman", "jxl"):
        assert packing.restore(replace(packing, coding=coding).strip(file)) == file


@pytest.mark.parametrize("kind", [kind for kind in KINDS if kind not in STORED_WHOLE])
def test_streams_are_a_tenth_smaller_than_scans_at_least(packing: ContextPacking, kind: str) -> None:
    file = jpeg(**KINDS[kind])
    values, frame = coefficients_of(file)
    stream = encode_coefficients(values, frame)
    scan = write_scan(values, frame)
    assert scan is not None
    assert file[len(frame.header) :] == scan + b"\xff\xd9"
    assert len(stream) < (1.0 if kind == "quality 100" else 0.9) * len(scan)  # texture of noise
    assert len(packing.strip(file)) <= len(stream) + 1 + (0 if kind == "4:2:0" else 600)


@pytest.mark.parametrize("images", [flat(64), noise(1, 64)], ids=["flat", "noise"])
def test_extreme_images_come_back(images: np.ndarray) -> None:
    for quality in (1, 50, 100):
        values, frame = coefficients_of(jpeg(images[0], quality=quality))
        decoded = decode_coefficients(encode_coefficients(values, frame), frame)
        np.testing.assert_array_equal(decoded, values)


def test_coefficients_of_any_value_come_back() -> None:
    _, frame = coefficients_of(jpeg(**PLAIN))
    rng = np.random.default_rng(0)
    for most in (1, 40, 2047):
        values = rng.integers(-most, most + 1, frame.coefficients).astype(np.int16)
        np.testing.assert_array_equal(decode_coefficients(encode_coefficients(values, frame), frame), values)


def test_damaged_payloads_are_refused_at_every_byte(packing: ContextPacking) -> None:
    file = jpeg(IMAGE[:48, :48], **PLAIN)
    payload = packing.strip(file)
    for place in range(len(payload)):
        for damaged in (payload[:place], payload[:place] + bytes([payload[place] ^ 16]) + payload[place + 1 :]):
            with pytest.raises(WorkError):
                packing.restore(damaged)
    with pytest.raises(WorkError):
        packing.restore(payload + b"\0")


def test_streams_of_random_bytes_end_in_values_or_are_refused() -> None:
    _, frame = coefficients_of(jpeg(**PLAIN))
    rng = np.random.default_rng(0)
    streams = [rng.bytes(int(rng.integers(0, 600))) for _ in range(300)]
    accepted = [found for stream in streams if (found := decode_coefficients(stream, frame)) is not None]
    assert len(accepted) < 30  # payloads have a checksum besides


@pytest.mark.parametrize(
    "change",
    [
        lambda header: header[:-1],
        lambda header: header.replace(b"\xff\xc0", b"\xff\xc2"),  # progressive
        lambda header: header.replace(b"\xff\xc0", b"\xff\xc9"),  # arithmetic-coded
        lambda header: header.replace(b"\xff\xc0\x00\x11\x08", b"\xff\xc0\x00\x11\x0c"),  # 12 bits
        lambda header: header.replace(b"\x00\x60\x00\x60", b"\xff\xff\xff\xff"),  # 65,535 x 65,535 pixels
        lambda header: header.replace(b"\x01\x22\x00", b"\x01\x42\x00"),  # 4:1:1
        lambda header: header.replace(b"\x01\x22\x00", b"\x01\x00\x00"),
        lambda header: header.replace(b"\xff\xdb", b"\xff\xfe", 1),  # no luma table
        lambda header: header.replace(b"\xff\xc4", b"\xff\xfe", 1),
    ],
)
def test_headers_that_cannot_be_coded_have_no_frame(change: object) -> None:
    file = jpeg(**PLAIN)
    header = file[: scan_start(file)]
    assert frame_of(header) is not None
    assert change(header) != header  # type: ignore[operator]
    assert frame_of(change(header)) is None  # type: ignore[operator]


def test_tables_without_a_code_for_a_value_are_refused(packing: ContextPacking) -> None:
    values, frame = coefficients_of(jpeg(**PLAIN))
    values = values.copy()
    values[1] = 20_000  # libjpeg's tables end at 10 bits
    assert write_scan(values, frame) is None


def test_priors_are_probabilities_and_decisions_are_counted_once() -> None:
    probabilities, seen = prior()
    assert probabilities.shape == seen.shape == (CONTEXTS,)
    assert probabilities.min() >= 48
    assert probabilities.max() <= 2**16 - 48
    values, frame = coefficients_of(jpeg(**PLAIN))
    counts = np.zeros((CONTEXTS, 2), np.int64)
    count_decisions(values, frame, counts)
    once = counts.copy()
    count_decisions(values, frame, counts)
    np.testing.assert_array_equal(counts, 2 * once)
    ac = values.reshape(-1, 64)[:, 1:]
    signs = slice(_signs_start(), _signs_start() + 2 * 64 * 9)
    assert once[signs].sum() == np.count_nonzero(ac)
    assert once[signs, 1].sum() == (ac < 0).sum()


def _signs_start() -> int:
    return 2 * 10 * 3 * 64 + 2 * 64 * 8 * 8 + 2 * 64 * 8 * 12 + 2 * 64 * 12


@pytest.mark.parametrize("spec", ["jpeg:quality=50", "jpeg:quality=90,subsampling=420"])
def test_pixels_and_files_are_those_of_huffman_codes(spec: str) -> None:
    context, huffman = parse_codec(spec), parse_codec(f"{spec},entropy=huffman")
    images = np.concatenate([natural(6, 64), flat(64), noise(2, 64)])
    mine, other = context.encode(images), huffman.encode(images)
    assert [context.to_file(payload) for payload in mine] == [huffman.to_file(payload) for payload in other]
    np.testing.assert_array_equal(context.decode(mine), huffman.decode(other))
    assert context.shared_bytes() < 0.3 * huffman.shared_bytes()


def test_payloads_of_either_coding_are_decoded_whatever_the_spec_says() -> None:
    images = natural(3, 32)
    huffman, context = parse_codec("jpeg:quality=50,entropy=huffman"), parse_codec("jpeg:quality=50")
    for written, reader in ((huffman, context), (context, huffman)):
        payloads = written.encode(images)
        fresh = parse_codec(str(reader))
        fresh.load_shared(written.shared_state())
        np.testing.assert_array_equal(fresh.decode(payloads), written.decode(payloads))


@pytest.mark.parametrize(("name", "size"), [("tiny-imagenet-20", 32), ("tiny-imagenet-20", 64), ("grocery24", 224)])
@pytest.mark.parametrize("quality", [20, 50, 90])
def test_real_images_take_a_tenth_less_at_every_size(real_data: Path, name: str, size: int, quality: int) -> None:
    images = load_dataset(str(real_data / name), size).test.images[::50][:20]
    sizes = {}
    for entropy in ("context", "huffman"):
        codec = parse_codec(f"jpeg:quality={quality},entropy={entropy}")
        sizes[entropy] = sum(map(len, codec.encode(np.ascontiguousarray(images))))
    assert sizes["context"] < 0.9 * sizes["huffman"]
