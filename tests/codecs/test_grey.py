"""Grey images: one component in the memory, three equal channels outside."""

from __future__ import annotations

import io
from pathlib import Path

import numpy as np
import pytest
from learned_jpeg_samples import Build, with_everything
from PIL import Image

from toolkit.codecs.headers import jpeg_size
from toolkit.codecs.registry import CODECS
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.data.grey import is_grey
from toolkit.foundation.errors import WorkError
from toolkit.memory.budget import budget_bytes
from toolkit.memory.store import ExemplarMemory
from toolkit.production.build import build_memory

ONE_COMPONENT = ["png", "jpeg:quality=60", "jpeg:quality=60,entropy=huffman", "avif:quality=50", "jpeg2000:psnr=33"]
INSIDE = ["webp:quality=60", "webp:lossless=yes", "jxl:quality=60", "jxl:lossless=yes"]
LOSSLESS = ["raw", "png", "webp:lossless=yes", "jxl:lossless=yes"]


def scenes(count: int, side: int = 40, seed: int = 0) -> np.ndarray:
    """Smooth colour images with a little grain, uint8 (N, side, side, 3)."""
    rng = np.random.default_rng(seed)
    steps = rng.normal(0, 4, (count, side, side, 3))
    return np.clip(128 + np.cumsum(np.cumsum(steps, 1), 2) / 6, 0, 255).astype(np.uint8)


def grey(images: np.ndarray) -> np.ndarray:
    """Their first channel, three times."""
    return np.ascontiguousarray(np.repeat(images[..., :1], 3, axis=3))


def test_a_grey_image_has_equal_channels_in_every_pixel() -> None:
    image = grey(scenes(1))[0]
    assert is_grey(image)
    image[37, 38, 2] ^= 1
    assert not is_grey(image)


def test_a_raw_grey_image_takes_a_third() -> None:
    codec, images = parse_codec("raw"), np.concatenate([grey(scenes(2)), scenes(2)])
    payloads = codec.encode(images)
    assert [len(payload) for payload in payloads] == [1600, 1600, 4800, 4800]
    np.testing.assert_array_equal(codec.decode(payloads), images)
    with pytest.raises(WorkError, match="expected 4800, or 1600 if grey"):
        codec.decode([payloads[0][:-1]])


@pytest.mark.parametrize("spec", [*ONE_COMPONENT, *INSIDE])
def test_grey_images_stay_grey_and_cost_less_than_colour(spec: str) -> None:
    images = scenes(6)
    codec = parse_codec(spec)
    payloads = codec.encode(grey(images))
    decoded = codec.decode(payloads, (40, 40))
    lossy_chroma = spec.startswith(("webp:q", "jxl:q"))
    assert lossy_chroma or all(map(is_grey, decoded))
    if spec in LOSSLESS:
        np.testing.assert_array_equal(decoded, grey(images))
    colour = parse_codec(spec)
    assert sum(map(len, payloads)) < (1.0 if lossy_chroma else 0.8) * sum(map(len, colour.encode(images)))


@pytest.mark.parametrize("spec", ONE_COMPONENT)
def test_files_of_grey_images_have_one_component(spec: str) -> None:
    codec = parse_codec(spec)
    (payload,) = codec.encode(grey(scenes(1)))
    if not spec.startswith("avif"):  # Pillow opens AVIF files as RGB
        assert Image.open(io.BytesIO(codec.to_file(payload))).mode == "L"
    three = np.asarray(Image.open(io.BytesIO(codec.to_file(payload))).convert("RGB"))
    close = 1 if spec.startswith("avif") else 0
    np.testing.assert_allclose(codec.decode([payload], (40, 40))[0].astype(int), three, atol=close)


@pytest.mark.parametrize("spec", ONE_COMPONENT)
def test_grey_images_among_colour_ones_are_coded_as_these(spec: str) -> None:
    images = np.concatenate([scenes(3), grey(scenes(3))])
    mixed, colour = parse_codec(spec), parse_codec(spec)
    colour.fit(images[:3])
    assert mixed.encode(images) == colour.encode(images)


@pytest.mark.parametrize("spec", ONE_COMPONENT)
def test_a_codec_fitted_on_grey_images_also_codes_colour_ones(spec: str) -> None:
    images = np.concatenate([grey(scenes(3)), scenes(3)])
    codec, colour, loaded = parse_codec(spec), parse_codec(spec), parse_codec(spec)
    codec.fit(images[:3])
    payloads = codec.encode(images)
    assert payloads[:3] == codec.encode(images[:3])
    loaded.load_shared(codec.shared_state())
    assert loaded.encode(images) == payloads
    decoded = loaded.decode(payloads, (40, 40))
    assert [is_grey(image) for image in decoded] == [True] * 3 + [False] * 3
    np.testing.assert_array_equal(decoded[3:], colour.decode(colour.encode(images[3:]), (40, 40)))


@pytest.mark.parametrize("rounding", ["nearest", "deadzone", "sample"])
def test_learned_tables_code_grey_images_with_the_luma_table(spec: Build, rounding: str) -> None:
    codec = parse_codec(spec(with_everything(60), f"rounding={rounding}"))
    images = grey(scenes(4))
    payloads = codec.encode(images)
    assert jpeg_size(codec.to_file(payloads[0])) == (40, 40, 1)
    decoded = codec.decode(payloads, (40, 40))
    assert all(map(is_grey, decoded))
    assert np.abs(decoded.astype(int) - images).mean() < 12


@pytest.mark.parametrize("wrapper", [name for name, kind in CODECS.items() if kind.wraps and name == "downscale"])
def test_wrappers_keep_grey_images_grey(wrapper: str) -> None:
    codec = parse_codec(f"{wrapper}|jpeg:quality=60")
    payloads = codec.encode(grey(scenes(3)))
    assert all(map(is_grey, codec.decode(payloads, (40, 40))))


@pytest.fixture(scope="module")
def grey_folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Two classes of eight grey PNG files."""
    folder = tmp_path_factory.mktemp("grey")
    for split, count in (("train", 8), ("test", 1)):
        for label in ("a", "b"):
            (folder / split / label).mkdir(parents=True)
            for number, image in enumerate(scenes(count, 32, seed=len(split) + ord(label))):
                Image.fromarray(image[..., 0]).save(folder / split / label / f"{number}.png")
    return folder


def test_budgets_of_grey_datasets_count_one_byte_per_pixel(grey_folder: Path, tmp_path: Path) -> None:
    dataset = load_dataset(str(grey_folder), 32)
    assert dataset.grey
    assert dataset.raw_image_bytes == 32 * 32
    built = build_memory(str(grey_folder), tmp_path / "m.recall", codec="raw", budget="4img", selection="random")
    assert built["exemplars"] == 8
    assert built["memory_bytes"] <= budget_bytes("4img", 2, 32 * 32)
    with ExemplarMemory(tmp_path / "m.recall") as memory:
        assert {len(memory.payload(label, 0)) for label in memory.class_counts} == {32 * 32}


def test_one_colour_image_makes_a_dataset_colour(grey_folder: Path, tmp_path: Path) -> None:
    copy = tmp_path / "mixed"
    for path in sorted(grey_folder.rglob("*.png")):
        target = copy / path.relative_to(grey_folder)
        target.parent.mkdir(parents=True, exist_ok=True)
        target.write_bytes(path.read_bytes())
    Image.fromarray(scenes(1, 32)[0]).save(copy / "train" / "a" / "colour.png")
    dataset = load_dataset(str(copy), 32)
    assert not dataset.grey
    assert dataset.raw_image_bytes == 3 * 32 * 32


def test_arrays_of_grey_images_count_one_byte_per_pixel(tmp_path: Path) -> None:
    labels = np.repeat([0, 1], 6)
    arrays = {name: scenes(12, 28, seed)[..., 0] for seed, name in enumerate(("train_images", "test_images"))}
    np.savez(tmp_path / "a.npz", **arrays, train_labels=labels, test_labels=labels)
    dataset = load_dataset(str(tmp_path / "a.npz"), 28)
    assert dataset.grey
    assert set(dataset.train.file_bytes.tolist()) == {28 * 28}
