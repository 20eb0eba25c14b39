"""An npz file in MedMNIST layout as a :class:`Source`. Nothing in it is ever unpickled."""

from __future__ import annotations

import hashlib
import math
import shutil
import tempfile
import zipfile
from pathlib import Path
from typing import Literal, NamedTuple

import numpy as np
from numpy.lib import format as npy

from toolkit.data import images
from toolkit.data.sources import Entry, Source, array_entries, hold_out, refuse_too_large, sampled_digest
from toolkit.foundation.errors import UsageError, WorkError, describe_os_error, one_line
from toolkit.foundation.files import cache_root, make_folder
from toolkit.foundation.sizes import format_size

_COPIED_BYTES = 1024**2
_WANTED = ("train_images", "train_labels", "test_images", "test_labels")


def npz_signature(path: Path) -> str:
    """A digest of the archive's directory and a sample of its bytes, without reading the arrays.

    Raises:
        UsageError: not an npz, or larger than :func:`refuse_too_large` allows when unpacked.
    """
    try:
        with zipfile.ZipFile(path) as archive:
            members = archive.infolist()
    except Exception as error:  # zipfile raises all kinds of errors for a damaged directory
        raise UsageError(f"{path} is not a readable npz: {one_line(error)}") from error
    refuse_too_large(members, path)
    marks = [sampled_digest(path), *(f"{info.filename}:{info.CRC}:{info.file_size}" for info in members)]
    return hashlib.sha256("\n".join(marks).encode("utf-8", "surrogateescape")).hexdigest()


def open_npz(path: Path) -> Source:
    """Open an npz with ``train_images``, ``train_labels`` and optionally ``test_images``, ``test_labels``.

    Images are uint8 of shape (N, H, W) or (N, H, W, 3); labels are integers of shape (N,) or (N, 1).

    Raises:
        UsageError: pickled objects (nothing is executed), missing arrays, wrong shapes or types.
    """
    mark = npz_signature(path)
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
    """The arrays in :data:`_WANTED`; all headers are read, to refuse pickled objects anywhere.

    Headers are read before any array is unpacked. Each array is unpacked into an unnamed file in the cache folder and
    memory-mapped, so that memory use does not grow with it.
    """
    arrays = {}
    try:
        with zipfile.ZipFile(path) as archive:
            headers = [(info, _header(archive, info)) for info in archive.infolist()]
            found = {info.filename.removesuffix(".npy"): (info, header) for info, header in headers if header}
            for name, (_, header) in found.items():
                _refuse_header(name, header, path)
            for name, (info, header) in found.items():
                if name in _WANTED:
                    arrays[name] = _unpacked(archive, info, header)
    except UsageError:
        raise
    except OSError as error:
        raise WorkError(describe_os_error(error, "unpack", path)) from error
    except Exception as error:  # numpy, zipfile and zlib raise all kinds of errors for a damaged archive
        raise UsageError(f"{path} is not a readable npz: {one_line(error)}") from error
    return arrays


class _Header(NamedTuple):
    """The array header of an npz member; ``start`` is the offset of its elements."""

    shape: tuple[int, ...]
    fortran: bool
    dtype: np.dtype
    start: int

    @property
    def nbytes(self) -> int:
        return math.prod(self.shape) * self.dtype.itemsize


def _header(archive: zipfile.ZipFile, info: zipfile.ZipInfo) -> _Header | None:
    """A member's header; None if it is not an array."""
    with archive.open(info) as member:
        if member.read(len(npy.MAGIC_PREFIX)) != npy.MAGIC_PREFIX:
            return None
        version = tuple(member.read(2))
        read = npy.read_array_header_1_0 if version == (1, 0) else npy.read_array_header_2_0
        shape, fortran, dtype = read(member)
        return _Header(shape, fortran, dtype, member.tell())


def _refuse_header(name: str, header: _Header, path: Path) -> None:
    if header.dtype.hasobject:
        raise UsageError(f"{path} is refused: it contains pickled objects, which could run code")
    image = math.prod(header.shape[1:]) * header.dtype.itemsize
    if name in _WANTED and image > images.MAX_DECODED_BYTES:
        raise UsageError(
            f"{path}: an image of {name} has {format_size(image)}, the limit is {format_size(images.MAX_DECODED_BYTES)}"
        )


def _unpacked(archive: zipfile.ZipFile, info: zipfile.ZipInfo, header: _Header) -> np.ndarray:
    """An array mapped from a temporary file that disappears with the array."""
    if header.start + header.nbytes != info.file_size:
        raise ValueError(f"{info.filename} has {info.file_size} bytes, expected {header.start + header.nbytes}")
    if header.nbytes == 0:
        return np.zeros(header.shape, header.dtype)
    make_folder(cache_root())
    with tempfile.TemporaryFile(dir=cache_root()) as file, archive.open(info) as member:
        shutil.copyfileobj(member, file, _COPIED_BYTES)  # to the end, where zipfile verifies the checksum
        file.flush()
        order: Literal["F", "C"] = "F" if header.fortran else "C"
        return np.memmap(file, header.dtype, "r", header.start, header.shape, order)


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
        raise UsageError(f"{path}: {split}_labels must be {len(pixels)} integers, one per image, got {found}")
    return array_entries(split, pixels, labels)
