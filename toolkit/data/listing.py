"""List training images for one pass over millions of them: a few bytes per image, opened again by every worker.

:mod:`toolkit.data.catalog` decodes a whole dataset into its cache and keeps one object per file, which suits thousands
of images. A listing of a folder keeps each file's name and label in flat files and decodes on demand. Classes and
training images are the same: without a test split, the same images are held out. For a zip, every worker holds the
directory in memory; npz files, the demo set and torchvision datasets go through the catalog's cache. Unpack larger
datasets into a folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import IO

import numpy as np

from toolkit.data import sources
from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import held_out_indices
from toolkit.data.images import Framing, Unreadable, Whole, content_digest, framed_array
from toolkit.data.layout import ClassFolder, Layout, lay_out
from toolkit.data.samples import Tell, unsaid
from toolkit.data.sources import Source, held_out_note, read_image
from toolkit.data.spec import SplitFolders, require_plain, split_spec
from toolkit.data.tree import FolderTree, printable_path, read_regular
from toolkit.foundation.errors import UsageError, WorkError, describe_os_error, one_line
from toolkit.foundation.files import read_json, write_json
from toolkit.foundation.image_size import WrittenSize


@dataclass(frozen=True)
class Listing:
    """Training images in order of their labels.

    Attributes:
        class_names: one name per label.
        labels: int32 (N,), ascending.
        name: returns the display name of the image at an index.
        read: returns the pixels, uint8 (H, W, 3), for an index and a framing, and passes remarks about the image to a
            third argument; raises :class:`Unreadable`.
        notes: remarks for the user, such as a held-out test split.
        left_out: names of the files that are not images, with reasons.
    """

    class_names: tuple[str, ...]
    labels: np.ndarray
    name: Callable[[int], str]
    read: Callable[..., np.ndarray]
    notes: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class ListedImages:
    """Sources of some images of a listing, found by their pixels; their files cannot be had.

    Attributes:
        listing: of the images.
        places: index in the listing by the digest of an image.
    """

    listing: Listing
    places: Mapping[bytes, int]
    has_files: bool = False
    signature: str = ""

    @classmethod
    def of(cls, listing: Listing, places: Sequence[int], digests: Sequence[bytes]) -> ListedImages:
        """Of the images with these digests at these places."""
        return cls(listing, dict(zip(digests, places, strict=True)))

    def file_of(self, image: np.ndarray) -> bytes:
        """Always raises a :class:`WorkError`."""
        raise WorkError("the files of listed images are not kept")

    def whole_of(self, image: np.ndarray, wanted: Whole) -> np.ndarray:
        """All of the source of an image, uint8 (H, W, 3).

        Raises:
            WorkError: it is another image, or can no longer be read.
        """
        place = self.places.get(content_digest(image))
        if place is None:
            raise WorkError("an image has no source in its dataset")
        try:
            return self.listing.read(place, wanted)
        except Unreadable as error:
            raise WorkError(f"{self.listing.name(place)} cannot be read: {one_line(error)}") from error


def list_training(spec: str, size: WrittenSize, store: Path) -> Listing:
    """List a dataset's training images, in ``store`` if the dataset is a folder; see :func:`open_listing`.

    Raises:
        UsageError: no usable dataset at ``spec``.
        WorkError: it cannot be read, or ``store`` cannot be written.
    """
    where, named = split_spec(spec)
    if _is_folder(where):
        require_plain(where)
        _store_folder(FolderTree(Path(where).expanduser()), named, store)
    return open_listing(spec, size, store)


def open_listing(spec: str, size: WrittenSize, store: Path) -> Listing:
    """Open a listing made earlier, in this process or another."""
    where, named = split_spec(spec)
    if _is_folder(where):
        return _open_folder(Path(where).expanduser(), store)
    if where.lower().endswith(".zip") and os.path.isfile(os.path.expanduser(where)):
        return _of_source(sources.open_zip(Path(where).expanduser(), named))
    train = (dataset := load_dataset(spec, size)).train
    order = np.argsort(train.labels, kind="stable")

    def read(index: int, framing: Framing, tell: Tell = unsaid) -> np.ndarray:
        image = np.asarray(train.images[order[index]])
        if isinstance(framing, Whole) and dataset.originals is not None:
            return dataset.originals.whole_of(image, framing)
        return framed_array(image, framing)

    return Listing(
        dataset.class_names,
        train.labels[order].astype(np.int32),
        lambda i: f"train[{order[i]}]",
        read,
        dataset.notes,
        tuple((item.file, item.reason) for item in dataset.quarantine),
    )


def _is_folder(where: str) -> bool:
    return bool(where) and where != "demo" and os.path.isdir(os.path.expanduser(where))


def _of_source(source: Source) -> Listing:
    entries = sorted((entry for entry in source.entries if entry.split == "train"), key=lambda entry: entry.label)
    labels = np.array([entry.label for entry in entries], np.int32)
    return Listing(
        source.class_names,
        labels,
        lambda i: entries[i].name,
        lambda i, framing, tell=unsaid: entries[i].read(framing, tell),
        source.notes,
        source.left_out,
    )


def _store_folder(tree: FolderTree, named: SplitFolders | None, store: Path) -> None:
    """Write the list of a folder's training images, for every worker to open.

    ``names.bin`` holds all paths, relative to the folder of their class, ``ends.npy`` the end of each in it,
    ``kept.npy`` the indices of those not held out, ``listing.json`` the rest.
    """
    layout = lay_out(tree, named)
    training = [folder for folder in layout.folders if folder.split == "train"]
    try:
        store.mkdir(parents=True, exist_ok=True)
        with open(store / "names.bin", "wb") as names:
            lengths = [_write_names(tree, folder, names) for folder in training]
        counts = [len(own) for own in lengths]
        if not any(counts):
            raise UsageError(f"{tree.where}: the training split has no readable files")
        labels = np.repeat(np.array([folder.label for folder in training], np.int32), counts)
        kept = np.ones(len(labels), bool)
        notes = list(layout.notes)
        if not _has_test(tree, layout):
            held = held_out_indices(labels)
            kept[held] = False
            notes.append(held_out_note(len(held)))
        np.save(store / "ends.npy", np.cumsum(np.concatenate(lengths), dtype=np.int64))
        np.save(store / "kept.npy", np.flatnonzero(kept))
    except OSError as error:
        raise WorkError(describe_os_error(error, "list", tree.root)) from error
    about = {
        "class_names": layout.class_names,
        "folders": [
            {"parts": folder.parts, "label": folder.label, "files": count}
            for folder, count in zip(training, counts, strict=True)
        ],
        "notes": notes,
        "left_out": list(tree.left_out.items()),
    }
    write_json(store / "listing.json", about)


def _write_names(tree: FolderTree, folder: ClassFolder, names: IO[bytes]) -> np.ndarray:
    """Write the paths of one class's files; returns the bytes of each path."""
    own = (parts[len(folder.parts) :] for parts in tree.files(folder.parts))
    paths = ["/".join(parts).encode("utf-8", "surrogateescape") for parts in own]
    names.write(b"".join(paths))
    return np.array([len(path) for path in paths], np.int64)


def _has_test(tree: FolderTree, layout: Layout) -> bool:
    testing = [folder for folder in layout.folders if folder.split == "test"]
    return any(next(tree.files(folder.parts), None) is not None for folder in testing)


def _open_folder(root: Path, store: Path) -> Listing:
    try:
        about = read_json(store / "listing.json")
        ends, kept = (np.load(store / f"{name}.npy", mmap_mode="r") for name in ("ends", "kept"))
        names = np.memmap(store / "names.bin", np.uint8, "r")
        folders, class_names = about["folders"], tuple(about["class_names"])
    except (OSError, ValueError, KeyError) as error:
        raise WorkError(f"the listing in {store} cannot be read: {error}") from error
    if not root.is_dir():
        raise UsageError(f"{root} does not exist on this machine")
    tree = FolderTree(root)
    last = np.cumsum([folder["files"] for folder in folders])
    labels = np.repeat(np.array([folder["label"] for folder in folders], np.int32), [one["files"] for one in folders])

    def parts(index: int) -> tuple[str, ...]:
        entry = int(kept[index])
        start = int(ends[entry - 1]) if entry else 0
        inside = names[start : int(ends[entry])].tobytes().decode("utf-8", "surrogateescape")
        return (*folders[int(np.searchsorted(last, entry, "right"))]["parts"], *inside.split("/"))

    def read(index: int, framing: Framing, tell: Tell = unsaid) -> np.ndarray:
        file = tree.path(parts(index))
        return read_image(lambda: file.stat().st_size, lambda: read_regular(file), framing, tell)

    return Listing(
        class_names,
        labels[kept],
        lambda index: printable_path(parts(index)),
        read,
        tuple(about["notes"]),
        tuple((name, reason) for name, reason in about["left_out"]),
    )


__all__ = ["ListedImages", "Listing", "Unreadable", "list_training", "open_listing"]
