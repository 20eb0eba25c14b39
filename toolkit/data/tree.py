"""The files of a folder, or of a zip of one: one walk for everything that reads a dataset.

Links are followed, and what they lead back to is not walked again; hidden files and systems' clutter are passed over;
everything else that is not taken is kept with its reason.
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
"""A path inside a dataset; none for the dataset itself."""
_CLUTTER = {"thumbs.db", "desktop.ini", "__macosx", "lost+found", "$recycle.bin", "system volume information"}
_DANGLING = "a link that leads nowhere"
_TAKEN = "a link to a folder that is taken already"
_SPECIAL = "neither a file nor a folder"


@dataclass(frozen=True)
class Listed:
    """A file: its path inside, its size, a mark of its content, and how to read its bytes."""

    parts: Parts
    size: int
    mark: str
    read: Callable[[], bytes]


class Tree(Protocol):
    """What a layout is found in.

    Attributes:
        where: what the user calls it.
        left_out: reasons by the names, as shown, of what was met and not taken.
    """

    where: str
    left_out: dict[str, str]

    def folders(self, at: Parts) -> list[str]:
        """Names of the folders in a folder that hold files at any depth, sorted."""

    def files(self, at: Parts) -> Iterator[Parts]:
        """The files in a folder and below it, in order of their paths' parts."""

    def listed(self, parts: Parts) -> Listed | None:
        """A file; None, and left out, where it cannot be had any more."""


def is_clutter(parts: Sequence[str]) -> bool:
    """Whether a path is hidden or one of what systems leave lying about."""
    return any(part.startswith(".") or part.lower() in _CLUTTER for part in parts)


def printable_path(parts: Parts) -> str:
    """A path inside a dataset as it is shown."""
    return printable_name("/".join(parts))


# -- folders ---------------------------------------------------------------------------------------------------


class _Met(NamedTuple):
    """A file, or what is in the place of one; ``lost`` where there should be something that cannot be had."""

    parts: Parts
    reason: str = ""
    lost: bool = False


class FolderTree:
    """A folder on disk. Only regular files are ever opened.

    Raises:
        UsageError: by every method, where a folder that must be walked cannot be read.
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
        """Where a file is."""
        return self.root.joinpath(*parts)

    def _subfolders(self, at: Parts) -> list[str]:
        """Names of folders and of links to such, sorted; links that lead nowhere or back are left out."""
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
        """Whether a folder holds a file, or something in its place that is lost; else what it holds is left out."""
        passed = {}
        try:
            for met in self._walk(at):
                if not met.reason or met.lost:
                    return True
                passed[printable_path(met.parts)] = met.reason
        except UsageError:  # it cannot be read: who takes it for a class or a split is told so
            return True
        self.left_out |= passed
        return False

    def _walk(self, at: Parts) -> Iterator[_Met]:
        """Everything in a folder and below it that is not a folder, in order."""
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
        """A file, or why there is none; None for a folder and a link to one."""
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
    """A file's bytes; a pipe or a device that has taken its place would never end.

    Raises:
        OSError: it is no regular file, or cannot be read.
    """
    if not stat.S_ISREG(path.stat().st_mode):
        raise OSError(f"{_SPECIAL}: {path}")
    return path.read_bytes()


# -- zips ------------------------------------------------------------------------------------------------------


class ZipTree:
    """The members of an open zip, without the one folder round everything that many zips have.

    Args:
        archive: open, its names found safe.
        where: what the user calls it.
        inside: a folder that must be there: only if it is not is the one round everything taken off.
    """

    def __init__(self, archive: zipfile.ZipFile, where: str, inside: Parts = ()) -> None:
        self.where = where
        self.left_out: dict[str, str] = {}
        self._archive = archive
        # of two members with one name the last counts, as it does where a zip is unpacked
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
