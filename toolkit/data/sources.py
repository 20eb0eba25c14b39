"""Datasets in a folder or a zip file, opened as a :class:`Source`.

A source lists entries without decoding them; :mod:`toolkit.data.catalog` decodes and caches.
"""

from __future__ import annotations

import hashlib
import math
import os
import stat
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from toolkit.data import images
from toolkit.data.dataset import HELD_OUT_SHARE, SPLIT_SEED, held_out_indices
from toolkit.data.images import Framing
from toolkit.data.layout import lay_out
from toolkit.data.names import printable_name
from toolkit.data.samples import Tell, unsaid
from toolkit.data.spec import SplitFolders, parts_of
from toolkit.data.tree import FolderTree, Listed, Tree, ZipTree, printable_path
from toolkit.foundation.errors import UsageError, describe_os_error, one_line
from toolkit.foundation.sizes import format_size

MAX_UNPACKED_BYTES = 20 * 1024**3
"""Maximum that an archive may declare."""
FREELY_UNPACKED_BYTES = 256 * 1024**2
MAX_RATIO = 100
"""Limit of unpacked / packed bytes, beyond :data:`FREELY_UNPACKED_BYTES`. Images reach 10, drawings 50, bombs more."""
MAX_FILE_BYTES = images.MAX_DECODED_BYTES
"""No image within the decoded limit needs a larger file."""
_SAMPLED_BLOCKS = 256
_BLOCK_BYTES = 65_536
"""Size of the blocks that identify an archive: all of it up to 16 MiB, and 16 MiB of a larger one."""


class Read(Protocol):
    """Returns what is wanted of an image, uint8 (H, W, 3), and passes remarks about it to ``tell``.

    Raises:
        Unreadable: the image cannot be read.
    """

    def __call__(self, framing: Framing, tell: Tell = unsaid) -> np.ndarray: ...


@dataclass(frozen=True)
class Entry:
    """One image, not yet decoded.

    Attributes:
        split: ``train`` or ``test``.
        label: index into the source's class names.
        name: display name.
        file_bytes: size of its file.
        read: returns the pixels; see :class:`Read`.
        file: returns the bytes of its file; None if it has none of its own.
    """

    split: str
    label: int
    name: str
    file_bytes: int
    read: Read
    file: Callable[[], bytes] | None = None


@dataclass(frozen=True)
class Source:
    """Classes and entries, not yet decoded.

    Attributes:
        class_names: one name per label.
        entries: the images.
        signature: changes with the content.
        notes: remarks for the user.
        left_out: names of the files that are not entries, with reasons.
    """

    class_names: tuple[str, ...]
    entries: tuple[Entry, ...]
    signature: str
    notes: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


def open_folder(root: Path, named: SplitFolders | None = None) -> Source:
    """Open a folder ``class/*``, or one of splits with this layout: see :mod:`toolkit.data.layout`.

    The content signature covers the path, size and modification time of every file used, so that an unchanged folder
    is recognised without reading it.

    Raises:
        UsageError: another layout, or a folder that cannot be read.
    """
    return _from_tree(FolderTree(root), named)


def open_zip(path: Path, named: SplitFolders | None = None) -> Source:
    """Open a zip of such a folder, with or without a top-level folder; it is read in place, never unpacked to disk.

    The content signature covers the checksum of every member used and a sample of the file's bytes.

    Raises:
        UsageError: another layout; not a zip; ``..``, absolute names, links or encrypted members in it; or larger than
            :func:`refuse_too_large` allows when unpacked.
    """
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # zipfile raises all kinds of errors for a damaged directory
        raise UsageError(f"{path} is not a readable zip archive: {one_line(error)}") from error
    for info in archive.infolist():
        _refuse_unsafe(info, path)
    refuse_too_large(archive.infolist(), path)
    tree = ZipTree(archive, str(path), () if named is None else parts_of(named.train))
    return _from_tree(tree, named, sampled_digest(path))


def sampled_digest(path: Path) -> str:
    """A digest of a file's length and :data:`_SAMPLED_BLOCKS` blocks spread over it, or all of a small file.

    Raises:
        UsageError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            length = file.seek(0, os.SEEK_END)
            digest = hashlib.sha256(str(length).encode())
            starts = np.linspace(0, max(0, length - _BLOCK_BYTES), _SAMPLED_BLOCKS).astype(np.int64)
            if length <= _SAMPLED_BLOCKS * _BLOCK_BYTES:
                starts = np.arange(0, length, _BLOCK_BYTES)
            for start in starts.tolist():
                file.seek(start)
                digest.update(file.read(_BLOCK_BYTES))
    except OSError as error:
        raise UsageError(describe_os_error(error, "read", path)) from error
    return digest.hexdigest()


def refuse_too_large(members: Sequence[zipfile.ZipInfo], path: Path) -> None:
    """Refuse an archive by the sizes in its directory, before anything is unpacked.

    Raises:
        UsageError: more than :data:`MAX_UNPACKED_BYTES`, or more than both :data:`FREELY_UNPACKED_BYTES` and
            :data:`MAX_RATIO` times the archive's own size.
    """
    total = sum(info.file_size for info in members)
    packed = path.stat().st_size  # not from the directory: in bombs, many members share the same bytes
    if total > MAX_UNPACKED_BYTES:
        raise UsageError(f"{path} would unpack to {format_size(total)}, the limit is {format_size(MAX_UNPACKED_BYTES)}")
    if total > max(FREELY_UNPACKED_BYTES, MAX_RATIO * packed):
        raise UsageError(
            f"{path} would unpack to {format_size(total)} from {format_size(packed)}: beyond "
            f"{format_size(FREELY_UNPACKED_BYTES)} the limit is {MAX_RATIO} times the packed size"
        )


def _refuse_unsafe(info: zipfile.ZipInfo, path: Path) -> None:
    name = info.filename.replace("\\", "/")
    if ".." in PurePosixPath(name).parts:
        raise UsageError(f"{path} is refused: {info.filename!r} points outside the archive")
    if name.startswith("/") or (len(name) > 1 and name[1] == ":"):
        raise UsageError(f"{path} is refused: {info.filename!r} is an absolute name")
    if stat.S_ISLNK(info.external_attr >> 16):
        raise UsageError(f"{path} is refused: {info.filename!r} is a link")
    if info.flag_bits & 0x1:
        raise UsageError(f"{path} is refused: {info.filename!r} is encrypted")


def _from_tree(tree: Tree, named: SplitFolders | None, mark: str = "") -> Source:
    layout = lay_out(tree, named)
    notes = list(layout.notes)
    entries: list[Entry] = []
    marks = [mark, *layout.class_names]
    for folder in layout.folders:
        for file in filter(None, map(tree.listed, tree.files(folder.parts))):
            entries.append(_file_entry(folder.split, folder.label, file))
            marks.append(f"{folder.split}:{folder.label}:{'/'.join(file.parts)}:{file.mark}")
    if not any(entry.split == "test" for entry in entries):
        entries, note = hold_out(entries)
        notes.append(note)
    digest = hashlib.sha256("\n".join(marks).encode("utf-8", "surrogateescape")).hexdigest()
    return Source(layout.class_names, tuple(entries), digest, tuple(notes), tuple(tree.left_out.items()))


def _file_entry(split: str, label: int, file: Listed) -> Entry:
    def read(framing: Framing, tell: Tell = unsaid) -> np.ndarray:
        return read_image(lambda: file.size, file.read, framing, tell)

    return Entry(split, label, printable_path(file.parts), file.size, read, file.read)


def read_image(
    file_bytes: Callable[[], int], read: Callable[[], bytes], framing: Framing, tell: Tell = unsaid
) -> np.ndarray:
    """What is wanted of a file's image, uint8 (H, W, 3), given functions that return its size and its bytes.

    ``tell`` receives remarks for the user.

    Raises:
        Unreadable: the file cannot be read, is too large, or is not a complete image.
    """
    try:
        if (length := file_bytes()) > MAX_FILE_BYTES:
            raise images.Unreadable(f"{format_size(length)}, more than {format_size(MAX_FILE_BYTES)}")
        data = read()
    except images.Unreadable:
        raise
    except Exception as error:  # zlib, bz2 and lzma raise all kinds of errors for a damaged zip member
        raise images.Unreadable(f"cannot be read: {printable_name(one_line(error))}") from error
    return images.decode_image(data, framing, tell)


def hold_out(entries: Sequence[Entry]) -> tuple[list[Entry], str]:
    """Move a seeded, stratified 20 % of each class to the test split; also returns a note about it."""
    chosen = set(held_out_indices(np.array([entry.label for entry in entries])).tolist())
    moved = [replace(entry, split="test" if i in chosen else "train") for i, entry in enumerate(entries)]
    return moved, held_out_note(len(chosen))


def held_out_note(count: int) -> str:
    """The note for ``count`` images held out for testing."""
    share = f"a stratified {HELD_OUT_SHARE:.0%} ({count} images, seed {SPLIT_SEED})"
    return f"no test split was found: {share} was held out"


def array_entries(split: str, pixels: np.ndarray, labels: np.ndarray) -> list[Entry]:
    """Entries for images already in memory; their file size is that of their raw pixels at original size."""

    def entry(index: int) -> Entry:
        def read(framing: Framing, tell: Tell = unsaid) -> np.ndarray:
            return images.framed_array(np.asarray(pixels[index]), framing)

        return Entry(split, int(labels[index]), f"{split}[{index}]", math.prod(pixels.shape[1:]), read)

    return [entry(index) for index in range(len(labels))]
