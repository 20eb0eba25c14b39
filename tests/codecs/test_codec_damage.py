"""Damaged payloads and states raise WorkError and nothing else."""

from __future__ import annotations

import contextlib

import hostile
import imagecodecs
import numpy as np
import pytest
from codec_samples import natural, noise

from toolkit.codecs.spec import parse_codec
from toolkit.foundation.errors import WorkError

SPECS = tuple(spec for spec in hostile.SPECS if not spec.startswith(("cp", "adaptive", "foreground", "neural")))
SHARED = [spec for spec in SPECS if "shared=no" not in spec]


@pytest.mark.parametrize("spec", SPECS)
def test_hundreds_of_damaged_payloads_give_pixels_or_a_work_error(spec: str) -> None:
    codec = parse_codec(spec)
    payloads = codec.encode(np.concatenate([natural(3, 32), noise(1, 32)]))
    refused = 0
    for damaged in hostile.mutations(payloads, 400):
        try:
            decoded = codec.decode([damaged])
        except WorkError:
            refused += 1
        else:
            assert decoded.ndim == 4
            assert decoded.shape[3] == 3
            assert decoded.dtype == np.uint8
        with contextlib.suppress(WorkError):
            assert isinstance(codec.to_file(damaged), bytes)
    assert refused >= 50


@pytest.mark.parametrize("spec", SPECS)
@pytest.mark.parametrize("damaged", [b"", b"\xff", b"\xff\xd8", b"\xff" * 40], ids=["empty", "none", "start", "ones"])
def test_payloads_that_are_not_images_are_refused(spec: str, damaged: bytes) -> None:
    codec = parse_codec(spec)
    payloads = codec.encode(natural(2, 32))
    with pytest.raises(WorkError):
        codec.decode([damaged])
    with pytest.raises(WorkError):
        codec.decode([*payloads, damaged])


@pytest.mark.parametrize("spec", [spec for spec in SPECS if "shared=no" in spec])
def test_zeros_are_not_a_file(spec: str) -> None:
    with pytest.raises(WorkError, match="cannot be decoded"):
        parse_codec(spec).decode([bytes(400)])


@pytest.mark.parametrize("spec", SHARED)
def test_decoding_before_fitting_or_loading_is_refused(spec: str) -> None:
    payloads = parse_codec(spec).encode(natural(2, 32))
    with pytest.raises(WorkError, match="fit or load it before decoding"):
        parse_codec(spec).decode(payloads)


@pytest.mark.parametrize("spec", SHARED)
def test_a_damaged_shared_state_gives_a_work_error_here_or_when_decoding(spec: str) -> None:
    codec = parse_codec(spec)
    payloads = codec.encode(natural(2, 16))
    rng, state = np.random.default_rng(3), codec.shared_state()
    for _ in range(100):
        damaged = bytearray(state)
        damaged[int(rng.integers(min(12, len(state))))] ^= int(rng.integers(1, 256))
        fresh = parse_codec(spec)
        with contextlib.suppress(WorkError):
            fresh.load_shared(bytes(damaged)[: None if rng.integers(2) else int(rng.integers(len(state)))])
            assert fresh.decode(payloads).shape[3] == 3


def test_an_ordinary_file_codec_refuses_a_shared_header() -> None:
    state_of = parse_codec("jpeg:quality=50")
    state_of.fit(natural(1, 32))
    codec = parse_codec("jpeg:quality=50,shared=no")
    with pytest.raises(WorkError, match="no shared header"):
        codec.load_shared(state_of.shared_state())
    codec.load_shared(codec.shared_state())
    assert codec.shared_bytes() == 0


@pytest.mark.parametrize(
    ("spec", "other"), [("jpeg:quality=50", 40), ("png:shared=no", 40), ("jxl:effort=3,shared=no", 8)]
)
def test_exemplars_of_different_sizes_in_one_call_are_refused(spec: str, other: int) -> None:
    codec = parse_codec(spec)
    payloads = codec.encode(natural(1, 32)) + codec.encode(natural(1, other))
    with pytest.raises(WorkError, match="different sizes"):
        codec.decode(payloads)


def test_a_16_bit_file_or_one_with_alpha_among_the_exemplars_is_refused() -> None:
    codec = parse_codec("png:shared=no")
    for pixels in (
        natural(1, 32)[0].astype(np.uint16),
        np.zeros((32, 32, 4), np.uint8),
        np.zeros((32, 32, 2), np.uint8),
    ):
        with pytest.raises(WorkError, match="not an 8-bit RGB image"):
            codec.decode([bytes(imagecodecs.png_encode(np.ascontiguousarray(pixels)))])


def test_a_grey_file_is_refused_by_formats_that_write_none() -> None:
    codec = parse_codec("jxl:effort=3,shared=no")
    with pytest.raises(WorkError, match="colours other than RGB"):
        codec.decode([bytes(imagecodecs.jpegxl_encode(natural(1, 32)[0, :, :, 0], level=75, effort=3))])


@pytest.mark.parametrize("side", [b"\x7f\xff\xff\xff", b"\x00\x01\x00\x00"])
def test_a_jpeg2000_file_that_claims_a_huge_size_is_refused_unread(side: bytes) -> None:
    codec = parse_codec("jpeg2000:psnr=31,shared=no")
    file = codec.encode(natural(1, 32))[0]
    assert file[8:16] == b"\0\0\0\x20" * 2
    with pytest.raises(WorkError, match="claims to have"):
        codec.decode([file[:8] + side + side + file[16:]])


@pytest.mark.parametrize("state", [b"", b"\x20\0", b"\x20\0\x20\0\0", b"\0\0\x20\0", b"\x20\0\0\0"])
def test_raw_refuses_a_damaged_shape(state: bytes) -> None:
    with pytest.raises(WorkError, match="shape"):
        parse_codec("raw").load_shared(state)
