"""Where images come from: a folder or a zip of one. Each becomes a :class:`Source`.

A source lists entries without decoding them; :mod:`toolkit.data.catalog` decodes and caches.
"""

from __future__ import annotations

import hashlib
import stat
import zipfile
from collections.abc import Callable, Iterable, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import numpy as np

from toolkit.data import images
from toolkit.data.dataset import HELD_OUT_SHARE, SPLIT_SEED, held_out_indices
from toolkit.foundation.errors import UsageError, describe_os_error, one_line
from toolkit.foundation.sizes import format_size

MAX_UNPACKED_BYTES = 20 * 1024**3
MAX_FILE_BYTES = 1024**3
"""No image within the pixel limit needs more; a zip bomb inside a zip would."""
_TEST_FOLDERS = ("test", "val", "validation")
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx"}


@dataclass(frozen=True)
class Entry:
    """One image that may be read.

    Attributes:
        split: ``train`` or ``test``.
        label: index into the source's class names.
        name: what the user knows it by.
        file_bytes: size of its file.
        read: gives the pixels, uint8 (size, size, 3), for a size; raises :class:`images.Unreadable`.
    """

    split: str
    label: int
    name: str
    file_bytes: int
    read: Callable[[int], np.ndarray]


@dataclass(frozen=True)
class Source:
    """Classes and entries, not yet decoded; ``signature`` changes when the content does."""

    class_names: tuple[str, ...]
    entries: tuple[Entry, ...]
    signature: str
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Listed:
    """A file of a folder or zip: its path inside, its size, a mark of its content, and how to read its bytes."""

    parts: tuple[str, ...]
    size: int
    mark: str
    read: Callable[[], bytes]


def open_folder(root: Path) -> Source:
    """A folder ``class/*`` or ``train|test|val|validation/class/*``.

    The content signature is made of every file's path, size and modification time, so that an unchanged folder
    is recognised without reading it.
    """

    def listed(path: Path) -> _Listed:
        status = path.stat()
        mark = f"{status.st_size}:{status.st_mtime_ns}"
        return _Listed(path.relative_to(root).parts, status.st_size, mark, path.read_bytes)

    try:
        files = [listed(path) for path in sorted(root.rglob("*")) if path.is_file()]
    except OSError as error:
        raise UsageError(describe_os_error(error, "read", root)) from error
    return _from_tree(files, str(root))


def open_zip(path: Path) -> Source:
    """A zip of such a folder, also with one wrapping folder; read in place, never unpacked to disk.

    Raises:
        UsageError: not a zip, or one with ``..``, absolute names, links, encrypted members, or more than
            20 GiB unpacked.
    """
    try:
        archive = zipfile.ZipFile(path)
    except Exception as error:  # a damaged directory surfaces as whatever zipfile meets
        raise UsageError(f"{path} is not a readable zip archive: {one_line(error)}") from error
    members = [info for info in archive.infolist() if not info.is_dir()]
    for info in archive.infolist():
        _refuse_unsafe(info, path)
    refuse_too_large(members, path)

    def listed(info: zipfile.ZipInfo) -> _Listed:
        parts = PurePosixPath(info.filename.replace("\\", "/")).parts
        return _Listed(parts, info.file_size, f"{info.file_size}:{info.CRC}", lambda: archive.read(info))

    files = sorted((listed(info) for info in members), key=lambda file: file.parts)
    files = [file for file in files if not is_clutter(file.parts)]
    foldered = [file for file in files if len(file.parts) >= 2]
    if len({file.parts[0] for file in foldered}) == 1 and any(len(file.parts) >= 3 for file in foldered):
        files = [_Listed(file.parts[1:], file.size, file.mark, file.read) for file in foldered]
    return _from_tree(files, str(path))


def refuse_too_large(members: Iterable[zipfile.ZipInfo], path: Path) -> None:
    """Raise :class:`UsageError` if an archive declares more than :data:`MAX_UNPACKED_BYTES`."""
    total = sum(info.file_size for info in members)
    if total > MAX_UNPACKED_BYTES:
        raise UsageError(f"{path} would unpack to {format_size(total)}, the limit is {format_size(MAX_UNPACKED_BYTES)}")


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


def is_clutter(parts: Sequence[str]) -> bool:
    """Whether a path is hidden or one of the files that systems leave lying about."""
    return any(part.startswith(".") or part.lower() in _CLUTTER for part in parts)


def _from_tree(files: Iterable[_Listed], where: str) -> Source:
    files = [file for file in files if not is_clutter(file.parts)]
    folders, notes = split_folders({file.parts[0] for file in files if len(file.parts) >= 2}, where)
    if folders is not None:
        by_split = {
            split: [(file.parts[1], file) for file in files if file.parts[0] == folder and len(file.parts) >= 3]
            for split, folder in zip(("train", "test"), folders, strict=True)
        }
    else:
        by_split = {"train": [(file.parts[0], file) for file in files if len(file.parts) >= 2], "test": []}
    return _assemble(by_split, notes, where, [f"{'/'.join(file.parts)}:{file.mark}" for file in files])


def split_folders(tops: set[str], where: str) -> tuple[tuple[str, str | None] | None, list[str]]:
    """How a tree with these top folders, each holding files, is split.

    Returns:
        The names of the training and the test folder (None where there is none), or None if the top folders are the
        classes; and notes for the user.

    Raises:
        UsageError: test folders alone.
    """
    test_folders = tops & set(_TEST_FOLDERS)
    if not tops or not (tops <= {"train", *test_folders} or ("train" in tops and test_folders)):
        return None, []
    test_folder = next((name for name in _TEST_FOLDERS if name in tops), None)
    if "train" not in tops:
        raise UsageError(f"{where} has {', '.join(sorted(tops))} but no train folder")
    unused = sorted(tops - {"train", test_folder or ""})
    notes = [f"{test_folder}/ is the test split; {', '.join(unused)}/ is not used"] if unused else []
    return ("train", test_folder), notes


def require_classes(class_names: Sequence[str], found: str, where: str) -> None:
    """Raise :class:`UsageError` unless there are two classes or more; ``found`` says what was there instead."""
    if not class_names:
        raise UsageError(f"{where}: expected images as class/* or train/class/*, found {found}")
    if len(class_names) == 1:
        raise UsageError(f"{where}: expected at least two classes, found only {class_names[0]!r}")


def _assemble(by_split: dict[str, list[tuple[str, _Listed]]], notes: list[str], where: str, marks: list[str]) -> Source:
    class_names = tuple(sorted({class_name for class_name, _ in by_split["train"]}))
    require_classes(class_names, f"{len(marks)} files but none of them there" if marks else "no files", where)
    label_of = {name: label for label, name in enumerate(class_names)}
    strangers = sorted({class_name for class_name, _ in by_split["test"]} - set(class_names))
    if strangers:
        notes.append(f"test classes without training images are left out: {', '.join(strangers)}")
    entries = [
        _file_entry(split, label_of[class_name], file)
        for split in ("train", "test")
        for class_name, file in sorted(by_split[split], key=lambda item: item[1].parts)
        if class_name in label_of
    ]
    if not any(entry.split == "test" for entry in entries):
        entries, note = hold_out(entries)
        notes.append(note)
    digest = hashlib.sha256("\n".join(sorted(marks)).encode("utf-8", "surrogateescape")).hexdigest()
    return Source(class_names, tuple(entries), digest, tuple(notes))


def _file_entry(split: str, label: int, file: _Listed) -> Entry:
    def read(size: int) -> np.ndarray:
        return read_image(lambda: file.size, file.read, size)

    return Entry(split, label, "/".join(file.parts), file.size, read)


def read_image(file_bytes: Callable[[], int], read: Callable[[], bytes], size: int) -> np.ndarray:
    """The pixels of a file, uint8 (size, size, 3), from how many bytes it has and how they are read.

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
        raise images.Unreadable(f"cannot be read: {one_line(error)}") from error
    return images.decode(data, size)


def hold_out(entries: Sequence[Entry]) -> tuple[list[Entry], str]:
    """Move a seeded, stratified 20 % of each class to the test split; also gives the note that says so."""
    chosen = set(held_out_indices(np.array([entry.label for entry in entries])).tolist())
    moved = [
        Entry("test" if i in chosen else "train", e.label, e.name, e.file_bytes, e.read) for i, e in enumerate(entries)
    ]
    share = f"a stratified {HELD_OUT_SHARE:.0%} ({len(chosen)} images, seed {SPLIT_SEED})"
    return moved, f"no test split was found: {share} was held out"


def array_entries(split: str, pixels: np.ndarray, labels: np.ndarray) -> list[Entry]:
    """Entries for images already in memory; their file size is that of their raw pixels at their own size."""

    def entry(index: int) -> Entry:
        raw_bytes = 3 * pixels.shape[1] * pixels.shape[2]
        name = f"{split}[{index}]"
        return Entry(split, int(labels[index]), name, raw_bytes, lambda size: images.square_array(pixels[index], size))

    return [entry(index) for index in range(len(labels))]
