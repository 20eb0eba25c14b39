"""An npz in MedMNIST layout as a :class:`Source`. Nothing in it is ever unpickled."""

from __future__ import annotations

import hashlib
import zipfile
from pathlib import Path

import numpy as np

from toolkit.data.sources import Entry, Source, array_entries, hold_out, refuse_too_large
from toolkit.foundation.errors import UsageError, one_line

_WANTED = ("train_images", "train_labels", "test_images", "test_labels")


def signature(path: Path) -> str:
    """A digest of the archive's directory, found without reading the arrays.

    Raises:
        UsageError: not an npz, or more than 20 GiB unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # a damaged directory surfaces as whatever zipfile meets
        raise UsageError(f"{path} is not a readable npz: {one_line(error)}") from error
    refuse_too_large(members, path)
    marks = "\n".join(f"{info.filename}:{info.CRC}:{info.file_size}" for info in members)
    return hashlib.sha256(marks.encode("utf-8", "surrogateescape")).hexdigest()


def open_npz(path: Path) -> Source:
    """An npz with ``train_images``, ``train_labels`` and, if there is a test split, ``test_images``, ``test_labels``.

    Images are uint8 of shape (N, H, W) or (N, H, W, 3); labels are integers of shape (N,) or (N, 1).

    Raises:
        UsageError: pickled objects (nothing is executed), missing arrays, other shapes or types.
    """
    mark = signature(path)
    arrays = _load(path)
    if "train_images" not in arrays or "train_labels" not in arrays:
        raise UsageError(f"{path}: expected train_images and train_labels, found {', '.join(arrays) or 'neither'}")
    entries = [entry for split in ("train", "test") for entry in _split_entries(arrays, split, path)]
    labels = sorted({entry.label for entry in entries if entry.split == "train"})
    if len(labels) < 2:
        raise UsageError(f"{path}: expected at least two classes, found {len(labels)}")
    if labels != list(range(len(labels))):
        raise UsageError(f"{path}: expected labels 0..{len(labels) - 1}, found {', '.join(map(str, labels[:8]))}, ...")
    notes = []
    strangers = sorted({entry.label for entry in entries} - set(labels))
    if strangers:
        notes.append(f"test classes without training images are left out: {', '.join(map(str, strangers))}")
        entries = [entry for entry in entries if entry.label not in strangers]
    if not any(entry.split == "test" for entry in entries):
        entries, note = hold_out(entries)
        notes.append(note)
    return Source(tuple(map(str, labels)), tuple(entries), mark, tuple(notes))


def _load(path: Path) -> dict[str, np.ndarray]:
    """The arrays in :data:`_WANTED`; the others are read as well, to refuse pickled objects wherever they are."""
    arrays = {}
    try:
        with np.load(path, allow_pickle=False) as archive:
            for name in archive.files:
                value = archive[name]
                if name in _WANTED and isinstance(value, np.ndarray):
                    arrays[name] = value
    except Exception as error:  # a damaged archive surfaces as whatever numpy, zipfile or zlib meets
        if isinstance(error, ValueError) and "pickle" in str(error).lower():
            raise UsageError(f"{path} is refused: it holds pickled objects, which could run code") from error
        raise UsageError(f"{path} is not a readable npz: {one_line(error)}") from error
    return arrays


def _split_entries(arrays: dict[str, np.ndarray], split: str, path: Path) -> list[Entry]:
    if f"{split}_images" not in arrays:
        return []
    pixels = arrays[f"{split}_images"]
    labels = arrays.get(f"{split}_labels")
    if (
        pixels.dtype != np.uint8
        or pixels.ndim not in (3, 4)
        or (pixels.ndim == 4 and pixels.shape[3] not in (1, 3))
        or 0 in pixels.shape[1:]
    ):
        raise UsageError(
            f"{path}: {split}_images must be uint8 of shape (N, H, W) or (N, H, W, 3), "
            f"got {pixels.dtype} {pixels.shape}"
        )
    if labels is not None and labels.ndim == 2 and labels.shape[1] == 1:
        labels = labels[:, 0]
    if labels is None or labels.ndim != 1 or len(labels) != len(pixels) or labels.dtype.kind not in "iu":
        found = "none" if labels is None else f"{labels.dtype} {labels.shape}"
        raise UsageError(f"{path}: {split}_labels must be {len(pixels)} integers, one an image, got {found}")
    return array_entries(split, pixels, labels)
