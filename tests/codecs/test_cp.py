"""CP decompositions of images."""

from __future__ import annotations

import numpy as np
import pytest
from codec_samples import flat, natural, noise, psnr

from toolkit.codecs.base import Codec
from toolkit.codecs.cp import compose, decompose
from toolkit.codecs.spec import parse_codec
from toolkit.foundation.errors import UsageError, WorkError


def outer(seed: int, height: int = 32, width: int = 32) -> np.ndarray:
    """One image of rank 1, uint8 (1, height, width, 3)."""
    rng = np.random.default_rng(seed)
    image = np.einsum("i,j,k->ijk", rng.uniform(0.3, 1, height), rng.uniform(0.3, 1, width), rng.uniform(0.4, 1, 3))
    return np.rint(255 * image).astype(np.uint8)[None]


@pytest.mark.parametrize("seed", range(5))
def test_an_image_of_rank_one_is_restored_up_to_rounding(seed: int) -> None:
    image = outer(seed)
    a, b, c = decompose(image / 255.0, 1)
    assert np.abs(compose((a, b, c)) * 255 - image).max() < 1.5, "pixels are rounded, so the rank is not quite 1"
    halves, bytes_ = parse_codec("cp:rank=1,dtype=float16"), parse_codec("cp:rank=1")
    assert np.abs(halves.decode(halves.encode(image)).astype(int) - image).max() <= 2
    assert np.abs(bytes_.decode(bytes_.encode(image)).astype(int) - image).max() <= 3


@pytest.mark.parametrize("rank", [1, 3, 8])
def test_a_grey_image_is_as_good_as_its_truncated_singular_values(rank: int) -> None:
    grey = natural(4, 32).mean(axis=3).astype(np.uint8)
    images = np.repeat(grey[..., None], 3, axis=3) / 255.0
    error = np.square(compose(decompose(images, rank)) - images).sum(axis=(1, 2, 3))
    singular = np.linalg.svd(grey / 255.0, compute_uv=False)
    np.testing.assert_allclose(error, 3 * np.square(singular[:, rank:]).sum(axis=1), rtol=1e-6, atol=1e-9)


def test_channels_of_rank_one_each_make_an_image_of_rank_three() -> None:
    channels = [outer(seed)[0, :, :, 0] / 255.0 for seed in range(3)]
    image = np.stack(channels, axis=2)[None]
    assert np.square(compose(decompose(image, 3)) - image).mean() < 5e-4


@pytest.mark.parametrize(("height", "width"), [(32, 32), (33, 20), (64, 48)])
@pytest.mark.parametrize("rank", [1, 6, 20])
def test_bytes_are_counted_as_stored(height: int, width: int, rank: int) -> None:
    images = natural(2, 64)[:, :height, :width]
    numbers = rank * (height + width + 3)
    for dtype, expected in (("uint8", numbers + 12 * rank), ("float16", 2 * numbers)):
        codec = parse_codec(f"cp:rank={rank},dtype={dtype}")
        payloads = codec.encode(images)
        assert [len(payload) for payload in payloads] == [expected] * 2
        assert codec.shared_bytes() == 4
        assert codec.decode(payloads).shape == images.shape
        assert len(codec.to_file(payloads[0])) == expected + 4


def test_a_larger_rank_loses_less() -> None:
    images = natural(6, 32)
    quality = []
    for rank in (1, 3, 6, 12, 24):
        codec = parse_codec(f"cp:rank={rank}")
        quality.append(psnr(codec.decode(codec.encode(images)), images).mean())
    assert np.all(np.diff(quality) > 0.5)


def test_uint8_loses_little_compared_with_float16() -> None:
    images = natural(6, 32)
    coarse, fine = parse_codec("cp:rank=6"), parse_codec("cp:rank=6,dtype=float16")
    lost = [psnr(codec.decode(codec.encode(images)), images).mean() for codec in (fine, coarse)]
    assert lost[0] - lost[1] < 0.3


@pytest.mark.parametrize("dtype", ["uint8", "float16"])
def test_an_image_does_not_depend_on_its_batch_and_decodes_elsewhere(dtype: str) -> None:
    images = np.concatenate([natural(70, 32), noise(2, 32), flat(32)])
    codec = parse_codec(f"cp:rank=4,dtype={dtype}")
    payloads = codec.encode(images)
    assert payloads[66:73] == codec.encode(images[66:73])
    fresh = parse_codec(str(codec))
    fresh.load_shared(codec.shared_state())
    assert np.array_equal(fresh.decode(payloads), codec.decode(payloads))
    assert np.abs(codec.decode(payloads)[72:].astype(int) - flat(32)).max() <= 3
    assert isinstance(codec, Codec)
    assert not codec.lossless


def test_damaged_payloads_are_refused_or_give_pixels() -> None:
    codec = parse_codec("cp:rank=2,dtype=float16")
    payload = codec.encode(natural(1, 16))[0]
    for length in range(len(payload)):
        with pytest.raises(WorkError, match="expected"):
            codec.decode([payload[:length]])
    assert codec.decode([b"\xff" * len(payload)]).shape == (1, 16, 16, 3), "not a number decodes to something"
    with pytest.raises(WorkError, match="fit or load"):
        parse_codec("cp").decode([payload])
    for state in (b"", b"\0\0\4\0", b"12345"):
        with pytest.raises(WorkError):
            parse_codec("cp").load_shared(state)


@pytest.mark.parametrize(
    ("spec", "told"),
    [
        ("cp:rank=0", r"1\.\.64"),
        ("cp:rank=65", r"1\.\.64"),
        ("cp:rank=2.5", r"1\.\.64"),
        ("cp:dtype=float32", r"uint8\|float16"),
        ("cp:quality=3", "rank, dtype"),
        ("cp|jpeg", "only a wrapper"),
    ],
)
def test_a_bad_spec_is_refused(spec: str, told: str) -> None:
    with pytest.raises(UsageError, match=told):
        parse_codec(spec)


def test_images_that_do_not_fit_are_refused() -> None:
    with pytest.raises(UsageError, match="at most the shorter side"):
        parse_codec("cp:rank=17").encode(natural(1, 32)[:, :16])
    with pytest.raises(UsageError, match="uint8"):
        parse_codec("cp").encode(natural(1, 32)[..., :1])
    codec = parse_codec("cp")
    codec.encode(natural(1, 32))
    with pytest.raises(UsageError, match="all images must have"):
        codec.encode(natural(1, 40))
