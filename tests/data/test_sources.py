"""Folders and zips: which files are which class and split, and which archives are refused."""

from __future__ import annotations

import stat
import struct
import zipfile
from collections import Counter
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from data_samples import files_under, noise, pixels_of, pngs, write_files, write_zip

from toolkit.data import images, sources
from toolkit.data.catalog import load_dataset
from toolkit.data.sources import Source, open_folder, open_zip
from toolkit.foundation.errors import UsageError

Files = dict[str, bytes]


def _as_folder(tmp_path: Path, files: Files) -> Source:
    return open_folder(write_files(tmp_path / "set", files))


def _as_zip(tmp_path: Path, files: Files) -> Source:
    return open_zip(write_zip(tmp_path / "set.zip", files))


def _as_wrapped_zip(tmp_path: Path, files: Files) -> Source:
    wrapped = {f"my set/{name}": data for name, data in files.items()}
    return open_zip(write_zip(tmp_path / "set.zip", {"README.txt": b"about", "my set/LICENCE": b"free", **wrapped}))


every_form = pytest.mark.parametrize("opened", [_as_folder, _as_zip, _as_wrapped_zip])


def _counts(source: Source) -> Counter:
    return Counter((entry.split, source.class_names[entry.label]) for entry in source.entries)


@every_form
@pytest.mark.parametrize("test_folder", ["test", "val", "validation"])
def test_split_folders_give_their_classes_and_pixels(
    opened: Callable[[Path, Files], Source], test_folder: str, tmp_path: Path
) -> None:
    files = pngs({"train/cat": 3, "train/ant": 2, f"{test_folder}/cat": 1, f"{test_folder}/ant": 2})
    source = opened(tmp_path, files)
    assert source.class_names == ("ant", "cat")
    assert source.notes == ()
    assert _counts(source) == {("train", "cat"): 3, ("train", "ant"): 2, ("test", "cat"): 1, ("test", "ant"): 2}
    for entry in source.entries:
        assert entry.file_bytes == len(files[entry.name])
        np.testing.assert_array_equal(entry.read(16), pixels_of(files[entry.name]))


@every_form
def test_class_folders_are_split_four_to_one_in_every_class(
    opened: Callable[[Path, Files], Source], tmp_path: Path
) -> None:
    source = opened(tmp_path, pngs({"ant": 10, "bee": 25, "cat": 3}))
    assert _counts(source) == {
        ("train", "ant"): 8,
        ("test", "ant"): 2,
        ("train", "bee"): 20,
        ("test", "bee"): 5,
        ("train", "cat"): 2,
        ("test", "cat"): 1,
    }
    (note,) = source.notes
    assert "no test split" in note
    assert "20%" in note
    assert "8 images" in note
    again = open_folder(write_files(tmp_path / "again", pngs({"ant": 10, "bee": 25, "cat": 3})))
    assert [(e.split, e.name) for e in again.entries] == [(e.split, e.name) for e in source.entries]


def test_the_held_out_images_are_drawn_and_not_the_last_ones(tmp_path: Path) -> None:
    names = [f"{folder}/{number:02}.png" for folder in "ab" for number in range(50)]
    source = open_folder(write_files(tmp_path, dict.fromkeys(names, b"not decoded here")))
    drawn = [int(entry.name[2:4]) for entry in source.entries if entry.split == "test"]
    assert len(drawn) == 20
    assert 10 < np.mean(drawn) < 40


@every_form
def test_hidden_files_and_system_files_are_skipped(opened: Callable[[Path, Files], Source], tmp_path: Path) -> None:
    clutter = dict.fromkeys(("a/.DS_Store", "a/Thumbs.db", "__MACOSX/a/x.png", ".git/config", "b/desktop.ini"), b"x")
    source = opened(tmp_path, {**pngs({"a": 5, "b": 5}), **clutter})
    assert source.class_names == ("a", "b")
    assert len(source.entries) == 10


def test_other_folders_beside_train_and_test_are_named_as_unused(tmp_path: Path) -> None:
    counts = {f"{split}/{name}": 2 for split in ("train", "test", "val") for name in "ab"}
    source = _as_folder(tmp_path, {**pngs(counts), "annotations/a/1.xml": b"<x/>"})
    assert source.class_names == ("a", "b")
    assert source.notes == ("test/ is the test split; annotations, val/ is not used",)


def test_test_classes_without_training_images_are_left_out_with_a_note(tmp_path: Path) -> None:
    source = _as_folder(tmp_path, pngs({"train/a": 2, "train/b": 2, "test/a": 1, "test/b": 1, "test/zebra": 4}))
    assert _counts(source)["test", "b"] == 1
    assert len(source.entries) == 6
    assert "zebra" in source.notes[0]


def test_the_signature_follows_the_content(tmp_path: Path) -> None:
    files = pngs({"a": 3, "b": 3})
    first = _as_zip(tmp_path, files)
    assert _as_zip(tmp_path, files).signature == first.signature
    assert _as_zip(tmp_path, {**files, "a/1.png": files["b/1.png"]}).signature != first.signature
    folder = tmp_path / "folder"
    before = open_folder(write_files(folder, files)).signature
    assert open_folder(folder).signature == before
    (folder / "a/0.png").rename(folder / "b/9.png")
    assert open_folder(folder).signature != before


def test_names_that_are_not_utf_8_are_listed(tmp_path: Path) -> None:
    write_files(tmp_path, pngs({"a": 5, "b": 5}))
    try:
        (tmp_path / "a" / b"caf\xe9.png".decode("utf-8", "surrogateescape")).write_bytes(pngs({"x": 1})["x/0.png"])
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    assert len(open_folder(tmp_path).entries) == 11


def test_backslashes_in_a_zip_separate_folders(tmp_path: Path) -> None:
    source = _as_zip(tmp_path, {name.replace("/", "\\"): data for name, data in pngs({"a": 5, "b": 5}).items()})
    assert source.class_names == ("a", "b")


@every_form
@pytest.mark.parametrize(
    ("files", "found"),
    [
        ({}, "found no files"),
        ({"01.png": b"x", "02.png": b"x"}, "found 2 files"),
        ({"train/01.png": b"x", "test/02.png": b"x"}, "found 2 files"),
        ({"a/1.png": b"x", "a/2.png": b"x"}, "found only 'a'"),
        ({"test/a/1.png": b"x", "val/b/1.png": b"x"}, "no train folder"),
    ],
)
def test_other_layouts_are_refused_with_what_was_found(
    opened: Callable[[Path, Files], Source], files: Files, found: str, tmp_path: Path
) -> None:
    (tmp_path / "set").mkdir()
    if opened is _as_wrapped_zip and found.startswith("found"):
        found = "found"  # the loose README and LICENCE count as well
    with pytest.raises(UsageError, match=found):
        opened(tmp_path, files)


def _zip_with(path: Path, info: zipfile.ZipInfo | str) -> Path:
    write_zip(path, pngs({"a": 5, "b": 5}))
    with zipfile.ZipFile(path, "a") as archive:
        archive.writestr(info, b"payload")
    return path


def _forge(path: Path, offset: int, fmt: str, value: int) -> None:
    """Overwrite one field of every entry of the central directory (PKWARE APPNOTE 4.3.12)."""
    data = bytearray(path.read_bytes())
    at = data.find(b"PK\x01\x02")
    while at >= 0:
        struct.pack_into(fmt, data, at + offset, value)
        at = data.find(b"PK\x01\x02", at + 4)
    path.write_bytes(data)


@pytest.mark.parametrize(
    ("name", "reason"),
    [
        ("../evil.png", "points outside"),
        ("a/../../evil.png", "points outside"),
        ("..\\evil.png", "points outside"),
        ("../", "points outside"),
        ("/etc/evil.png", "absolute"),
        ("C:/evil.png", "absolute"),
        ("C:\\evil.png", "absolute"),
        ("\\\\server\\evil.png", "absolute"),
    ],
)
def test_a_zip_that_reaches_outside_is_refused_before_anything_is_written(
    name: str, reason: str, tmp_path: Path, cache: Path
) -> None:
    path = _zip_with(tmp_path / "evil.zip", name)
    with pytest.raises(UsageError, match=reason):
        load_dataset(str(path), 16)
    assert files_under(tmp_path) == [path]


def test_a_zip_with_a_link_is_refused(tmp_path: Path, cache: Path) -> None:
    link = zipfile.ZipInfo("a/link.png")
    link.create_system = 3  # Unix
    link.external_attr = (stat.S_IFLNK | 0o777) << 16
    path = _zip_with(tmp_path / "link.zip", link)
    with pytest.raises(UsageError, match=r"'a/link\.png' is a link"):
        load_dataset(str(path), 16)
    assert files_under(tmp_path) == [path]


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    path = write_zip(tmp_path / "locked.zip", pngs({"a": 5, "b": 5}))
    _forge(path, 8, "<H", 1)
    with pytest.raises(UsageError, match="encrypted"):
        open_zip(path)


def test_a_zip_that_declares_more_than_20_gib_is_refused(tmp_path: Path, cache: Path) -> None:
    path = write_zip(tmp_path / "bomb.zip", pngs({"a": 3, "b": 3}))
    _forge(path, 24, "<I", 4 * 1024**3 - 2)  # six times nearly 4 GiB
    with pytest.raises(UsageError, match=r"24\.0 GiB, the limit is 20\.0 GiB"):
        load_dataset(str(path), 16)
    assert files_under(tmp_path) == [path]


def test_a_zip_just_within_the_limit_is_accepted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    files = pngs({"a": 5, "b": 5})
    path = write_zip(tmp_path / "fits.zip", files)
    monkeypatch.setattr(sources, "MAX_UNPACKED_BYTES", sum(map(len, files.values())))
    assert len(open_zip(path).entries) == 10
    monkeypatch.setattr(sources, "MAX_UNPACKED_BYTES", sum(map(len, files.values())) - 1)
    with pytest.raises(UsageError, match="would unpack"):
        open_zip(path)


def test_a_zip_that_inflates_a_thousandfold_is_refused_and_a_small_one_is_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = write_zip(tmp_path / "bomb.zip", {**pngs({"a": 5, "b": 5}), "a/zeros.bmp": bytes(3_000_000)})
    assert len(open_zip(path).entries) == 11
    monkeypatch.setattr(sources, "FREELY_UNPACKED_BYTES", 1_000_000)
    with pytest.raises(UsageError, match=r"would unpack to 2\.9 MiB from .* KiB: beyond .* the limit is 100 times"):
        open_zip(path)


def test_of_two_members_with_one_name_the_last_counts(tmp_path: Path) -> None:
    files = pngs({"a": 3, "b": 3})
    path = write_zip(tmp_path / "set.zip", files)
    with zipfile.ZipFile(path, "a") as archive, pytest.warns(UserWarning, match="Duplicate name"):
        archive.writestr("a/1.png", files["b/2.png"])
    source = open_zip(path)
    assert len(source.entries) == 6
    (entry,) = [entry for entry in source.entries if entry.name == "a/1.png"]
    np.testing.assert_array_equal(entry.read(16), pixels_of(files["b/2.png"]))


def test_a_file_larger_than_any_image_is_not_read(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    source = _as_zip(tmp_path, pngs({"a": 5, "b": 5}))
    monkeypatch.setattr(sources, "MAX_FILE_BYTES", 100)
    with pytest.raises(images.Unreadable, match="more than 100 B"):
        source.entries[0].read(16)


@pytest.mark.parametrize("data", [b"", b"PK\x03\x04 not really", b"x" * 5000])
def test_a_file_that_is_not_a_zip_is_refused(data: bytes, tmp_path: Path) -> None:
    (tmp_path / "set.zip").write_bytes(data)
    with pytest.raises(UsageError, match=r"set\.zip is not a readable zip"):
        open_zip(tmp_path / "set.zip")


def test_a_damaged_member_is_unreadable_and_the_others_are_not(tmp_path: Path) -> None:
    files = pngs({"a": 5, "b": 5})
    path = write_zip(tmp_path / "set.zip", files)
    with zipfile.ZipFile(path) as archive:
        info = archive.getinfo("a/2.png")
    data = bytearray(path.read_bytes())
    start = info.header_offset + 30 + len(info.filename)
    data[start : start + 40] = bytes(255 - byte for byte in data[start : start + 40])
    path.write_bytes(data)
    for entry in open_zip(path).entries:
        if entry.name == "a/2.png":
            with pytest.raises(images.Unreadable, match="cannot be read"):
                entry.read(16)
        else:
            np.testing.assert_array_equal(entry.read(16), pixels_of(files[entry.name]))


def test_a_file_that_vanishes_after_listing_is_unreadable(tmp_path: Path) -> None:
    source = open_folder(write_files(tmp_path, pngs({"a": 5, "b": 5})))
    (tmp_path / source.entries[3].name).unlink()
    with pytest.raises(images.Unreadable, match=r"cannot be read: .*No such file"):
        source.entries[3].read(16)
    np.testing.assert_array_equal(source.entries[0].read(16), noise(0))
