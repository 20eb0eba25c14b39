"""Memories of whole images: what is stored is larger than what the network is given."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from codec_samples import natural
from PIL import Image

from toolkit.codecs.original import give_originals, refuse_originals
from toolkit.codecs.spec import expand_grid, is_lossless, is_raw, parse_codec, with_store, without_store
from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset
from toolkit.data.images import framed_array
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory.store import ExemplarMemory

SHAPES = ((80, 120), (120, 80), (80, 80), (90, 70), (80, 120))
INNER = ("raw", "png", "jpeg:quality=80", "webp:quality=60", "jxl:lossless=yes", "avif:quality=60", "cp:rank=6")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of PNG files of several shapes."""
    for number, name in enumerate(("one", "two")):
        (tmp_path / "data" / name).mkdir(parents=True)
        for place, (height, width) in enumerate(SHAPES * 2):
            pixels = natural(1, 120, seed=100 * number + place)[0][:height, :width]
            Image.fromarray(pixels).save(tmp_path / "data" / name / f"{place}.png")
    return tmp_path / "data"


@pytest.fixture
def dataset(folder: Path) -> ImageDataset:
    return load_dataset(str(folder), "32x40")


def sources(folder: Path, dataset: ImageDataset) -> list[np.ndarray]:
    """The pixels of the file of each training image."""
    files = [np.asarray(Image.open(path)) for path in sorted(folder.rglob("*.png"))]
    crops = [framed_array(pixels, "32x40") for pixels in files]
    found = []
    for image in np.asarray(dataset.train.images):
        (place,) = [place for place, crop in enumerate(crops) if np.array_equal(crop, image)]
        found.append(files[place])
    return found


def scaled(pixels: np.ndarray, side: int) -> np.ndarray:
    """By Pillow alone."""
    least = min(pixels.shape[:2])
    if least <= side:
        return pixels
    size = tuple(round(length * side / least) for length in (pixels.shape[1], pixels.shape[0]))
    return np.asarray(Image.fromarray(pixels).resize(size, Image.Resampling.BICUBIC))  # type: ignore[arg-type]


@pytest.mark.parametrize("side", [48, 75, 200])
def test_a_lossless_codec_stores_the_scaled_sources(folder: Path, dataset: ImageDataset, side: int) -> None:
    codec, images = parse_codec(f"store:side={side}|png"), np.asarray(dataset.train.images)
    give_originals([codec], dataset.originals)
    payloads = codec.encode(images)
    wholes = [scaled(pixels, side) for pixels in sources(folder, dataset)]
    for stored, expected in zip(codec.decode_whole(payloads), wholes, strict=True):  # type: ignore[attr-defined]
        np.testing.assert_array_equal(stored, expected)
    decoded = codec.decode(payloads, (32, 40))
    for image, expected in zip(decoded, wholes, strict=True):
        np.testing.assert_array_equal(image, framed_array(expected, "32x40"))
    pixels = [codec.stored_pixels(payload) for payload in payloads]  # type: ignore[attr-defined]
    assert pixels == [one[..., 0].size for one in wholes]
    if side == 200:  # no source is smaller: the only scaling is the dataset's
        np.testing.assert_array_equal(decoded, images)


@pytest.mark.parametrize("inner", INNER)
def test_every_codec_stores_images_of_any_shape(folder: Path, dataset: ImageDataset, inner: str) -> None:
    codec, images = parse_codec(f"store:side=64|{inner}"), np.asarray(dataset.train.images)
    give_originals([codec], dataset.originals)
    payloads = codec.encode(images)
    reader = parse_codec(str(codec))
    reader.load_shared(codec.shared_state())
    wholes = [scaled(pixels, 64) for pixels in sources(folder, dataset)]
    for stored, expected in zip(reader.decode_whole(payloads), wholes, strict=True):  # type: ignore[attr-defined]
        alone = parse_codec(inner)
        np.testing.assert_array_equal(stored, alone.decode(alone.encode(expected[None]))[0])
    np.testing.assert_array_equal(reader.decode(payloads, (32, 40)), codec.decode(payloads, (32, 40)))
    with pytest.raises(WorkError, match="different sizes"):
        reader.decode(payloads, (32, 32))


def test_other_shapes_cost_a_few_bytes(dataset: ImageDataset) -> None:
    images = np.asarray(dataset.train.images)
    for inner, most in (("raw", 4), ("jpeg:quality=50", 40), ("webp:quality=50", 40), ("png", 60)):
        codec = parse_codec(f"store:side=64|{inner}")
        give_originals([codec], dataset.originals)
        for payload, whole in zip(codec.encode(images), codec.whole_of(images), strict=True):  # type: ignore[attr-defined]
            alone = parse_codec(inner)
            assert len(payload) <= len(alone.encode(whole[None])[0]) + most


def test_files_of_a_store_are_the_whole_images(folder: Path, dataset: ImageDataset) -> None:
    codec, images = parse_codec("store:side=64|downscale:factor=2|png"), np.asarray(dataset.train.images)
    give_originals([codec], dataset.originals)
    height, width = scaled(sources(folder, dataset)[0], 64).shape[:2]
    with Image.open(io.BytesIO(codec.to_file(codec.encode(images)[0]))) as file:
        assert file.size == (-(-width // 2), -(-height // 2))
    assert codec.extension == "png"


def test_a_memory_of_whole_images_opens_anywhere(dataset: ImageDataset, tmp_path: Path) -> None:
    codec, path = parse_codec("store:side=64|jpeg:quality=80"), tmp_path / "m.recall"
    give_originals([codec], dataset.originals)
    images = np.asarray(dataset.train.images)
    with ExemplarMemory(path, 2**20, codec) as memory:
        memory.add_images({label: images[dataset.train.labels == label] for label in (0, 1)})
        first = memory.decode(0)
    with ExemplarMemory(path) as memory:
        np.testing.assert_array_equal(memory.decode(0), first)
        assert memory.verify() == []


def test_arrays_and_drawings_are_stored_whole_too(tmp_path: Path) -> None:
    pixels = np.stack([natural(1, 64, seed=seed)[0][:40] for seed in range(8)])
    labels = np.arange(8) % 2
    np.savez(tmp_path / "a.npz", train_images=pixels, train_labels=labels, test_images=pixels, test_labels=labels)
    dataset = load_dataset(str(tmp_path / "a.npz"), 24)
    codec = parse_codec("store:side=40|raw")
    give_originals([codec], dataset.originals)
    stored = codec.decode_whole(codec.encode(np.asarray(dataset.train.images)))  # type: ignore[attr-defined]
    assert [one.shape for one in stored] == [(40, 64, 3)] * 8
    assert sorted(one.tobytes() for one in stored) == sorted(one.tobytes() for one in pixels)


@pytest.mark.parametrize(
    ("spec", "reason"),
    [
        ("store:side=64", "wraps another codec"),
        ("store:side=64|original", "store cannot wrap original"),
        ("store:side=64|adaptive", "store cannot wrap adaptive"),
        ("store:side=64|features:bits=4", "stores no image"),
        ("downscale:factor=2|store:side=64|raw", "store must come first"),
        ("store:side=64|store:side=64|raw", "store must come first"),
        ("store:side=4|raw", "8"),
        ("store:side=2000|raw", "1024"),
    ],
)
def test_what_cannot_be_stored_whole_is_refused(spec: str, reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        parse_codec(spec)


def test_less_than_the_network_is_given_cannot_be_stored(dataset: ImageDataset) -> None:
    codec = parse_codec("store:side=39|raw")
    give_originals([codec], dataset.originals)
    with pytest.raises(UsageError, match="its side must be at least 40 for images of 32x40 pixels"):
        codec.encode(np.asarray(dataset.train.images))


def test_sources_that_are_missing_are_named(folder: Path, dataset: ImageDataset) -> None:
    codec, images = parse_codec("store:side=64|raw"), np.asarray(dataset.train.images)
    with pytest.raises(UsageError, match="needs the sources of a dataset"):
        codec.encode(images)
    with pytest.raises(UsageError, match=r"a sharded memory cannot use store:side=64\|raw"):
        refuse_originals(codec, "a sharded memory")
    give_originals([codec], dataset.originals)
    with pytest.raises(WorkError, match="no source in its dataset"):
        codec.encode(np.zeros((1, 32, 40, 3), np.uint8))
    for path in folder.rglob("*.png"):
        path.unlink()
    with pytest.raises(WorkError, match="cannot be read"):
        codec.encode(images)


@pytest.mark.parametrize("damage", [b"", b"\x80", b"\x80\x80\x80\x80\x80", b"\x00\x20", b"\x41\x41" + bytes(20)])
def test_damaged_payloads_are_named(dataset: ImageDataset, damage: bytes) -> None:
    codec = parse_codec("store:side=64|jpeg:quality=80")
    give_originals([codec], dataset.originals)
    codec.encode(np.asarray(dataset.train.images))
    with pytest.raises(WorkError):
        codec.decode([damage], (32, 40))


def test_a_grid_is_stored_except_for_what_says_its_own() -> None:
    grid = " raw; jpeg:quality={10,50};original ;features:bits=4;store:side=300|png; downscale:factor=2|webp:quality=5;"
    assert expand_grid(with_store(grid, 256)) == [
        "store:side=256|raw",
        "store:side=256|jpeg:quality=10",
        "store:side=256|jpeg:quality=50",
        "original",
        "features:bits=4",
        "store:side=300|png",
        "store:side=256|downscale:factor=2|webp:quality=5",
    ]
    assert with_store(grid, None) == grid
    assert without_store("store:side=256|downscale:factor=2|raw") == "downscale:factor=2|raw"
    assert [is_raw(spec) for spec in ("raw", "store:side=256|raw", "png", "downscale:factor=2|raw")] == [
        True,
        True,
        False,
        False,
    ]
    assert not is_lossless("store:side=256|png")
