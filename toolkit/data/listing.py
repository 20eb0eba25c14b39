"""Training images listed for a pass over millions of them: a few bytes an image, opened again by every worker.

:mod:`toolkit.data.catalog` decodes a whole dataset into its cache and keeps an object a file; that is right for
thousands of images. A listing of a folder keeps each file's name and label in flat files and decodes on demand. It
has the same classes and the same training images: where there is no test split, the same images are held out.
A zip's directory is held in memory by every worker, and an npz, the demo set and torchvision's sets go through the
catalog's cache: unpack what is too large for that into a folder.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from toolkit.data import sources
from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import held_out_indices
from toolkit.data.images import Unreadable, square_array
from toolkit.foundation.errors import UsageError, WorkError, describe_os_error
from toolkit.foundation.files import read_json, write_json


@dataclass(frozen=True)
class Listing:
    """Training images in order of their labels.

    Attributes:
        class_names: one name a label.
        labels: int32 (N,), ascending.
        name: gives what the user knows an image by, for an index.
        read: gives the pixels, uint8 (size, size, 3), for an index and a size; raises :class:`Unreadable`.
    """

    class_names: tuple[str, ...]
    labels: np.ndarray
    name: Callable[[int], str]
    read: Callable[[int, int], np.ndarray]

    def __len__(self) -> int:
        return len(self.labels)


def list_training(spec: str, size: int, store: Path) -> Listing:
    """List a dataset's training images, into ``store`` if it is a folder of files; see :func:`open_listing`.

    Raises:
        UsageError: nothing usable at ``spec``.
        WorkError: it cannot be read, or ``store`` cannot be written.
    """
    if _is_folder(spec):
        _store_folder(Path(spec).expanduser(), store)
    return open_listing(spec, size, store)


def open_listing(spec: str, size: int, store: Path) -> Listing:
    """A listing made before, in this process or in another."""
    if _is_folder(spec):
        return _open_folder(Path(spec).expanduser(), store)
    if spec.lower().endswith(".zip") and os.path.isfile(spec):
        source = sources.open_zip(Path(spec))
        entries = sorted((entry for entry in source.entries if entry.split == "train"), key=lambda entry: entry.label)
        labels = np.array([entry.label for entry in entries], np.int32)
        return Listing(source.class_names, labels, lambda i: entries[i].name, lambda i, size: entries[i].read(size))
    train = (dataset := load_dataset(spec, size)).train
    order = np.argsort(train.labels, kind="stable")
    return Listing(
        dataset.class_names,
        train.labels[order].astype(np.int32),
        lambda i: f"train[{order[i]}]",
        lambda i, size: square_array(np.asarray(train.images[order[i]]), size),
    )


def _is_folder(spec: str) -> bool:
    return bool(spec) and spec != "demo" and os.path.isdir(os.path.expanduser(spec))


def _store_folder(root: Path, store: Path) -> None:
    """Write the names and labels of a folder's training images: ``names.bin``, ``ends.npy``, ``labels.npy``."""
    try:
        top, class_names, has_test = _classes(root)
        ends: list[np.ndarray] = []
        counts: list[int] = []
        position = 0
        store.mkdir(parents=True, exist_ok=True)
        with open(store / "names.bin", "wb") as names:
            for class_name in class_names:
                # one class's names at a time, sorted as the catalog sorts them: by the parts of their paths
                paths = ["/".join(parts).encode("utf-8", "surrogateescape") for parts in _files(top / class_name)]
                lengths = np.cumsum([len(path) for path in paths], dtype=np.int64)
                names.write(b"".join(paths))
                ends.append(position + lengths)
                counts.append(len(paths))
                position += int(lengths[-1])
        labels = np.repeat(np.arange(len(counts), dtype=np.int32), counts)
        kept = np.ones(len(labels), bool)
        if not has_test:
            kept[held_out_indices(labels)] = False
        np.save(store / "ends.npy", np.concatenate(ends))
        np.save(store / "labels.npy", labels)
        np.save(store / "kept.npy", np.flatnonzero(kept))
        prefix = "" if top == root else top.name
        write_json(store / "listing.json", {"class_names": class_names, "prefix": prefix})
    except OSError as error:
        raise WorkError(describe_os_error(error, "list", root)) from error


def _classes(root: Path) -> tuple[Path, list[str], bool]:
    """The folder whose subfolders are the classes, their names, and whether there is a test split."""
    filled = {name for name in _subfolders(root) if next(_walk(root / name), None) is not None}
    folders, _ = sources.split_folders(filled, str(root))
    if folders is None:
        top, class_names, test = root, sorted(filled), None
    else:
        top = root / folders[0]
        class_names = [name for name in sorted(_subfolders(top)) if next(_walk(top / name), None) is not None]
        test = root / folders[1] if folders[1] else None
    sources.require_classes(class_names, "no files there", str(root))
    known = set(class_names)
    has_test = test is not None and any(
        name in known and next(_walk(test / name), None) is not None for name in _subfolders(test)
    )
    return top, class_names, has_test


def _subfolders(folder: Path) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in entries if entry.is_dir() and not sources.is_clutter((entry.name,))]


def _walk(folder: Path) -> Iterator[tuple[str, ...]]:
    """The files below a folder, as the parts of their paths from it."""
    for at, folders, files in os.walk(folder):
        folders[:] = [name for name in folders if not sources.is_clutter((name,))]
        parts = Path(at).relative_to(folder).parts
        for name in files:
            if not sources.is_clutter((name,)):
                yield (*parts, name)


def _files(folder: Path) -> list[tuple[str, ...]]:
    return sorted(_walk(folder))


def _open_folder(root: Path, store: Path) -> Listing:
    try:
        about = read_json(store / "listing.json")
        ends, labels, kept = (np.load(store / f"{name}.npy", mmap_mode="r") for name in ("ends", "labels", "kept"))
        names = np.memmap(store / "names.bin", np.uint8, "r")
    except (OSError, ValueError) as error:
        raise WorkError(f"the listing in {store} cannot be read: {error}") from error
    if not root.is_dir():
        raise UsageError(f"{root} does not exist here")
    top = root / about["prefix"]
    class_names = tuple(about["class_names"])

    def path(index: int) -> Path:
        entry = int(kept[index])
        start = int(ends[entry - 1]) if entry else 0
        inside = names[start : int(ends[entry])].tobytes().decode("utf-8", "surrogateescape")
        return top / class_names[labels[entry]] / inside

    def read(index: int, size: int) -> np.ndarray:
        file = path(index)
        return sources.read_image(lambda: file.stat().st_size, file.read_bytes, size)

    return Listing(class_names, np.asarray(labels)[kept], lambda index: path(index).relative_to(root).as_posix(), read)


__all__ = ["Listing", "Unreadable", "list_training", "open_listing"]
