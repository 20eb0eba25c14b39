"""The codec that keeps source files: exact images, whatever the files are."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from codec_samples import by_class, natural
from PIL import Image

from toolkit.codecs.original import give_originals, refuse_originals
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset, validation_view
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory.store import ExemplarMemory

SPECS = ("original", "original:entropy=huffman", "original:transcode=jxl", "original:shared=no")
KINDS = {
    "a.jpg": {"quality": 80},
    "b.jpg": {"quality": 80},
    "c.jpg": {"quality": 60, "progressive": True},
    "d.jpg": {"quality": 90, "optimize": True},
    "e.webp": {"quality": 70},
    "f.avif": {"quality": 60},
    "g.png": {},
}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of files of several formats and sizes, one of them turned by its metadata."""
    for number, name in enumerate(("one", "two")):
        (tmp_path / "data" / name).mkdir(parents=True)
        images = natural(len(KINDS), 80, seed=number)
        for place, (file, options) in enumerate(KINDS.items()):
            picture = Image.fromarray(images[place][: 80 - 7 * (place % 3)])
            exif = picture.getexif()
            if place == 1:
                exif[0x0112] = 6
            picture.save(tmp_path / "data" / name / file, exif=exif, **options)
    return tmp_path / "data"


@pytest.fixture
def dataset(folder: Path) -> ImageDataset:
    return load_dataset(str(folder), 48)


@pytest.mark.parametrize("spec", SPECS)
def test_decoding_gives_the_images_of_the_dataset(dataset: ImageDataset, spec: str) -> None:
    codec, images = parse_codec(spec), np.asarray(dataset.train.images)
    give_originals([codec], dataset.originals)
    payloads = codec.encode(images)
    reader = parse_codec(str(codec))
    reader.load_shared(codec.shared_state())
    np.testing.assert_array_equal(reader.decode(payloads, (48, 48)), images)
    assert codec.lossless


def test_oblong_images_come_back_too(folder: Path) -> None:
    dataset = load_dataset(str(folder), "48x36")
    codec, images = parse_codec("original"), np.asarray(dataset.train.images)
    give_originals([codec], dataset.originals)
    payloads = codec.encode(images)
    np.testing.assert_array_equal(codec.decode(payloads, (48, 36)), images)
    pixels = sorted(codec.stored_pixels(payload) for payload in payloads)  # type: ignore[attr-defined]
    sizes = [Image.open(io.BytesIO(codec.to_file(payload))).size for payload in payloads]
    assert pixels == sorted(width * height for width, height in sizes)


@pytest.mark.parametrize("spec", SPECS)
def test_files_come_back_to_the_byte(folder: Path, dataset: ImageDataset, spec: str) -> None:
    codec = parse_codec(spec)
    give_originals([codec], dataset.originals)
    payloads = codec.encode(np.asarray(dataset.train.images))
    files = {path.read_bytes() for path in folder.rglob("*.*")}
    assert {codec.to_file(payload) for payload in payloads} <= files
    sizes = sorted(len(codec.to_file(payload)) for payload in payloads)
    assert sizes == sorted(dataset.train.file_bytes.tolist())


def test_jpeg_files_take_fewer_bytes_than_on_disk(dataset: ImageDataset) -> None:
    codec = parse_codec("original")
    give_originals([codec], dataset.originals)
    payloads = codec.encode(np.asarray(dataset.train.images))
    for payload in payloads:
        file = codec.to_file(payload)
        baseline = file[:2] == b"\xff\xd8" and b"\xff\xc0" in file
        assert len(payload) < 0.9 * len(file) if baseline else len(payload) <= len(file) + 20


def test_a_memory_of_source_files_opens_anywhere_and_gives_the_images(dataset: ImageDataset, tmp_path: Path) -> None:
    codec, path = parse_codec("original"), tmp_path / "m.recall"
    give_originals([codec], dataset.originals)
    images = np.asarray(dataset.train.images)
    with ExemplarMemory(path, 2**20, codec) as memory:
        memory.add_images(by_class(dataset))
    with ExemplarMemory(path) as memory:
        for label in (0, 1):
            np.testing.assert_array_equal(memory.decode(label), images[dataset.train.labels == label])
        assert memory.verify() == []


def test_a_part_of_a_dataset_has_its_files_too(dataset: ImageDataset) -> None:
    view = validation_view(dataset)
    codec = parse_codec("original")
    give_originals([codec], view.originals)
    assert len(codec.encode(np.asarray(view.test.images))) == len(view.test)


def test_images_without_files_are_refused_in_a_line(dataset: ImageDataset) -> None:
    codec = parse_codec("original")
    with pytest.raises(UsageError, match="no source files to keep"):
        give_originals([codec], load_dataset("demo", 32).originals)
    with pytest.raises(UsageError, match="needs the source files"):
        codec.encode(natural(1, 48))
    give_originals([codec], dataset.originals)
    with pytest.raises(WorkError, match="no source in its dataset"):
        codec.encode(natural(1, 48, seed=9))
    with pytest.raises(UsageError, match="a sharded memory cannot use original"):
        refuse_originals(codec, "a sharded memory")
    refuse_originals(parse_codec("jpeg"), "a sharded memory")


def test_a_file_that_has_changed_is_refused(folder: Path, dataset: ImageDataset) -> None:
    codec = parse_codec("original")
    give_originals([codec], dataset.originals)
    images = np.asarray(dataset.train.images)
    codec.encode(images)
    for path in folder.rglob("*.jpg"):
        Image.fromarray(natural(1, 80, seed=5)[0]).save(path)
    with pytest.raises(WorkError, match="has changed"):
        codec.encode(images)
    for path in folder.rglob("*.*"):
        path.unlink()
    with pytest.raises(WorkError, match="cannot be read"):
        codec.encode(images)


@pytest.mark.parametrize("spec", SPECS)
def test_damaged_payloads_are_errors_of_ours_or_the_same_image(dataset: ImageDataset, spec: str) -> None:
    codec = parse_codec(spec)
    give_originals([codec], dataset.originals)
    images = np.asarray(dataset.train.images)
    payload = codec.encode(images)[0]
    for place in range(0, len(payload), max(1, len(payload) // 80)):
        damaged = payload[:place] + bytes([payload[place] ^ 64]) + payload[place + 1 :]
        if spec == "original:shared=no":  # as a file on disk: the memory's checksums find the damage
            try:
                assert codec.decode([damaged]).shape == (1, 48, 48, 3)
            except WorkError:
                continue
        else:
            with pytest.raises(WorkError):
                codec.decode([damaged])
