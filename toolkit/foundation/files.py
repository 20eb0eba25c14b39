"""Where files go and how they are written: atomically, or not at all."""

from __future__ import annotations

import json
import os
import tempfile
from collections.abc import Callable
from pathlib import Path
from typing import IO, Any

import platformdirs

from toolkit.foundation.errors import WorkError, describe_os_error


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
    temporary: str | None = None
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with tempfile.NamedTemporaryFile(dir=path.parent, prefix=f".{path.name}.", delete=False) as file:
            temporary = file.name
            write(file)
            file.flush()
            os.fsync(file.fileno())
        os.replace(temporary, path)
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", path)) from error
    finally:
        if temporary is not None and os.path.exists(temporary):
            os.unlink(temporary)


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
