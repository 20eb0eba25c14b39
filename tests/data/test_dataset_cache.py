"""The decoded cache: reused while nothing changed, rebuilt otherwise, and complete or absent."""

from __future__ import annotations

import errno
import os
import shutil
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from pathlib import Path

import numpy as np
import pytest
from data_samples import encoded, files_under, noise, pixels_of, pngs, write_files

from toolkit.data import catalog, images
from toolkit.data.catalog import load_dataset
from toolkit.foundation.errors import WorkError

COUNTS = {"train/ant": 3, "train/bee": 3, "test/ant": 1, "test/bee": 1}


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    return write_files(tmp_path / "set", pngs(COUNTS))


@contextmanager
def _no_decoding() -> Iterator[None]:
    def refused(*args: object) -> None:
        raise AssertionError("an image was decoded")

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(images, "decode_image", refused)
        patch.setattr(images, "framed_array", refused)
        yield


def test_the_second_load_decodes_nothing(folder: Path, cache: Path) -> None:
    first = load_dataset(str(folder), 16)
    with _no_decoding():
        again = load_dataset(str(folder), 16)
    np.testing.assert_array_equal(again.train.images, first.train.images)
    np.testing.assert_array_equal(again.test.labels, first.test.labels)
    assert again.signature == first.signature


def test_another_size_or_changed_content_is_decoded_again(folder: Path, cache: Path) -> None:
    first = load_dataset(str(folder), 16)
    assert load_dataset(str(folder), 8).signature != first.signature
    replacement = encoded(noise(99))
    (folder / "train/ant/1.png").write_bytes(replacement)
    changed = load_dataset(str(folder), 16)
    assert changed.signature != first.signature
    np.testing.assert_array_equal(changed.train.images[1], pixels_of(replacement))
    write_files(folder, {"train/bee/new.png": encoded(noise(100))})
    assert len(load_dataset(str(folder), 16).train) == 7
    shutil.rmtree(folder / "train/bee")
    write_files(folder, pngs({"train/bee": 2}))
    assert len(load_dataset(str(folder), 16).train) == 5


def test_cached_images_cannot_be_changed_by_accident(folder: Path, cache: Path) -> None:
    dataset = load_dataset(str(folder), 16)
    with pytest.raises(ValueError, match="read-only"):
        dataset.train.images[0] = 0


def test_a_file_where_the_cache_should_be_is_one_clear_line(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "occupied").write_text("mine")
    monkeypatch.setenv("RECALLRATE_CACHE", str(tmp_path / "occupied"))
    with pytest.raises(WorkError, match=r"cannot write the cache folder .*; set RECALLRATE_CACHE") as caught:
        load_dataset(str(folder), 16)
    assert "\n" not in str(caught.value)
    assert (tmp_path / "occupied").read_text() == "mine"


@contextmanager
def _full_disk() -> Iterator[None]:
    save = np.save

    def full(file: Path, array: np.ndarray) -> None:
        if "test" in Path(file).name:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        save(file, array)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(np, "save", full)
        yield


@contextmanager
def _limited_file_size() -> Iterator[None]:
    """The kernel refuses to let ``train.rgb`` grow to its 73,728 bytes."""
    resource = pytest.importorskip("resource")
    soft, hard = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (10_000, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, (soft, hard))


@pytest.mark.parametrize(
    ("broken_disk", "reason"), [(_full_disk, "No space left on device"), (_limited_file_size, "File too large")]
)
def test_a_write_that_fails_midway_leaves_nothing_and_damages_nothing(
    broken_disk: Callable[[], AbstractContextManager], reason: str, folder: Path, cache: Path
) -> None:
    earlier = load_dataset(str(folder), 16)
    pixels, kept = np.array(earlier.train.images), files_under(cache)
    refusal = f"cannot write the cache folder .*: {reason}"
    with broken_disk(), pytest.raises(WorkError, match=refusal) as caught:
        load_dataset(str(folder), 64)
    assert "\n" not in str(caught.value)
    assert files_under(cache) == kept
    assert len(list((cache / "datasets").iterdir())) == 1
    with _no_decoding():
        np.testing.assert_array_equal(load_dataset(str(folder), 16).train.images, pixels)
    assert load_dataset(str(folder), 64).train.images.shape == (6, 64, 64, 3)


def test_an_interrupted_build_leaves_nothing(folder: Path, cache: Path) -> None:
    def interrupt(what: str, done: int, total: int) -> None:
        if done == 5:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        load_dataset(str(folder), 16, progress=interrupt)
    assert not list((cache / "datasets").iterdir())


def test_two_builds_of_the_same_content_end_in_one_entry(
    folder: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    decode_all = catalog._decode_all

    def overtaken(*args: object) -> dict:
        meta = decode_all(*args)  # type: ignore[arg-type]
        monkeypatch.setattr(catalog, "_decode_all", decode_all)
        load_dataset(str(folder), 16)  # another process completes the same entry first
        return meta

    monkeypatch.setattr(catalog, "_decode_all", overtaken)
    assert len(load_dataset(str(folder), 16).train) == 6
    assert len(list((cache / "datasets").iterdir())) == 1


def test_builds_killed_long_ago_are_deleted_and_running_ones_are_not(folder: Path, cache: Path) -> None:
    old, running, vanished = (cache / "datasets" / f".building-{name}" for name in ("old", "running", "vanished"))
    for left in (old, running):
        write_files(left, {"train.rgb": b"half"})
    vanished.symlink_to(cache / "nowhere")
    two_days_ago = running.stat().st_mtime - 2 * 24 * 3600
    os.utime(old, (two_days_ago, two_days_ago))
    load_dataset(str(folder), 16)
    assert not old.exists()
    assert (running / "train.rgb").read_bytes() == b"half"


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("train.rgb", b"short"),
        ("test.rgb", b""),
        ("train_labels.npy", b""),
        ("test_file_bytes.npy", b"not an array"),
        ("meta.json", b"{"),
        ("meta.json", b"{}"),
        ("meta.json", b"[]"),
    ],
)
def test_a_damaged_entry_is_named_so_that_it_can_be_deleted(
    name: str, content: bytes, folder: Path, cache: Path
) -> None:
    load_dataset(str(folder), 16)
    (entry,) = (cache / "datasets").iterdir()
    (entry / name).write_bytes(content)
    with pytest.raises(WorkError, match=f"the cached copy {entry} is damaged .*; delete that folder"):
        load_dataset(str(folder), 16)
    shutil.rmtree(entry)
    assert len(load_dataset(str(folder), 16).train) == 6
