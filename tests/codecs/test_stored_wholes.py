"""Memories of whole images: what is stored is larger than what the network is given."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from codec_samples import by_class, natural
from PIL import Image

from toolkit.codecs.base import stored_pixels
from toolkit.codecs.cache import coded_images
from toolkit.codecs.original import give_originals, refuse_originals
from toolkit.codecs.spec import (
    codec_family,
    expand_grid,
    is_lossless,
    is_raw,
    parse_codec,
    stores_exactly,
    with_store,
    without_store,
)
from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset
from toolkit.data.images import framed_array
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory.export import export_files
from toolkit.memory.store import ExemplarMemory
from toolkit.pilots.plan import default_settings

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
    with ExemplarMemory(path, 2**20, codec) as memory:
        memory.add_images(by_class(dataset))
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


@pytest.mark.parametrize("inner", ["png", "jpeg:quality=50", "downscale:factor=2|png", "avif:quality=50"])
def test_grey_wholes_have_one_channel_in_any_order_after_loading(tmp_path: Path, inner: str) -> None:
    for name in ("one", "two"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for place, (height, width) in enumerate(SHAPES):
            grey = natural(1, 120, seed=place)[0][:height, :width, 0]
            Image.fromarray(grey).save(tmp_path / "data" / name / f"{place}.png")
    dataset = load_dataset(str(tmp_path / "data"), 32)
    images = np.asarray(dataset.train.images)
    codec = parse_codec(f"store:side=64|{inner}")
    give_originals([codec], dataset.originals)
    expected = codec.encode(images)
    for order in (np.arange(len(images)), np.arange(len(images))[::-1], np.roll(np.arange(len(images)), 2)):
        worker = parse_codec(str(codec))
        give_originals([worker], dataset.originals)
        worker.load_shared(codec.shared_state())
        assert worker.encode(images[order]) == [expected[place] for place in order]


@pytest.mark.parametrize("inner", ["png", "png:shared=no", "jpeg:quality=50"])
def test_a_grey_source_first_does_not_make_a_colour_set_grey(tmp_path: Path, inner: str) -> None:
    for name in ("one", "two"):
        (tmp_path / "data" / name).mkdir(parents=True)
        for place, (height, width) in enumerate(SHAPES):
            pixels = natural(1, 120, seed=place)[0][:height, :width]
            Image.fromarray(pixels if place else pixels[..., 0]).save(tmp_path / "data" / name / f"{place}.png")
    dataset = load_dataset(str(tmp_path / "data"), 32)
    images = np.asarray(dataset.train.images)
    found = []
    for order in (np.arange(len(images)), np.arange(len(images))[::-1]):
        codec = parse_codec(f"store:side=64|{inner}")
        give_originals([codec], dataset.originals)
        codec.fit(images[order])
        payloads = codec.encode(images[order])
        found.append([payloads[place] for place in np.argsort(order)])
        worker = parse_codec(str(codec))
        give_originals([worker], dataset.originals)
        worker.load_shared(codec.shared_state())
        assert worker.encode(images[order[::-1]])[::-1] == payloads
    assert [len(one) for one in found[0]] == [len(one) for one in found[1]]


def test_a_panorama_is_scaled_down_to_what_codecs_take(tmp_path: Path) -> None:
    (tmp_path / "data" / "one").mkdir(parents=True)
    (tmp_path / "data" / "two").mkdir()
    for place in range(6):
        pixels = np.full((40 + place, 2000, 3), 40 * place, np.uint8)
        Image.fromarray(pixels).save(tmp_path / "data" / ("one", "two")[place % 2] / f"{place}.png")
    dataset = load_dataset(str(tmp_path / "data"), 16)
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolkit.codecs.store.MAX_PIXELS", 20_000)
        codec = parse_codec("store:side=64|raw")
        give_originals([codec], dataset.originals)
        payloads = codec.encode(np.asarray(dataset.train.images))
        for whole in codec.decode_whole(payloads):  # type: ignore[attr-defined]
            assert 18_000 < whole[..., 0].size <= 20_000
            assert whole.shape[1] / whole.shape[0] == pytest.approx(2000 / 42, rel=0.1)


def test_blocks_hold_few_whole_images(dataset: ImageDataset, monkeypatch: pytest.MonkeyPatch) -> None:
    codec, images = parse_codec("store:side=64|jpeg:quality=80"), np.asarray(dataset.train.images)
    give_originals([codec], dataset.originals)
    payloads = codec.encode(images)
    decoded = codec.decode(payloads, (32, 40))
    held: list[int] = []
    whole_of, decode_whole = type(codec).whole_of, type(codec).decode_whole  # type: ignore[attr-defined]
    monkeypatch.setattr("toolkit.codecs.store._BLOCK_PIXELS", 3 * 64**2)
    monkeypatch.setattr(type(codec), "whole_of", lambda own, some: (held.append(len(some)), whole_of(own, some))[1])
    monkeypatch.setattr(
        type(codec), "decode_whole", lambda own, some: (held.append(len(some)), decode_whole(own, some))[1]
    )
    assert codec.encode(images) == payloads
    np.testing.assert_array_equal(codec.decode(payloads, (32, 40)), decoded)
    assert max(held) == 3


def test_pixels_are_those_of_the_image_that_is_kept(dataset: ImageDataset) -> None:
    images = np.asarray(dataset.train.images)
    assert stored_pixels(parse_codec("raw"), b"", 7) == 7
    halved = parse_codec("downscale:factor=2|jpeg:quality=50")
    assert stored_pixels(halved, halved.encode(images)[0], 32 * 40) == 32 * 40
    whole = parse_codec("store:side=64|downscale:factor=2|png")
    give_originals([whole], dataset.originals)
    for payload, kept in zip(whole.encode(images), whole.whole_of(images), strict=True):  # type: ignore[attr-defined]
        assert stored_pixels(whole, payload, 0) == kept[..., 0].size


def test_families_and_references_look_inside_a_store() -> None:
    assert codec_family("store:side=256|webp:lossless=yes") == "store | webp lossless"
    assert codec_family("store:side=256|webp:quality=50") == "store | webp"
    assert codec_family("store:side=256|downscale:factor=2|jpeg:quality=50") == "store | downscale | jpeg"
    exact = ["png", "store:side=64|png", "store:side=64|raw", "original"]
    assert all(map(stores_exactly, exact))
    assert not any(map(stores_exactly, ["jpeg:quality=90", "store:side=64|jpeg:quality=90"]))
    offered = ["store:side=64|raw", "store:side=64|png", "store:side=64|webp:quality=5", "store:side=64|jpeg:quality=5"]
    assert default_settings(offered) == [offered[0], offered[3]]
    assert default_settings(offered[:1]) == offered[:1]


def test_a_grid_with_codecs_in_braces_keeps_what_cannot_be_stored_whole() -> None:
    assert with_store("{original,png};{raw,jpeg:quality=5}", 64) == (
        "original;store:side=64|png;store:side=64|raw;store:side=64|jpeg:quality=5"
    )


@pytest.mark.parametrize("inner", ["raw", "png", "cp:rank=4"])
def test_an_export_shows_the_whole_images(dataset: ImageDataset, tmp_path: Path, inner: str) -> None:
    codec, images = parse_codec(f"store:side=64|{inner}"), np.asarray(dataset.train.images)
    give_originals([codec], dataset.originals)
    with ExemplarMemory(tmp_path / "m.recall", 2**20, codec) as memory:
        memory.add_images(by_class(dataset))
        export_files(memory, tmp_path / "files")
        shapes = {whole.shape for whole in codec.decode_whole(codec.encode(images))}  # type: ignore[attr-defined]
    found = {np.asarray(Image.open(path)).shape for path in (tmp_path / "files").rglob("*.png")}
    assert found == shapes


def test_a_cache_of_whole_images_follows_their_sources(tmp_path: Path) -> None:
    pixels = np.stack([natural(1, 64, seed=seed)[0][:40] for seed in range(4)])
    labels, path = np.arange(4) % 2, tmp_path / "a.npz"
    found = []
    for margin in (10, 200):
        pixels[:, :, :4] = margin  # outside of the crop
        np.savez(path, train_images=pixels, train_labels=labels, test_images=pixels[:2], test_labels=labels[:2])
        dataset = load_dataset(str(path), 24)
        codec = parse_codec("store:side=40|png")
        give_originals([codec], dataset.originals)
        coded = coded_images(codec, dataset.train.images, f"{dataset.signature}/train")
        found.append((dataset.signature, coded.payload(0)))
    assert found[0][0] == found[1][0]
    assert found[0][1] != found[1][1]
