"""The files of a folder, or of a zip of one: the same traversal for all code that reads a dataset.

Links are followed, but no folder is visited twice; hidden files and system files are skipped; everything else that is
not used is recorded with the reason.
"""

from __future__ import annotations

import bisect
import os
import stat
import zipfile
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import NamedTuple, Protocol

from toolkit.data.names import printable_name
from toolkit.foundation.errors import UsageError, describe_os_error, one_line

Parts = tuple[str, ...]
"""A path inside a dataset; empty for the dataset itself."""
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx", "lost+found", "$recycle.bin", "system volume information"}
_DANGLING = "a broken link"
_TAKEN = "a link to a folder that is already included"
_SPECIAL = "neither a file nor a folder"


@dataclass(frozen=True)
class Listed:
    """A file: its path inside the dataset, its size, a fingerprint of its content, and a function that reads it."""

    parts: Parts
    size: int
    mark: str
    read: Callable[[], bytes]


class Tree(Protocol):
    """A dataset's files.

    Attributes:
        where: the location as given by the user.
        left_out: reasons by display name, for entries that were found but not used.
    """

    where: str
    left_out: dict[str, str]

    def folders(self, at: Parts) -> list[str]:
        """Sorted names of the subfolders of a folder that contain files at any depth."""

    def files(self, at: Parts) -> Iterator[Parts]:
        """The files in a folder and its subfolders, ordered by the parts of their paths."""

    def listed(self, parts: Parts) -> Listed | None:
        """A file; None, and recorded as left out, if it is no longer accessible."""


def is_clutter(parts: Sequence[str]) -> bool:
    """Whether a path is hidden or a system file such as ``Thumbs.db``."""
    return any(part.startswith(".") or part.lower() in _CLUTTER for part in parts)


def printable_path(parts: Parts) -> str:
    """The display name of a path inside a dataset."""
    return printable_name("/".join(parts))


# -- folders ---------------------------------------------------------------------------------------------------


class _Met(NamedTuple):
    """A file, or another entry with the reason to skip it; ``lost`` if it should be a file but is inaccessible."""

    parts: Parts
    reason: str = ""
    lost: bool = False


class FolderTree:
    """A folder on disk. Only regular files are opened.

    Raises:
        UsageError: in every method, if a folder that must be traversed cannot be read.
    """

    def __init__(self, root: Path) -> None:
        self.root = root
        self.where = str(root)
        self.left_out: dict[str, str] = {}

    def folders(self, at: Parts) -> list[str]:
        return [name for name in self._subfolders(at) if self._is_filled((*at, name))]

    def files(self, at: Parts) -> Iterator[Parts]:
        for met in self._walk(at):
            if met.reason:
                self.left_out[printable_path(met.parts)] = met.reason
            else:
                yield met.parts

    def listed(self, parts: Parts) -> Listed | None:
        path = self.path(parts)
        try:
            status = os.stat(path)
        except OSError as error:
            self.left_out[printable_path(parts)] = error.strerror or one_line(error)
            return None
        return Listed(parts, status.st_size, f"{status.st_size}:{status.st_mtime_ns}", lambda: read_regular(path))

    def path(self, parts: Parts) -> Path:
        """The path of a file on disk."""
        return self.root.joinpath(*parts)

    def _subfolders(self, at: Parts) -> list[str]:
        """Sorted names of folders and links to folders, without broken and cyclic links."""
        here = os.path.realpath(self.path(at))
        found = []
        for entry in self._must_read(at):
            met = self._judged(entry, (*at, entry.name))
            if met is None and entry.is_symlink() and _contains(os.path.realpath(entry.path), here):
                met = _Met((*at, entry.name), _TAKEN)
            if met is None:
                found.append(entry.name)
            elif met.reason:
                self.left_out[printable_path(met.parts)] = met.reason
        return found

    def _is_filled(self, at: Parts) -> bool:
        """Whether a folder contains a file, accessible or lost; if not, its entries are recorded as left out."""
        passed = {}
        try:
            for met in self._walk(at):
                if not met.reason or met.lost:
                    return True
                passed[printable_path(met.parts)] = met.reason
        except UsageError:  # unreadable: reported if it is used as a class or a split
            return True
        self.left_out |= passed
        return False

    def _walk(self, at: Parts) -> Iterator[_Met]:
        """Everything in a folder and its subfolders that is not a folder, in order."""
        taken = [os.path.realpath(self.path(at))]
        open_folders = [(at, iter(self._must_read(at)))]
        while open_folders:
            folder, entries = open_folders[-1]
            entry = next(entries, None)
            if entry is None:
                open_folders.pop()
                continue
            parts = (*folder, entry.name)
            met = self._judged(entry, parts)
            if met is None and entry.is_symlink():
                target = os.path.realpath(entry.path)
                if any(_contains(target, one) or _contains(one, target) for one in taken):
                    met = _Met(parts, _TAKEN)
                else:
                    taken.append(target)
            if met is None:
                try:
                    open_folders.append((parts, iter(self._entries(parts))))
                except OSError as error:
                    met = _Met(parts, error.strerror or one_line(error), lost=True)
            if met is not None:
                yield met

    def _must_read(self, at: Parts) -> list[os.DirEntry[str]]:
        try:
            return self._entries(at)
        except OSError as error:
            raise UsageError(printable_name(describe_os_error(error, "read", self.path(at)))) from error

    def _entries(self, at: Parts) -> list[os.DirEntry[str]]:
        with os.scandir(self.path(at)) as entries:
            return sorted((one for one in entries if not is_clutter((one.name,))), key=lambda entry: entry.name)

    def _judged(self, entry: os.DirEntry[str], parts: Parts) -> _Met | None:
        """A file, or another entry with the reason to skip it; None for a folder or a link to one."""
        try:
            if entry.is_dir():
                return None
            if entry.is_file():
                return _Met(parts)
            if entry.is_symlink() and not os.path.exists(entry.path):
                return _Met(parts, _DANGLING, lost=True)
        except OSError as error:
            return _Met(parts, error.strerror or one_line(error), lost=True)
        return _Met(parts, _SPECIAL)


def _contains(outer: str, inner: str) -> bool:
    return inner == outer or inner.startswith(outer.rstrip(os.sep) + os.sep)


def read_regular(path: Path) -> bytes:
    """A file's bytes; a pipe or a device in its place is refused, as reading it might never end.

    Raises:
        OSError: it is not a regular file, or cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{_SPECIAL}: {path}")
    return path.read_bytes()


# -- zips ------------------------------------------------------------------------------------------------------


class ZipTree:
    """The members of an open zip, without the single top-level folder that many zips have.

    Args:
        archive: open, its names checked.
        where: the location as given by the user.
        inside: a folder that must exist: the top-level folder is removed only if this one is not found.
    """

    def __init__(self, archive: zipfile.ZipFile, where: str, inside: Parts = ()) -> None:
        self.where = where
        self.left_out: dict[str, str] = {}
        self._archive = archive
        # of two members with the same name the last one counts, as when unpacking a zip
        members = {_parts(info): info for info in archive.infolist() if not info.is_dir()}
        members = {parts: info for parts, info in members.items() if not is_clutter(parts)}
        foldered = [parts for parts in members if len(parts) >= 2]
        wrapped = len({parts[0] for parts in foldered}) == 1 and any(len(parts) >= 3 for parts in foldered)
        if wrapped and not (inside and any(parts[: len(inside)] == inside for parts in foldered)):
            members = {parts[1:]: members[parts] for parts in foldered}
        self._members = members
        self._paths = sorted(members)

    def folders(self, at: Parts) -> list[str]:
        return sorted({parts[len(at)] for parts in self.files(at) if len(parts) > len(at) + 1})

    def files(self, at: Parts) -> Iterator[Parts]:
        for index in range(bisect.bisect_left(self._paths, at), len(self._paths)):
            if self._paths[index][: len(at)] != at:
                break
            yield self._paths[index]

    def listed(self, parts: Parts) -> Listed:
        info = self._members[parts]
        return Listed(parts, info.file_size, f"{info.file_size}:{info.CRC}", lambda: self._archive.read(info))


def _parts(info: zipfile.ZipInfo) -> Parts:
    return PurePosixPath(info.filename.replace("\\", "/")).parts
