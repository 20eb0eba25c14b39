"""How many bytes: fixed images against recorded counts, real images against Pillow's files."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from codec_samples import flat, natural
from PIL import Image

from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset


@pytest.mark.parametrize(
    ("spec", "size", "file_bytes", "stored_bytes", "shared_bytes"),
    [
        ("png", 32, 2029, 1977, 64),
        ("webp:quality=50", 32, 250, 226, 44),
        ("webp:lossless=yes", 32, 1487, 1467, 36),
        ("jpeg:quality=50,entropy=huffman", 32, 868, 244, 632),
        ("jpeg:quality=50,subsampling=420,entropy=huffman", 32, 790, 166, 632),
        ("jpeg:quality=75,entropy=huffman", 96, 2033, 1409, 632),
        ("avif:quality=40", 32, 440, 155, 301),
        ("jxl:quality=60", 32, 237, 199, 51),
        ("jxl:lossless=yes", 32, 1347, 1339, 22),
        ("jpeg2000:psnr=31", 32, 463, 324, 151),
        ("downscale:factor=2|jpeg:quality=50,entropy=huffman", 64, 832, 208, 636),
    ],
)
def test_fixed_images_cost_the_recorded_bytes(
    spec: str, size: int, file_bytes: int, stored_bytes: int, shared_bytes: int
) -> None:
    codec = parse_codec(spec)
    payloads = codec.encode(natural(12, size))
    assert np.mean([len(codec.to_file(payload)) for payload in payloads]) == pytest.approx(file_bytes, rel=0.03)
    assert np.mean([len(payload) for payload in payloads]) == pytest.approx(stored_bytes, rel=0.03)
    assert codec.shared_bytes() == pytest.approx(shared_bytes, rel=0.1)


@pytest.mark.parametrize(
    "spec", ["png", "webp:quality=50", "jpeg:quality=50", "avif:speed=10", "jxl:effort=3", "jpeg2000"]
)
def test_a_stored_exemplar_never_costs_more_than_its_file_and_a_byte(spec: str) -> None:
    codec = parse_codec(spec)
    for images in (natural(8, 32), flat(32)):
        for payload in codec.encode(images):
            assert len(payload) <= len(codec.to_file(payload)) + 1


@pytest.mark.parametrize("size", [8, 32, 64])
def test_all_bytes_before_a_jpegs_first_pixel_are_shared(size: int) -> None:
    codec = parse_codec("jpeg:quality=50,entropy=huffman")
    for payload in codec.encode(natural(8, size)):
        file = codec.to_file(payload)
        scan = file.index(b"\xff\xda")
        first_pixel = scan + 2 + int.from_bytes(file[scan + 2 : scan + 4], "big")
        assert len(payload) == 1 + len(file) - first_pixel - len(b"\xff\xd9")


@pytest.mark.parametrize(
    ("spec", "size", "options", "largest_ratio"),
    [
        ("jpeg:quality=50,subsampling=420", 32, {"format": "JPEG", "quality": 50}, 0.30),
        ("jpeg:quality=50,subsampling=420", 64, {"format": "JPEG", "quality": 50}, 0.64),
        ("avif:quality=40,speed=6", 32, {"format": "AVIF", "quality": 40, "speed": 6, "subsampling": "4:4:4"}, 0.38),
    ],
)
def test_real_images_cost_a_fraction_of_pillows_files(
    real_data: Path, spec: str, size: int, options: dict, largest_ratio: float
) -> None:
    dataset = load_dataset(str(real_data / "tiny-imagenet-20"), size)
    images = dataset.train.images[dataset.stratified_train_indices(200, seed=0)]
    ordinary = 0
    for image in images:
        file = io.BytesIO()
        Image.fromarray(image).save(file, **options)
        ordinary += len(file.getvalue())
    assert sum(map(len, parse_codec(spec).encode(images))) <= largest_ratio * ordinary
