"""Opening a dataset: decoding, quarantine and refusals, on small folders and on the real data."""

from __future__ import annotations

import io
import os
import warnings
from pathlib import Path

import numpy as np
import pytest
from data_samples import encoded, files_under, noise, pixels_of, pngs, write_files, write_zip
from PIL import Image

from toolkit.data import catalog
from toolkit.data.catalog import load_dataset
from toolkit.foundation import threads
from toolkit.foundation.errors import UsageError, WorkError

SPLITS = {"train/ant": 3, "train/bee": 4, "test/ant": 1, "test/bee": 2}


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_images_labels_and_file_sizes_line_up(form: str, tmp_path: Path, cache: Path) -> None:
    files = pngs(SPLITS)
    path = write_files(tmp_path / "set", files) if form == "folder" else write_zip(tmp_path / "set.zip", files)
    dataset = load_dataset(str(path), 16)
    assert dataset.class_names == ("ant", "bee")
    assert (dataset.size, dataset.name, dataset.quarantine, dataset.notes) == (16, str(path), (), ())
    assert dataset.train.labels.tolist() == [0, 0, 0, 1, 1, 1, 1]
    assert dataset.test.labels.tolist() == [0, 1, 1]
    for split, part in (("train", dataset.train), ("test", dataset.test)):
        names = sorted(name for name in files if name.startswith(split))
        np.testing.assert_array_equal(part.images, [pixels_of(files[name]) for name in names])
        assert part.file_bytes.tolist() == [len(files[name]) for name in names]
        assert part.images.dtype == np.uint8
    assert dataset.raw_image_bytes == 16 * 16 * 3


def test_images_of_any_size_and_shape_become_squares(tmp_path: Path, cache: Path) -> None:
    shapes = [(7, 7), (16, 16), (40, 90), (90, 40), (16, 33), (300, 200)]
    files = {
        f"{split}/{name}/{number}.png": encoded(np.full((*shape, 3), (10 * number, 99, 200), np.uint8))
        for split in ("train", "test")
        for name in "ab"
        for number, shape in enumerate(shapes)
    }
    dataset = load_dataset(str(write_files(tmp_path / "set", files)), 24)
    assert dataset.train.images.shape == (12, 24, 24, 3)
    for number, image in enumerate(dataset.train.images[:6]):
        assert (image == (10 * number, 99, 200)).all()


def test_unreadable_files_are_quarantined_with_their_reason(tmp_path: Path, cache: Path) -> None:
    whole = encoded(noise(0, 60, 60), "JPEG")
    bad = {
        "train/ant/cut.jpg": whole[: len(whole) // 2],
        "train/ant/empty.png": b"",
        "train/bee/note.jpg": b"this is text\n" * 50,
        "test/bee/broken.png": encoded(noise(1))[:200],
    }
    folder = write_files(tmp_path / "set", {**pngs(SPLITS), **bad})
    dataset = load_dataset(str(folder), 16)
    reasons = {item.file: item.reason for item in dataset.quarantine}
    assert reasons.keys() == bad.keys()
    assert "truncated" in reasons["train/ant/cut.jpg"]
    assert reasons["train/ant/empty.png"] == "empty file"
    assert reasons["train/bee/note.jpg"] == "not an image in a known format"
    assert (len(dataset.train), len(dataset.test)) == (7, 3)
    assert [item.file for item in load_dataset(str(folder), 16).quarantine] == list(reasons)
    refusal = r"^4 files are unreadable \(--strict\); first: train/ant/cut\.jpg: damaged"
    for _ in range(2):
        with pytest.raises(WorkError, match=refusal):
            load_dataset(str(folder), 16, strict=True)


def test_a_file_without_read_permission_is_quarantined(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_files(tmp_path / "set", pngs(SPLITS))
    read_bytes = Path.read_bytes

    def guarded(path: Path) -> bytes:
        if path.name == "2.png":
            raise PermissionError(13, "Permission denied", str(path))
        return read_bytes(path)

    monkeypatch.setattr(Path, "read_bytes", guarded)
    dataset = load_dataset(str(folder), 16)
    assert [item.file for item in dataset.quarantine] == ["train/ant/2.png", "train/bee/2.png"]
    assert all("Permission denied" in item.reason for item in dataset.quarantine)


def test_a_strict_load_of_intact_files_succeeds(tmp_path: Path, cache: Path) -> None:
    assert len(load_dataset(str(write_files(tmp_path / "set", pngs(SPLITS))), 16, strict=True).train) == 7


def test_a_held_out_split_is_stratified_noted_and_repeatable(tmp_path: Path, cache: Path) -> None:
    folder = write_files(tmp_path / "set", pngs({"ant": 10, "bee": 20}))
    first, other_size = load_dataset(str(folder), 16), load_dataset(str(folder), 8)
    assert np.bincount(first.train.labels).tolist() == [8, 16]
    assert np.bincount(first.test.labels).tolist() == [2, 4]
    assert any("no test split" in note and "20%" in note for note in first.notes)
    np.testing.assert_array_equal(first.test.file_bytes, other_size.test.file_bytes)


def test_duplicates_across_the_splits_are_counted_by_their_pixels(tmp_path: Path, cache: Path) -> None:
    files = pngs(SPLITS)
    files["test/bee/copy.png"] = files["train/bee/0.png"]
    files["test/ant/other-format.bmp"] = encoded(pixels_of(files["train/bee/1.png"]), "BMP")
    files["train/ant/within-train.png"] = files["train/ant/0.png"]
    dataset = load_dataset(str(write_files(tmp_path / "set", files)), 16)
    (note,) = dataset.notes
    assert note.startswith("2 test images have exactly the pixels of a training image")


@pytest.mark.parametrize(
    ("files", "message"),
    [
        ({}, r"expected images as class/\* or train/class/\*, found no files"),
        ({"1.png": b"x"}, r"expected images as class/\* .* found 1 files"),
        (pngs({"ant": 5}), "expected at least two classes, found only 'ant'"),
        (
            pngs({"train/ant": 3, "train/bee": 1, "test/ant": 1, "test/bee": 1}),
            r"expected at least 2 readable train images per class, found fewer in bee \(1\)$",
        ),
        (pngs({"ant": 5, "bee": 2}), r"found fewer in bee \(1\); no test split was found: .* was held out"),
        (pngs({"train/ant": 2, "train/bee": 2, "test/ant": 1}), r"at least 1 readable test image .* bee \(0\)$"),
        (
            {**pngs({"train/ant": 3, "train/bee": 1, "test/ant": 1, "test/bee": 1}), "train/bee/x.jpg": b"?"},
            r"found fewer in bee \(1\); 1 unreadable files were left out",
        ),
    ],
)
def test_too_few_images_are_refused_and_leave_no_trace(
    files: dict[str, bytes], message: str, tmp_path: Path, cache: Path
) -> None:
    folder = write_files(tmp_path / "set", files)
    folder.mkdir(exist_ok=True)
    with pytest.raises(UsageError, match=message):
        load_dataset(str(folder), 16)
    assert not files_under(cache)
    assert not list(cache.glob("datasets/*"))


@pytest.mark.parametrize("spec", ["", "/no/such/place", "~nobody-of-this-name/x", "nul\0byte", "x" * 5000])
def test_a_path_that_does_not_exist_is_refused_with_the_accepted_forms(spec: str, cache: Path) -> None:
    with pytest.raises(UsageError, match=r"does not exist: expected demo, a folder, a \.zip, a \.npz or torchvision:"):
        load_dataset(spec, 16)
    assert not cache.exists()


def test_a_file_of_another_kind_is_refused(tmp_path: Path, cache: Path) -> None:
    (tmp_path / "set.tar").write_bytes(b"tar")
    with pytest.raises(UsageError, match=r"set\.tar is neither a folder nor a \.zip or \.npz file"):
        load_dataset(str(tmp_path / "set.tar"), 16)


@pytest.mark.parametrize("size", [7, 0, -32, 1025])
def test_a_size_out_of_range_is_refused(size: int, cache: Path) -> None:
    with pytest.raises(UsageError, match=rf"size must be 8\.\.1024 pixels, got {size}"):
        load_dataset("demo", size)


def test_a_dataset_over_the_limit_of_decoded_bytes_is_refused_before_anything_is_decoded(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_files(tmp_path / "set", pngs(SPLITS))
    monkeypatch.setattr(catalog, "MAX_DATASET_BYTES", 10 * 3 * 16 * 16)
    assert len(load_dataset(str(folder), 16).train) == 7
    monkeypatch.setattr("toolkit.data.images.decode_image", None)
    with pytest.raises(UsageError, match=r"10 images of 17 pixels take 8\.5 KiB decoded, the limit is 7\.5 KiB"):
        load_dataset(str(folder), 17)


def test_progress_counts_every_file_once(tmp_path: Path, cache: Path) -> None:
    told: list[tuple[str, int, int]] = []
    folder = write_files(tmp_path / "set", {**pngs(SPLITS), "train/ant/bad.png": b"?"})
    load_dataset(str(folder), 16, progress=lambda *step: told.append(step))
    assert told == [("decoding", done, 11) for done in range(1, 12)]


def test_decoding_in_threads_keeps_the_order_and_the_callers_warnings(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(threads, "_threads", 8)
    files = pngs({"train/a": 60, "train/b": 60, "test/a": 1, "test/b": 1})
    before = list(warnings.filters)
    dataset = load_dataset(str(write_zip(tmp_path / "set.zip", files)), 16)
    assert list(warnings.filters) == before
    expected = [pixels_of(files[name]) for name in sorted(files) if name.startswith("train")]
    np.testing.assert_array_equal(dataset.train.images, expected)


def test_decoding_one_image_does_not_touch_other_threads_warnings(monkeypatch: pytest.MonkeyPatch) -> None:
    from toolkit.data import images

    entered = []
    monkeypatch.setattr(warnings.catch_warnings, "__enter__", entered.append)
    images.decode_image(encoded(noise(0)), 16)
    assert not entered


def test_tiny_imagenet_is_the_files_in_their_order(real_data: Path) -> None:
    root = real_data / "tiny-imagenet-20"
    dataset = load_dataset(str(root), 32)
    assert dataset.class_names == tuple(sorted(path.name for path in (root / "train").iterdir()))
    assert len(dataset.class_names) == 20
    assert dataset.quarantine == ()
    for split, part in (("train", dataset.train), ("test", dataset.test)):
        paths = [path for path in sorted((root / split).rglob("*")) if path.is_file()]
        assert part.images.shape == (len(paths), 32, 32, 3)
        assert part.file_bytes.tolist() == [os.path.getsize(path) for path in paths]
        assert [dataset.class_names[label] for label in part.labels] == [p.relative_to(root).parts[1] for p in paths]
        for index in range(0, len(paths), 97):
            with Image.open(io.BytesIO(paths[index].read_bytes())) as image:
                scaled = image.convert("RGB").resize((32, 32), Image.Resampling.BICUBIC)
            np.testing.assert_array_equal(part.images[index], np.asarray(scaled))


def test_flowers_of_many_shapes_become_squares(real_data: Path, tmp_path: Path) -> None:
    root = real_data / "flowers17"
    for folder in root.glob("*/*"):  # a few of each class keep this test quick; links in a folder are followed
        (tmp_path / folder.relative_to(root)).mkdir(parents=True)
        for path in sorted(folder.iterdir())[:8]:
            (tmp_path / path.relative_to(root)).symlink_to(path)
    dataset = load_dataset(str(tmp_path), 64)
    assert dataset.quarantine == ()
    assert dataset.train.images.shape == dataset.test.images.shape == (17 * 8, 64, 64, 3)
    for index, path in enumerate(sorted(tmp_path.glob("train/*/*"))[::29]):
        with Image.open(path) as image:
            wide, high = image.size
            shorter = min(wide, high)
            whole = image.convert("RGB").resize((round(wide * 64 / shorter), round(high * 64 / shorter)), 3)
        left, top = (whole.width - 64) // 2, (whole.height - 64) // 2
        expected = np.asarray(whole)[top : top + 64, left : left + 64].astype(int)
        assert np.abs(dataset.train.images[29 * index] - expected).max() <= 1


def test_kodak_has_no_classes_and_is_refused(real_data: Path, cache: Path) -> None:
    with pytest.raises(UsageError, match=r"kodak: expected images as class/\* or train/class/\*, found 24 files"):
        load_dataset(str(real_data / "kodak"), 64)
    assert not cache.exists()
