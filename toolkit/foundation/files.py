"""Where files go and how they are written: atomically, or not at all."""

from __future__ import annotations

import contextlib
import json
import os
import secrets
import shutil
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import platformdirs

from toolkit.foundation.errors import WorkError, describe_os_error

_STALE_SECONDS = 24 * 3600


_CACHE = "the cache folder"


def cache_root() -> Path:
    """The folder for decoded data: ``RECALLRATE_CACHE``, else the platform's user cache folder."""
    chosen = os.environ.get("RECALLRATE_CACHE")
    return Path(chosen) if chosen else Path(platformdirs.user_cache_dir("recallrate"))


def default_runs_dir() -> Path:
    """The folder for run folders: ``RECALLRATE_RUNS``, else the platform's user data folder.

    It lies outside the project so that the app's file watcher never sees a run being written.
    """
    chosen = os.environ.get("RECALLRATE_RUNS")
    return Path(chosen) if chosen else Path(platformdirs.user_data_dir("recallrate")) / "runs"


def write_atomically(path: Path, write: Callable[[IO[bytes]], object]) -> None:
    """Call ``write`` with an open binary file that takes ``path``'s place only once it is complete and on disk.

    Raises:
        WorkError: the folder cannot be written or the disk is full; ``path`` is then as it was before.
    """
    path = Path(path)
    temporary = path.with_name(f".{path.name}.{os.getpid()}-{secrets.token_hex(4)}")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with open(temporary, "xb") as file:  # not tempfile: the result gets the permissions of any other new file
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", path)) from error
    finally:
        with contextlib.suppress(OSError):
            temporary.unlink(missing_ok=True)


def make_folder(folder: Path) -> None:
    """Make a folder where there is none.

    Raises:
        WorkError: it cannot be made.
    """
    try:
        Path(folder).mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", folder)) from error


def build_folder(folder: Path, fill: Callable[[Path], object], what: str = _CACHE) -> None:
    """Call ``fill`` with an empty folder that takes ``folder``'s place only once it is complete.

    Should another process have made ``folder`` meanwhile, that one stays. ``what`` is what an error calls it.

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
            if not folder.exists():  # otherwise another process has just built the same
                raise
    except OSError as error:
        hint = "; set RECALLRATE_CACHE to a writable folder" if what == _CACHE else ""
        raise WorkError(describe_os_error(error, f"write {what} in", folder.parent) + hint) from error
    finally:
        if building is not None:
            shutil.rmtree(building, ignore_errors=True)


def _remove_stale(parent: Path) -> None:
    """Delete what builds killed more than a day ago left behind."""
    for left in parent.glob(".building-*"):
        with contextlib.suppress(FileNotFoundError):  # another process has just completed it
            if time.time() - left.stat().st_mtime > _STALE_SECONDS:
                shutil.rmtree(left, ignore_errors=True)


def write_json(path: Path, value: Any) -> None:
    """Write ``value`` as indented JSON with sorted keys, atomically."""
    text = json.dumps(value, indent=2, sort_keys=True, allow_nan=False) + "\n"
    write_atomically(path, lambda file: file.write(text.encode()))


def read_json(path: Path) -> Any:
    """Read a JSON file; a missing or damaged one is a :class:`WorkError` that names it."""
    try:
        return json.loads(Path(path).read_text())
    except OSError as error:
        raise WorkError(describe_os_error(error, "read", path)) from error
    except ValueError as error:
        raise WorkError(f"{path} is not valid JSON: {error}") from error
