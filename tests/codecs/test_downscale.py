"""Downscaling around another codec."""

from __future__ import annotations

import io

import numpy as np
import pytest
from codec_samples import flat, natural, psnr
from PIL import Image

from toolkit.codecs.spec import parse_codec
from toolkit.foundation.errors import UsageError, WorkError


@pytest.mark.parametrize("inner", ["raw", "png", "jpeg:quality=50", "jpeg2000", "webp:quality=50,shared=no"])
@pytest.mark.parametrize(("size", "factor"), [(8, 2), (32, 4), (33, 2), (33, 3), (96, 16)])
def test_a_fresh_codec_restores_the_image_size(inner: str, size: int, factor: int) -> None:
    images = natural(3, size)
    codec = parse_codec(f"downscale:factor={factor}|{inner}")
    payloads = codec.encode(images)
    fresh = parse_codec(str(codec))
    fresh.load_shared(codec.shared_state())
    decoded = fresh.decode(payloads)
    assert decoded.shape == images.shape
    assert decoded.dtype == np.uint8
    assert np.array_equal(decoded, codec.decode(payloads))


@pytest.mark.parametrize("factor", [2, 4, 8])
def test_pixels_are_averaged_over_blocks(factor: int) -> None:
    images = natural(3, 32)
    blocks = images.reshape(3, 32 // factor, factor, 32 // factor, factor, 3).mean(axis=(2, 4))
    for payload, expected in zip(parse_codec(f"downscale:factor={factor}|raw").encode(images), blocks, strict=True):
        stored = np.frombuffer(payload, np.uint8).reshape(expected.shape)
        assert np.abs(stored - expected).max() <= 1, "rows and columns are rounded once each"


def test_decoding_scales_up_with_pillows_bicubic_filter() -> None:
    codec, images = parse_codec("downscale:factor=3|raw"), natural(2, 33)
    payloads = codec.encode(images)
    for payload, decoded in zip(payloads, codec.decode(payloads), strict=True):
        small = Image.frombytes("RGB", (11, 11), payload)
        assert np.array_equal(decoded, np.asarray(small.resize((33, 33), Image.Resampling.BICUBIC)))


def test_images_that_are_not_square_keep_their_sides() -> None:
    codec, images = parse_codec("downscale:factor=2|png"), natural(2, 40)[:, :, :23]
    payloads = codec.encode(images)
    with Image.open(io.BytesIO(codec.to_file(payloads[0]))) as file:
        assert file.size == (12, 20)
    assert codec.decode(payloads).shape == (2, 40, 23, 3)


def test_flat_images_stay_as_they_are() -> None:
    codec, images = parse_codec("downscale:factor=3|png"), flat(33)
    assert np.array_equal(codec.decode(codec.encode(images)), images)
    assert not codec.lossless


def test_the_file_is_that_of_the_inner_codec() -> None:
    codec, images = parse_codec("downscale:factor=2|jpeg:quality=50"), natural(2, 33)
    for payload in codec.encode(images):
        with Image.open(io.BytesIO(codec.to_file(payload))) as file:
            assert (file.format, file.size) == ("JPEG", (17, 17))
    assert codec.extension == "jpg"
    assert codec.weights_bytes() == 0


def test_the_original_size_costs_four_shared_bytes() -> None:
    inner, wrapped = parse_codec("jpeg:quality=50"), parse_codec("downscale:factor=2|jpeg:quality=50")
    inner.fit(natural(1, 16))
    wrapped.fit(natural(1, 32))
    assert wrapped.shared_state() == bytes([32, 0, 32, 0]) + inner.shared_state()
    assert wrapped.shared_bytes() == inner.shared_bytes() + 4


def test_wrappers_nest() -> None:
    images = natural(4, 64)
    twice, once = parse_codec("downscale:factor=2|downscale:factor=2|png"), parse_codec("downscale:factor=4|png")
    decoded = twice.decode(twice.encode(images))
    assert decoded.shape == images.shape
    assert abs(psnr(decoded, images).mean() - psnr(once.decode(once.encode(images)), images).mean()) < 1
    assert twice.shared_bytes() == once.shared_bytes() + 4


def test_a_larger_factor_stores_less_and_loses_more() -> None:
    images = natural(6, 64)
    quality, size = [], []
    for factor in (2, 4, 8, 16):
        codec = parse_codec(f"downscale:factor={factor}|png")
        payloads = codec.encode(images)
        quality.append(psnr(codec.decode(payloads), images).mean())
        size.append(sum(map(len, payloads)))
    assert np.all(np.diff(quality) < 0)
    assert np.all(np.diff(size) < 0)


@pytest.mark.parametrize("spec", ["downscale:factor=3|jpeg", "downscale:factor=2|downscale:factor=2|raw"])
def test_a_size_that_leaves_fewer_than_four_pixels_is_refused(spec: str) -> None:
    with pytest.raises(UsageError, match="leave fewer than 4"):
        parse_codec(spec).encode(natural(1, 8))


def test_decoding_without_the_size_is_refused() -> None:
    payloads = parse_codec("downscale|jpeg").encode(natural(2, 32))
    with pytest.raises(WorkError, match="shared size is missing"):
        parse_codec("downscale|jpeg").decode(payloads)
    with pytest.raises(WorkError, match="missing"):
        parse_codec("downscale|jpeg").to_file(payloads[0])


@pytest.mark.parametrize("state", [b"", b"\x20\0\x20", b"\0\0\x20\0", b"\x20\0\0\0", b"\x20\0\x20\0\x05"])
def test_a_damaged_state_is_refused(state: bytes) -> None:
    with pytest.raises(WorkError):
        parse_codec("downscale|jpeg").load_shared(state)
