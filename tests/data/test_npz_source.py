"""An npz in MedMNIST layout: valid and refused files, and nothing in them is ever executed."""

from __future__ import annotations

import io
import pickle
import zipfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from data_samples import files_under
from numpy.lib import format as npy

from toolkit.data import npz_source, sources
from toolkit.data.catalog import load_dataset
from toolkit.data.npz_source import open_npz
from toolkit.foundation.errors import UsageError


def _arrays(classes: int = 3, per_class: int = 4, channels: int | None = 3, side: int = 16) -> dict[str, np.ndarray]:
    rng = np.random.default_rng(0)
    shape = (side, side) if channels is None else (side, side, channels)
    labels = np.tile(np.arange(classes, dtype=np.uint8), per_class)[:, None]
    drawn = {split: rng.integers(0, 256, (len(labels), *shape), dtype=np.uint8) for split in ("train", "test")}
    return {
        "train_images": drawn["train"],
        "train_labels": labels,
        "test_images": drawn["test"],
        "test_labels": labels[::-1],
    }


def _npz(folder: Path, **arrays: Any) -> Path:
    np.savez(folder / "set.npz", **arrays)
    return folder / "set.npz"


def test_colour_images_and_column_labels_are_read(tmp_path: Path, cache: Path) -> None:
    arrays = _arrays()
    dataset = load_dataset(str(_npz(tmp_path, **arrays)), 16)
    np.testing.assert_array_equal(dataset.train.images, arrays["train_images"])
    np.testing.assert_array_equal(dataset.test.images, arrays["test_images"])
    assert dataset.train.labels.tolist() == [0, 1, 2] * 4
    assert dataset.test.labels.tolist() == [2, 1, 0] * 4
    assert dataset.class_names == ("0", "1", "2")
    assert set(dataset.train.file_bytes) == {3 * 16 * 16}


@pytest.mark.parametrize("channels", [None, 1])
def test_grey_images_fill_all_three_channels(channels: int | None, tmp_path: Path, cache: Path) -> None:
    arrays = _arrays(channels=channels)
    dataset = load_dataset(str(_npz(tmp_path, **arrays)), 16)
    grey = arrays["train_images"].reshape(-1, 16, 16)
    for channel in range(3):
        np.testing.assert_array_equal(dataset.train.images[..., channel], grey)


def test_flat_labels_and_a_missing_test_split_are_fine(tmp_path: Path) -> None:
    arrays = _arrays(classes=2, per_class=10)
    source = open_npz(_npz(tmp_path, train_images=arrays["train_images"], train_labels=arrays["train_labels"][:, 0]))
    assert sum(entry.split == "test" for entry in source.entries) == 4
    assert "20%" in source.notes[0]


def test_test_labels_never_trained_on_are_left_out_with_a_note(tmp_path: Path) -> None:
    arrays = _arrays()
    arrays["test_labels"] = arrays["test_labels"].astype(int)
    arrays["test_labels"][:2] = [[7], [-1]]
    source = open_npz(_npz(tmp_path, **arrays))
    assert len(source.entries) == 12 + 10
    assert source.notes == ("test classes without training images are left out: -1, 7",)


def test_a_cached_npz_is_recognised_without_reading_its_arrays(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _npz(tmp_path, **_arrays())
    first = load_dataset(str(path), 16)

    def refused(*args: object) -> None:
        raise AssertionError("the arrays were read again")

    with monkeypatch.context() as patch:
        patch.setattr("toolkit.data.npz_source._load", refused)
        again = load_dataset(str(path), 16)
    np.testing.assert_array_equal(again.train.images, first.train.images)
    changed = _arrays()
    changed["test_images"][0, 0, 0, 0] ^= 1
    reloaded = load_dataset(str(_npz(tmp_path, **changed)), 16)
    np.testing.assert_array_equal(reloaded.test.images, changed["test_images"])


class _Bomb:
    """Unpickling this creates a file."""

    def __init__(self, marker: Path) -> None:
        self.marker = marker

    def __reduce__(self) -> tuple:
        return (Path.touch, (self.marker,))


@pytest.mark.parametrize("where", ["train_images", "train_labels", "test_labels", "something_else"])
def test_pickled_objects_are_refused_and_not_executed(where: str, tmp_path: Path, cache: Path) -> None:
    marker = tmp_path / "executed"
    path = _npz(tmp_path, **{**_arrays(), where: np.array([_Bomb(marker)], dtype=object)})
    with pytest.raises(UsageError, match="pickled objects"):
        load_dataset(str(path), 16)
    assert files_under(tmp_path) == [path]
    with np.load(path, allow_pickle=True) as archive:
        archive[where]
    assert marker.exists(), "the bomb must be live for this test to mean anything"


def test_bare_pickles_are_not_executed_either(tmp_path: Path, cache: Path) -> None:
    marker = tmp_path / "executed"
    bare = tmp_path / "bare.npz"
    bare.write_bytes(pickle.dumps(_Bomb(marker)))
    member = tmp_path / "member.npz"
    with zipfile.ZipFile(member, "w") as archive:
        archive.writestr("train_images", pickle.dumps(_Bomb(marker)))
        archive.writestr("train_labels", pickle.dumps(_Bomb(marker)))
    for path, reason in ((bare, "not a readable npz"), (member, "expected train_images and train_labels")):
        with pytest.raises(UsageError, match=reason):
            load_dataset(str(path), 16)
    assert not marker.exists()
    assert not files_under(cache)


@pytest.mark.parametrize(
    ("changes", "reason"),
    [
        ({"train_images": None}, "expected train_images and train_labels, found train_labels"),
        ({"train_labels": None}, "expected train_images and train_labels, found train_images"),
        ({"train_images": np.zeros((12, 16, 16, 3), np.float32)}, "must be uint8 .* got float32"),
        ({"train_images": np.zeros((12, 16, 16, 4), np.uint8)}, r"got uint8 \(12, 16, 16, 4\)"),
        ({"train_images": np.zeros((12, 256), np.uint8)}, r"got uint8 \(12, 256\)"),
        ({"train_images": np.zeros((12, 0, 0), np.uint8)}, r"got uint8 \(12, 0, 0\)"),
        ({"train_labels": np.zeros((12, 2), np.uint8)}, "12 integers, one per image, got uint8"),
        ({"train_labels": np.zeros(11, np.uint8)}, r"12 integers, one per image, got uint8 \(11,\)"),
        ({"train_labels": np.zeros(12)}, "12 integers, one per image, got float64"),
        ({"test_labels": None}, "test_labels must be 12 integers, one per image, got none"),
        ({"train_labels": np.zeros(12, int)}, "at least two classes, found 1"),
        ({"train_labels": np.arange(12) % 3 * 2}, r"labels 0\.\.2, found 0, 2, 4"),
        ({"train_labels": np.arange(12) % 3 - 1}, r"labels 0\.\.2, found -1, 0, 1"),
    ],
)
def test_other_arrays_are_refused_with_what_was_found(
    changes: dict[str, Any], reason: str, tmp_path: Path, cache: Path
) -> None:
    arrays = {name: array for name, array in {**_arrays(), **changes}.items() if array is not None}
    with pytest.raises(UsageError, match=reason):
        load_dataset(str(_npz(tmp_path, **arrays)), 16)
    assert not files_under(cache)


def test_files_that_are_not_npz_are_refused(tmp_path: Path) -> None:
    whole = _npz(tmp_path, **_arrays()).read_bytes()
    single = tmp_path / "single.npz"
    with single.open("wb") as file:
        np.save(file, np.zeros(3))
    damaged = bytearray(whole)
    damaged[2000:2400] = bytes(400)
    for name, data in {"empty": b"", "half": whole[: len(whole) // 2], "damaged": bytes(damaged)}.items():
        (tmp_path / f"{name}.npz").write_bytes(data)
    for name in ("empty", "half", "damaged", "single"):
        with pytest.raises(UsageError, match=rf"{name}\.npz is not a readable npz"):
            open_npz(tmp_path / f"{name}.npz")


def _bomb(path: Path, shape: tuple[int, ...], declared: tuple[int, ...] | None = None) -> Path:
    """An npz of zeros, compressed a thousandfold, that may declare a wrong shape."""
    header = io.BytesIO()
    npy.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": declared or shape})
    labels = io.BytesIO()
    np.save(labels, np.arange(shape[0]) % 2)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED, compresslevel=9) as archive:
        archive.writestr("train_labels.npy", labels.getvalue())
        with archive.open("train_images.npy", "w", force_zip64=True) as member:
            member.write(header.getvalue())
            for _ in range(shape[0]):
                member.write(bytes(int(np.prod(shape[1:]))))
    return path


def _nothing_is_unpacked(monkeypatch: pytest.MonkeyPatch) -> None:
    def refused(*args: object) -> None:
        raise AssertionError("an array was unpacked")

    monkeypatch.setattr("toolkit.data.npz_source._unpacked", refused)


def test_an_npz_that_inflates_a_thousandfold_is_refused_before_it_is_unpacked(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _bomb(tmp_path / "bomb.npz", (300, 1024, 1024))
    assert path.stat().st_size < 500_000
    _nothing_is_unpacked(monkeypatch)
    with pytest.raises(UsageError, match=r"would unpack to 300\.0 MiB from .* KiB: beyond 256\.0 MiB the limit is 100"):
        load_dataset(str(path), 16)
    assert not files_under(cache)


def test_an_npz_whose_images_are_over_the_limit_of_one_is_refused_from_its_header(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = _bomb(tmp_path / "large.npz", (4, 40, 40))
    monkeypatch.setattr("toolkit.data.images.MAX_DECODED_BYTES", 1599)
    _nothing_is_unpacked(monkeypatch)
    with pytest.raises(UsageError, match=r"an image of train_images has 1\.6 KiB, the limit is 1\.6 KiB"):
        load_dataset(str(path), 16)


@pytest.mark.parametrize("declared", [(4000, 40, 40), (3, 40, 40), (4, 40, 41)])
def test_an_npz_whose_header_and_contents_differ_is_refused(
    declared: tuple[int, ...], tmp_path: Path, cache: Path
) -> None:
    path = _bomb(tmp_path / "liar.npz", (4, 40, 40), declared)
    with pytest.raises(UsageError, match=r"not a readable npz: train_images\.npy has 6528 bytes, expected"):
        load_dataset(str(path), 16)
    assert not files_under(cache)


def test_the_arrays_of_an_npz_are_on_disk_and_leave_nothing_there(tmp_path: Path, cache: Path) -> None:
    arrays = _arrays()
    loaded = npz_source._load(_npz(tmp_path, **arrays))
    assert all(isinstance(array, np.memmap) for array in loaded.values())
    for name, array in arrays.items():
        np.testing.assert_array_equal(loaded[name], array)
    assert not files_under(cache)
    in_columns = npz_source._load(_npz(tmp_path, **{name: np.asfortranarray(array) for name, array in arrays.items()}))
    np.testing.assert_array_equal(in_columns["train_images"], arrays["train_images"])


def test_an_npz_over_the_unpacked_limit_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = _npz(tmp_path, **_arrays())
    monkeypatch.setattr(sources, "MAX_UNPACKED_BYTES", 1000)
    with pytest.raises(UsageError, match="would unpack"):
        open_npz(path)
