"""The traversal of a dataset's files: links, special and unreadable files, and names."""

from __future__ import annotations

import csv
import io
import json
import os
import unicodedata
from pathlib import Path

import numpy as np
import pytest
from data_samples import pixels_of, pngs, write_files, write_zip

from toolkit.data.catalog import absolute_spec, load_dataset
from toolkit.data.images import Unreadable
from toolkit.data.listing import list_training
from toolkit.data.names import printable_name
from toolkit.data.sources import open_folder, open_zip
from toolkit.data.tree import read_regular
from toolkit.foundation.errors import UsageError, WorkError

SPLITS = {"train/ant": 3, "train/bee": 3, "test/ant": 1, "test/bee": 1}
LATIN = b"caf\xe9".decode("utf-8", "surrogateescape")
COMPOSED, DECOMPOSED = (unicodedata.normalize(form, "café") for form in ("NFC", "NFD"))


def _moved(root: Path, elsewhere: Path, *names: str) -> None:
    """Move folders elsewhere, and put links in their place."""
    for name in names:
        target = elsewhere / name.replace("/", "-")
        elsewhere.mkdir(exist_ok=True)
        (root / name).rename(target)
        (root / name).symlink_to(target)


@pytest.mark.parametrize("names", [("train/ant",), ("train", "test"), ("train/bee", "test/bee"), ("train", "test/ant")])
def test_splits_and_classes_that_are_links_are_opened_like_others(
    names: tuple[str, ...], tmp_path: Path, cache: Path
) -> None:
    files = pngs(SPLITS)
    root = write_files(tmp_path / "set", files)
    _moved(root, tmp_path / "elsewhere", *names)
    dataset = load_dataset(str(root), 16)
    assert (dataset.class_names, dataset.quarantine) == (("ant", "bee"), ())
    expected = [pixels_of(files[name]) for name in sorted(files) if name.startswith("train")]
    np.testing.assert_array_equal(dataset.train.images, expected)
    listing = list_training(str(root), 16, tmp_path / "store")
    np.testing.assert_array_equal([listing.read(index, 16) for index in range(len(listing))], expected)


def test_links_to_folders_inside_a_class_are_followed_and_loops_are_cut(tmp_path: Path) -> None:
    files = pngs({"ant": 4, "bee": 4})
    root = write_files(tmp_path / "set", files)
    write_files(tmp_path / "more", pngs({"deep": 2}))
    (root / "ant/more").symlink_to(tmp_path / "more")
    (tmp_path / "more/back").symlink_to(root)
    (root / "bee/itself").symlink_to(root / "bee")
    (root / "loop").symlink_to(root)
    source = open_folder(root)
    assert source.class_names == ("ant", "bee")
    assert sorted(entry.name for entry in source.entries) == sorted(
        [*files, "ant/more/deep/0.png", "ant/more/deep/1.png"]
    )
    taken = "a link to a folder that is already included"
    assert dict(source.left_out) == {"loop": taken, "ant/more/back": taken, "bee/itself": taken}


def test_special_files_are_left_out_by_name_and_never_opened(tmp_path: Path, cache: Path) -> None:
    root = write_files(tmp_path / "set", pngs(SPLITS))
    os.mkfifo(root / "train/ant/pipe.png")
    (root / "train/bee/gone.png").symlink_to(tmp_path / "nowhere.png")
    (root / "train/bee/self.png").symlink_to("self.png")
    (root / "train/wasp").symlink_to(tmp_path / "nowhere")
    expected = {
        "train/wasp": "a broken link",
        "train/ant/pipe.png": "neither a file nor a folder",
        "train/bee/gone.png": "a broken link",
        "train/bee/self.png": "Too many levels of symbolic links",
    }
    dataset = load_dataset(str(root), 16)
    assert {item.file: item.reason for item in dataset.quarantine} == expected
    assert (len(dataset.train), dataset.class_names) == (6, ("ant", "bee"))
    with pytest.raises(WorkError, match=r"4 files are unreadable \(--strict\); first: train/wasp: a broken link"):
        load_dataset(str(root), 16, strict=True)
    listing = list_training(str(root), 16, tmp_path / "store")
    assert dict(listing.left_out) == expected
    assert len(listing) == 6
    (tmp_path / "nowhere.png").write_bytes((root / "train/bee/0.png").read_bytes())
    assert len(load_dataset(str(root), 16).train) == 7


def test_a_pipe_in_the_place_of_a_listed_file_is_not_waited_for(tmp_path: Path) -> None:
    root = write_files(tmp_path / "set", pngs(SPLITS))
    listing = list_training(str(root), 16, tmp_path / "store")
    entry = open_folder(root).entries[0]
    (root / "train/ant/0.png").unlink()
    os.mkfifo(root / "train/ant/0.png")
    for read in (lambda: listing.read(0, 16), lambda: entry.read(16)):
        with pytest.raises(Unreadable, match="neither a file nor a folder"):
            read()
    with pytest.raises(OSError, match="neither a file nor a folder"):
        read_regular(Path("/dev/zero"))


def _forbidden(monkeypatch: pytest.MonkeyPatch, *folders: Path) -> None:
    """Make listing folders fail, even for a test that runs as root."""
    scandir = os.scandir

    def guarded(path: Path) -> object:
        if Path(path) in folders:
            raise PermissionError(13, "Permission denied", str(path))
        return scandir(path)

    monkeypatch.setattr(os, "scandir", guarded)


@pytest.mark.parametrize("name", ["train/ant", "test/bee", "train", ""])
def test_a_class_or_split_that_cannot_be_read_is_one_line(
    name: str, tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_files(tmp_path / "set", pngs(SPLITS))
    _forbidden(monkeypatch, root / name)
    with pytest.raises(UsageError, match=rf"^cannot read {root / name}: Permission denied$"):
        load_dataset(str(root), 16)
    if not name.startswith("test"):
        with pytest.raises(UsageError, match=rf"^cannot read {root / name}: Permission denied$"):
            list_training(str(root), 16, tmp_path / "store")


def test_a_folder_inside_a_class_that_cannot_be_read_is_left_out_by_name(
    tmp_path: Path, cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = write_files(tmp_path / "set", pngs({**SPLITS, "train/ant/deep": 2, "other/x": 1}))
    _forbidden(monkeypatch, root / "train/ant/deep", root / "other/x")
    dataset = load_dataset(str(root), 16)
    assert [(item.file, item.reason) for item in dataset.quarantine] == [("train/ant/deep", "Permission denied")]
    assert len(dataset.train) == 6
    monkeypatch.undo()
    assert len(load_dataset(str(root), 16).train) == 8


def test_a_class_with_only_lost_files_is_not_skipped(tmp_path: Path, cache: Path) -> None:
    root = write_files(tmp_path / "set", pngs(SPLITS))
    (root / "train/wasp").mkdir()
    (root / "train/wasp/0.png").symlink_to(tmp_path / "unmounted/0.png")
    with pytest.raises(UsageError, match=r"found fewer in wasp \(0\); 1 unreadable files were left out"):
        load_dataset(str(root), 16)


# -- names -----------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("name", "expected"),
    [
        ("plain name-1.png", "plain name-1.png"),
        ("日本 é", "日本 é"),
        (DECOMPOSED, COMPOSED),
        (LATIN, r"caf\xe9"),
        ("two\nlines\t\0\x7f", r"two\nlines\t\x00\x7f"),
        ("a\u2028b\u202e", r"a\u2028b\u202e"),
        ("\ud800", r"\ud800"),
        ("👩\u200d🔬", "👩\u200d🔬"),
    ],
)
def test_names_are_shown_as_text_that_can_be_written_anywhere(name: str, expected: str) -> None:
    assert printable_name(name) == expected
    printable_name(name).encode("utf-8")
    assert printable_name(printable_name(name)) == printable_name(name)


def test_class_names_of_any_bytes_come_through_to_csv_and_json(tmp_path: Path, cache: Path) -> None:
    from toolkit.data.summary import class_rows, summary
    from toolkit.report.tables import csv_text, json_text

    names = [LATIN, "two\nlines", "bell\x07", "日本"]
    try:
        counts = {f"{split}/{name}": 2 for split in ("train", "test") for name in names}
        root = write_files(tmp_path / "set", {**pngs(counts), f"train/{LATIN}/{LATIN}.png": b"no image"})
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    dataset = load_dataset(str(root), 16)
    assert dataset.class_names == (r"bell\x07", r"caf\xe9", r"two\nlines", "日本")
    assert [item.file for item in dataset.quarantine] == [r"train/caf\xe9/caf\xe9.png"]
    table = csv_text(class_rows(dataset)).encode()
    assert [row["class"] for row in csv.DictReader(io.StringIO(table.decode()))] == list(dataset.class_names)
    assert json.loads(json_text(summary(dataset)).encode())["quarantine"][0]["file"] == r"train/caf\xe9/caf\xe9.png"
    listing = list_training(str(root), 16, tmp_path / "store")
    assert listing.class_names == dataset.class_names
    pixels = [listing.read(index, 16) for index in range(len(listing)) if "caf" not in listing.name(index)]
    np.testing.assert_array_equal(pixels, dataset.train.images[dataset.train.labels != 1])
    assert dataset.train.labels.tolist() == [0, 0, 1, 1, 2, 2, 3, 3]


def test_two_folders_that_would_be_shown_alike_are_refused(tmp_path: Path) -> None:
    root = write_files(tmp_path / "set", pngs({"two\nlines": 3, r"two\nlines": 3, "ant": 3}))
    with pytest.raises(UsageError, match=r"two folders would both be called two\\nlines: rename one"):
        open_folder(root)


@pytest.mark.parametrize("form", ["folder", "zip"])
def test_spellings_of_a_class_that_look_the_same_are_one_class_with_a_note(form: str, tmp_path: Path) -> None:
    counts = {f"train/{COMPOSED}": 3, "train/ant": 3, f"test/{DECOMPOSED}": 2, "test/ant": 1}
    if form == "folder":
        source = open_folder(write_files(tmp_path / "set", pngs(counts)))
    else:
        source = open_zip(write_zip(tmp_path / "set.zip", pngs(counts)))
    assert source.class_names == ("ant", COMPOSED)
    assert [entry.label for entry in source.entries if entry.split == "test"] == [0, 1, 1]
    assert source.notes == (
        f"the folders of {COMPOSED} have 2 spellings that look the same (NFC, NFD): treated as one class",
    )


def test_both_spellings_in_one_split_are_one_class_for_catalog_and_listing(tmp_path: Path) -> None:
    root = write_files(tmp_path / "set", pngs({COMPOSED: 10, DECOMPOSED: 10, "zebra": 5}))
    source = open_folder(root)
    trained = [entry for entry in source.entries if entry.split == "train"]
    listing = list_training(str(root), 16, tmp_path / "store")
    assert source.class_names == listing.class_names == (COMPOSED, "zebra")
    assert [entry.label for entry in trained] == listing.labels.tolist() == [0] * 16 + [1] * 4
    for index, entry in enumerate(trained):
        np.testing.assert_array_equal(listing.read(index, 16), entry.read(16))


def test_a_dataset_whose_own_name_cannot_be_written_is_refused(tmp_path: Path, cache: Path) -> None:
    try:
        root = write_files(tmp_path / LATIN, pngs({"ant": 5, "bee": 5}))
    except OSError:
        pytest.skip("this file system takes UTF-8 names only")
    with pytest.raises(UsageError, match=r"caf\\xe9 has bytes that are not UTF-8 .* in its name: rename it"):
        load_dataset(str(root), 16)
    with pytest.raises(UsageError, match="rename it"):
        list_training(absolute_spec(str(root)), 16, tmp_path / "store")
