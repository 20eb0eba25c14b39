"""Listings against the catalog: the same classes, the same training images."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from toolkit.data import sources
from toolkit.data.images import Unreadable
from toolkit.data.listing import list_training, open_listing
from toolkit.foundation.errors import UsageError

LAYOUTS = {
    "classes": {"b/1.png", "b/2.png", "b/deep/0.png", "a/9.png", "a/10.png", "a/.hidden.png", "notes.txt", ".git/x"},
    "train and val": {"train/a/1.png", "train/b/2.png", "val/a/3.png", "val/c/4.png", "other/a/5.png"},
    "train alone": {"train/a/1.png", "train/a/2.png", "train/b/2.png", "train/loose.png"},
    "empty test": {"train/a/1.png", "train/b/2.png", "test/readme.txt"},
}


def tree(root: Path, files: set[str]) -> Path:
    for number, name in enumerate(sorted(files)):
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        pixels = np.random.default_rng(number).integers(0, 256, (12, 10, 3), dtype=np.uint8)
        Image.fromarray(pixels).save(root / name, "png")
    (root / "empty").mkdir()
    return root


@pytest.mark.parametrize("layout", LAYOUTS)
def test_a_folder_lists_the_images_the_catalog_trains_on(tmp_path: Path, layout: str) -> None:
    root = tree(tmp_path / "data", LAYOUTS[layout])
    source = sources.open_folder(root)
    expected = [entry for entry in source.entries if entry.split == "train"]
    list_training(str(root), 8, tmp_path / "store")
    listing = open_listing(str(root), 8, tmp_path / "store")
    assert listing.class_names == source.class_names
    assert [listing.name(index) for index in range(len(listing))] == [entry.name for entry in expected]
    assert listing.labels.tolist() == [entry.label for entry in expected]
    for index, entry in enumerate(expected):
        np.testing.assert_array_equal(listing.read(index, 8), entry.read(8))


def test_the_demo_set_is_listed_through_the_catalog(tmp_path: Path) -> None:
    listing = list_training("demo", 16, tmp_path)
    assert (len(listing), len(listing.class_names)) == (1600, 10)
    assert listing.read(1599, 16).shape == (16, 16, 3)


def test_anything_but_a_dataset_is_refused_as_by_the_catalog(tmp_path: Path) -> None:
    root = tree(tmp_path / "data", {"only/1.png", "only/2.png"})
    with pytest.raises(UsageError, match="at least two classes, found only 'only'"):
        list_training(str(root), 8, tmp_path / "store")
    with pytest.raises(UsageError, match="does not exist"):
        list_training(str(tmp_path / "nothing"), 8, tmp_path / "store")


def test_an_unreadable_file_says_so_when_read(tmp_path: Path) -> None:
    root = tree(tmp_path / "data", {"train/a/1.png", "train/b/2.png", "test/a/1.png"})
    (root / "train/b/2.png").write_bytes(b"no image")
    listing = list_training(str(root), 8, tmp_path / "store")
    with pytest.raises(Unreadable, match="not an image"):
        listing.read(1, 8)
