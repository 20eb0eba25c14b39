"""The cache of coded images: payloads always, decoded pixels only if they are asked for as a whole."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from codec_samples import natural

from toolkit.codecs.cache import CodedImages, coded_images
from toolkit.codecs.spec import parse_codec
from toolkit.foundation.errors import WorkError


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("RECALLRATE_CACHE", str(tmp_path))
    return tmp_path / "coded"


def coded(spec: str, images: np.ndarray) -> CodedImages:
    return coded_images(parse_codec(spec), images, "cache test")


def test_images_used_once_are_decoded_without_a_copy(cache: Path) -> None:
    images = natural(300, 24)
    found, codec = coded("jpeg:quality=50", images), parse_codec("jpeg:quality=50")
    expected = codec.decode(codec.encode(images))
    chosen = np.array([299, 0, 257, 3, 3])
    np.testing.assert_array_equal(found.images(chosen), expected[chosen])
    assert found.images(np.array([], np.int64)).shape == (0, 24, 24, 3)
    assert not list(cache.rglob("decoded.rgb"))
    assert sum(path.stat().st_size for path in cache.rglob("*") if path.is_file()) < images.nbytes / 4


def test_a_copy_of_all_images_is_kept_and_then_used(cache: Path) -> None:
    images = natural(300, 24)
    found = coded("webp:quality=50", images)
    before = found.images(np.arange(300))
    np.testing.assert_array_equal(found.decoded, before)
    (copy,) = cache.rglob("decoded.rgb")
    copy.write_bytes(bytes(images.nbytes))
    again = coded("webp:quality=50", images)
    assert not again.images(np.arange(5)).any()
    copy.write_bytes(b"cut")
    with pytest.raises(WorkError, match=r"the cached copy .* is damaged"):
        _ = coded("webp:quality=50", images).decoded


def test_lossless_codecs_give_the_images_themselves(cache: Path) -> None:
    images = natural(6, 24)
    found = coded("png", images)
    assert found.decoded is images
    np.testing.assert_array_equal(found.images(np.array([4, 1])), images[[4, 1]])
    assert not list(cache.rglob("decoded.rgb"))


def test_images_decoded_by_a_network_are_kept(cache: Path) -> None:
    found = coded("neural:model=small,quality=2", natural(6, 32))
    assert found.images(np.array([2])).shape == (1, 32, 32, 3)
    assert list(cache.rglob("decoded.rgb"))
