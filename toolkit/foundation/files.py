"""Standard folders, atomic writes of files and folders, and reading JSON files."""

from __future__ import annotations

import contextlib
import errno
import hashlib
import json
import os
import re
import secrets
import shutil
import stat
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import platformdirs

from toolkit.foundation.documents import Unfit, parse_json, read_file
from toolkit.foundation.errors import WorkError, describe_os_error

_STALE_SECONDS = 24 * 3600


_CACHE = "the cache folder"


def cache_root() -> Path:
    """The folder for decoded data: ``RECALLRATE_CACHE``, else the platform's user cache folder."""
    chosen = os.environ.get("RECALLRATE_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("recallrate"))


def default_runs_dir() -> Path:
    """The folder for run folders: ``RECALLRATE_RUNS``, else the platform's user data folder.

    It is outside the project so that the app's file watcher never sees a run being written.
    """
    chosen = os.environ.get("RECALLRATE_RUNS")
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("recallrate")) / "runs"


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` with an open binary file that replaces ``path`` only once it is complete and on disk.

    It keeps the permissions of a file that it replaces, else has those of any new file. A link, a pipe or a device is
    replaced like any file; for paths named by a user, use :func:`write_output`.

    Raises:
        WorkError: the folder cannot be written or the disk is full; ``path`` is then unchanged.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name[:50]}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        before = path.lstat() if os.path.lexists(path) else None
        if before is not None and stat.S_ISDIR(before.st_mode):
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        with open(temporary, "xb") as file:  # not tempfile, which would restrict the permissions
            if before is not None and stat.S_ISREG(before.st_mode):
                _take_over(file, before)
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def _take_over(file: IO[bytes], before: os.stat_result) -> None:
    """Copy the owner and permissions of another file to an open file, as far as user and platform allow."""
    if hasattr(os, "fchmod"):
        with contextlib.suppress(PermissionError):
            os.fchown(file.fileno(), before.st_uid, before.st_gid)
        os.fchmod(file.fileno(), before.st_mode & 0o777)


def write_output(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` with an open binary file whose content, once complete, goes to the path that a user named.

    A new or regular file, or one that a link points to, is written atomically. A pipe, a device, or a descriptor of
    this process (``/dev/stdout``, ``/dev/fd/3``) is written to and never replaced.

    Raises:
        WorkError: it cannot be written, or is a folder.
    """
    try:
        target = _destination(Path(path))
        if isinstance(target, Path) and target.is_dir():
            raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
        if isinstance(target, Path) and (target.is_file() or not target.exists()):
            write_atomically(target, write)
            return
        with tempfile.TemporaryFile() as whole:
            write(whole)
            whole.seek(0)
            with _written_to(target) as place:
                shutil.copyfileobj(whole, place)
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", path)) from error


def _destination(path: Path) -> Path | int:
    """Follow links to a path that is not a link, or to an open descriptor of this process."""
    own = re.compile(rf"(/dev|/proc/{os.getpid()}(/task/\d+)?)/fd")
    for _ in range(40):
        path = Path(os.path.realpath(path.parent)) / path.name
        if path.name.isdecimal() and own.fullmatch(str(path.parent)):
            return int(path.name)
        if not path.is_symlink():
            return path
        path = path.parent / os.readlink(path)
    raise OSError(errno.ELOOP, os.strerror(errno.ELOOP))


def _written_to(target: Path | int) -> IO[bytes]:
    """The target, open for writing, after anything this process has printed so far."""
    if isinstance(target, Path):
        return os.fdopen(os.open(target, os.O_WRONLY), "wb")
    for stream in (sys.stdout, sys.stderr):
        stream.flush()
    return os.fdopen(os.dup(target), "wb")


def append_to(path: Path) -> IO[bytes]:
    """Open a file for reading and appending, and create it if missing; links, pipes and devices are refused.

    Raises:
        WorkError: it cannot be opened, or is not a regular file.
    """
    flags = os.O_RDWR | os.O_APPEND | os.O_CREAT | getattr(os, "O_NOFOLLOW", 0) | getattr(os, "O_NONBLOCK", 0)
    try:
        descriptor = os.open(path, flags | getattr(os, "O_BINARY", 0), 0o666)
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", path)) from error
    if not stat.S_ISREG(os.fstat(descriptor).st_mode):
        os.close(descriptor)
        raise WorkError(f"cannot write {path}: it is not a regular file")
    return os.fdopen(descriptor, "ab+")


def make_folder(folder: Path) -> None:
    """Create a folder if it is missing.

    Raises:
        WorkError: it cannot be created.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", folder)) from error


def build_folder(folder: Path, fill: Callable[[Path], object], what: str = _CACHE) -> None:
    """Call ``fill`` with an empty folder that becomes ``folder`` only once it is complete.

    If another process has created ``folder`` meanwhile, that one stays. ``what`` is its name in errors.

    Raises:
        WorkError: the parent folder cannot be written or the disk is full; nothing is left behind.
    """
    building: Path | None = None
    try:
        folder.parent.mkdir(parents=True, exist_ok=True)
        _remove_stale(folder.parent)
        building = Path(tempfile.mkdtemp(prefix=".building-", dir=folder.parent))
        fill(building)
        try:
            os.rename(building, folder)
        except OSError:
            if not folder.exists():  # otherwise another process has just built it
                raise
    except OSError as error:
        hint = "; set RECALLRATE_CACHE to a writable folder" if what == _CACHE else ""
        raise WorkError(describe_os_error(error, f"write {what} in", folder.parent) + hint) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)


def _remove_stale(parent: Path) -> None:
    """Delete leftovers of builds that were killed more than a day ago."""
    for left in parent.glob(".building-*"):
        with contextlib.suppress(FileNotFoundError):  # another process has just completed it
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def json_bytes(value: Any) -> bytes:
    """Indented JSON with sorted keys; NaN and infinities are refused with a ValueError."""
    return (json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n").encode()


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as :func:`json_bytes`, atomically."""
    content = json_bytes(value)
    write_atomically(path, lambda file: file.write(content))


def read_json(path: Path) -> Any:
    """Read a JSON file within the limits of :mod:`toolkit.foundation.documents`.

    Raises:
        WorkError: it is missing, damaged or not a regular file; the message names it.
    """
    try:
        return parse_json(read_file(Path(path)))
    except OSError as error:
        raise WorkError(describe_os_error(error, "read", path)) from error
    except Unfit as error:
        raise WorkError(f"{path} cannot be read: {error}") from error


def sha256_of(path: Path) -> str:
    """SHA-256 of a file, in hexadecimal.

    Raises:
        WorkError: it cannot be read.
    """
    try:
        with open(path, "rb") as file:
            return hashlib.file_digest(file, "sha256").hexdigest()
    except OSError as error:
        raise WorkError(describe_os_error(error, "read", path)) from error
