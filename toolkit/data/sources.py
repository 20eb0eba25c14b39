"""Where images come from: a folder or a zip of one. Each becomes a :class:`Source`.

A source lists entries without decoding them; :mod:`toolkit.data.catalog` decodes and caches.
"""

from __future__ import annotations

import hashlib
import os
import stat
import zipfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Protocol

import numpy as np

from toolkit.data import images
from toolkit.data.dataset import HELD_OUT_SHARE, SPLIT_SEED, held_out_indices
from toolkit.data.layout import lay_out
from toolkit.data.names import printable_name
from toolkit.data.samples import Tell, unsaid
from toolkit.data.spec import SplitFolders, parts_of
from toolkit.data.tree import FolderTree, Listed, Tree, ZipTree, printable_path
from toolkit.foundation.errors import UsageError, describe_os_error, one_line
from toolkit.foundation.sizes import format_size

MAX_UNPACKED_BYTES = 20 * 1024**3
"""That an archive may declare."""
FREELY_UNPACKED_BYTES = 256 * 1024**2
MAX_RATIO = 100
"""Unpacked to packed, beyond :data:`FREELY_UNPACKED_BYTES`. Images come to 10, drawings to 50; a bomb needs more."""
MAX_FILE_BYTES = images.MAX_DECODED_BYTES
"""No image within that limit needs a larger file."""
_SAMPLED_BLOCKS = 256
_BLOCK_BYTES = 65_536
"""Read of an archive to recognise it: all of 16 MiB, and as much of a larger one."""


class Read(Protocol):
    """Gives an image's pixels, uint8 (size, size, 3), and tells what a user should know about it.

    Raises:
        Unreadable: it cannot be read.
    """

    def __call__(self, size: int, tell: Tell = unsaid) -> np.ndarray: ...


@dataclass(frozen=True)
class Entry:
    """One image that may be read.

    Attributes:
        split: ``train`` or ``test``.
        label: index into the source's class names.
        name: what the user knows it by.
        file_bytes: size of its file.
        read: gives the pixels; see :class:`Read`.
    """

    split: str
    label: int
    name: str
    file_bytes: int
    read: Read


@dataclass(frozen=True)
class Source:
    """Classes and entries, not yet decoded.

    Attributes:
        class_names: one name a label.
        entries: the images.
        signature: changes when the content does.
        notes: what the user should know.
        left_out: names of what was met and is no entry, with reasons.
    """

    class_names: tuple[str, ...]
    entries: tuple[Entry, ...]
    signature: str
    notes: tuple[str, ...] = ()
    left_out: tuple[tuple[str, str], ...] = ()


def open_folder(root: Path, named: SplitFolders | None = None) -> Source:
    """A folder ``class/*``, or of splits that are such folders: see :mod:`toolkit.data.layout`.

    The content signature is made of every used file's path, size and modification time, so that an unchanged folder
    is recognised without reading it.

    Raises:
        UsageError: no such layout, or a folder that cannot be read.
    """
    return _from_tree(FolderTree(root), named)


def open_zip(path: Path, named: SplitFolders | None = None) -> Source:
    """A zip of such a folder, also with one wrapping folder; read in place, never unpacked to disk.

    Its content signature covers every used member's checksum and a sample of the file's bytes.

    Raises:
        UsageError: no such layout; not a zip, or one with ``..``, absolute names, links, encrypted members, or more
            unpacked than :func:`refuse_too_large` allows.
    """
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # a damaged directory surfaces as whatever zipfile meets
        raise UsageError(f"{path} is not a readable zip archive: {one_line(error)}") from error
    for info in archive.infolist():
        _refuse_unsafe(info, path)
    refuse_too_large(archive.infolist(), path)
    tree = ZipTree(archive, str(path), () if named is None else parts_of(named.train))
    return _from_tree(tree, named, sampled_digest(path))


def sampled_digest(path: Path) -> str:
    """A digest of a file's length and of :data:`_SAMPLED_BLOCKS` blocks spread over it; of a small file of all of it.

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
    """Refuse an archive for what its directory declares, before anything of it is unpacked.

    Raises:
        UsageError: more than :data:`MAX_UNPACKED_BYTES`, or more than :data:`FREELY_UNPACKED_BYTES` and
            :data:`MAX_RATIO` times the archive's own size.
    """
    total = sum(info.file_size for info in members)
    packed = path.stat().st_size  # not what the directory says: bombs let many members share the same bytes
    if total > MAX_UNPACKED_BYTES:
        raise UsageError(f"{path} would unpack to {format_size(total)}, the limit is {format_size(MAX_UNPACKED_BYTES)}")
    if total > max(FREELY_UNPACKED_BYTES, MAX_RATIO * packed):
        raise UsageError(
            f"{path} would unpack to {format_size(total)} from {format_size(packed)}: beyond "
            f"{format_size(FREELY_UNPACKED_BYTES)} the limit is {MAX_RATIO} times as much"
        )


def _refuse_unsafe(info: zipfile.ZipInfo, path: Path) -> None:
    name = info.filename.replace("\\", "/")
    if ".." in PurePosixPath(name).parts:
        raise UsageError(f"{path} is refused: {info.filename!r} leads out of the archive")
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
    def read(size: int, tell: Tell = unsaid) -> np.ndarray:
        return read_image(lambda: file.size, file.read, size, tell)

    return Entry(split, label, printable_path(file.parts), file.size, read)


def read_image(file_bytes: Callable[[], int], read: Callable[[], bytes], size: int, tell: Tell = unsaid) -> np.ndarray:
    """The pixels of a file, uint8 (size, size, 3), from how many bytes it has and how they are read.

    ``tell`` is told what a user should know about it.

    Raises:
        Unreadable: the file cannot be read, is too large, or is not a whole image.
    """
    try:
        if (length := file_bytes()) > MAX_FILE_BYTES:
            raise images.Unreadable(f"{format_size(length)}, more than {format_size(MAX_FILE_BYTES)}")
        data = read()
    except images.Unreadable:
        raise
    except Exception as error:  # a damaged zip member surfaces as whatever zlib, bz2 or lzma meet
        raise images.Unreadable(f"cannot be read: {printable_name(one_line(error))}") from error
    return images.decode_image(data, size, tell)


def hold_out(entries: Sequence[Entry]) -> tuple[list[Entry], str]:
    """Move a seeded, stratified 20 % of each class to the test split; also gives the note that says so."""
    chosen = set(held_out_indices(np.array([entry.label for entry in entries])).tolist())
    moved = [
        Entry("test" if i in chosen else "train", e.label, e.name, e.file_bytes, e.read) for i, e in enumerate(entries)
    ]
    return moved, held_out_note(len(chosen))


def held_out_note(count: int) -> str:
    """What to say where so many images were held out to test on."""
    share = f"a stratified {HELD_OUT_SHARE:.0%} ({count} images, seed {SPLIT_SEED})"
    return f"no test split was found: {share} was held out"


def array_entries(split: str, pixels: np.ndarray, labels: np.ndarray) -> list[Entry]:
    """Entries for images already in memory; their file size is that of their raw pixels at their own size."""

    def entry(index: int) -> Entry:
        def read(size: int, tell: Tell = unsaid) -> np.ndarray:
            return images.square_array(np.asarray(pixels[index]), size)

        return Entry(split, int(labels[index]), f"{split}[{index}]", 3 * pixels.shape[1] * pixels.shape[2], read)

    return [entry(index) for index in range(len(labels))]
