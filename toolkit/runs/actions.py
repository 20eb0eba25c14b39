"""What people do with runs besides running them: find, cancel, remove and export."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import threading
import time
import zipfile
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path

from toolkit.foundation.errors import UsageError, WorkError, describe_os_error
from toolkit.foundation.files import write_atomically
from toolkit.runs.folder import RunFolder
from toolkit.runs.locks import Taken, holding

CANCEL_SECONDS = 6.0
"""By when a cancelled run in the background has stopped, whatever it was doing."""
_SHOWN = 8


def find_run(runs_dir: Path, name: str) -> RunFolder:
    """The run of that name, or the only one whose name begins with it, or the only one that contains it.

    Raises:
        UsageError: there is none, or several.
    """
    names = sorted(path.parent.name for path in Path(runs_dir).glob("*/config.json"))
    if name in names:
        return RunFolder(Path(runs_dir) / name)
    fitting = [one for one in names if one.startswith(name)] or [one for one in names if name in one]
    if not fitting:
        raise UsageError(f"no run in {runs_dir} has {name!r} in its name")
    if len(fitting) > 1:
        more = f" and {len(fitting) - _SHOWN} more" if len(fitting) > _SHOWN else ""
        raise UsageError(f"{name!r} fits {len(fitting)} runs: {', '.join(fitting[:_SHOWN])}{more}")
    return RunFolder(Path(runs_dir) / fitting[0])


def find_runs(names: Sequence[str], runs_dir: Path) -> list[RunFolder]:
    """Runs by name in ``runs_dir``, by path, or all of a folder of them.

    Raises:
        UsageError: nothing there, or nothing that this version can read.
    """
    found: list[RunFolder] = []
    for name in names:
        path = Path(name).expanduser()
        if (path / "config.json").exists():
            members = [RunFolder(path)]
        elif path.is_dir():
            members = [RunFolder(one.parent) for one in sorted(path.glob("*/config.json"))]
            if not members:
                raise UsageError(f"{name} is neither a run nor a folder of runs")
        else:
            members = [find_run(runs_dir, name)]
        for run in members:
            if (problem := run.unreadable()) is not None:
                raise UsageError(f"{run.name}: {problem}")
        found += members
    return found


def cancel(runs: Sequence[RunFolder], seconds: float = CANCEL_SECONDS) -> list[RunFolder]:
    """Ask runs to stop, and wait until they have.

    Returns:
        Those that have not: they run in the foreground of a process that reports no progress at the moment.
    """
    for run in runs:
        run.request_cancel()
    deadline = time.monotonic() + seconds
    pause = threading.Event()
    while (left := [run for run in runs if run.is_running()]) and time.monotonic() < deadline:
        pause.wait(0.1)
    return left


def remove(run: RunFolder) -> None:
    """Delete a run's folder: all of it, or nothing if it is running.

    Raises:
        UsageError: it is running.
        WorkError: it cannot be deleted.
    """
    gone = run.path.with_name(f".removed-{secrets.token_hex(4)}")
    try:
        refusal = f"{run.name} is running: cancel it first"
        with holding(run.path / ".claim", refusal), holding(run.path / ".lock", refusal):
            os.rename(run.path, gone)
        shutil.rmtree(gone)
    except Taken as error:
        raise UsageError(str(error)) from None
    except OSError as error:
        raise WorkError(describe_os_error(error, "remove", run.path)) from error


def export_runs(runs: Iterable[RunFolder], output: Path, extra: Mapping[str, str]) -> int:
    """Copy runs' folders, without locks and other hidden files, into a ``.zip`` or a new folder.

    Args:
        runs: their folders.
        output: ends in ``.zip``, or does not exist yet.
        extra: further files: name to text.

    Returns:
        Bytes of what was copied.

    Raises:
        UsageError: the folder exists.
        WorkError: it cannot be written.
    """
    files = {
        f"{run.name}/{path.relative_to(run.path).as_posix()}": path
        for run in runs
        for path in sorted(run.path.rglob("*"))
        if path.is_file() and not path.name.startswith(".")
    }
    if output.suffix.lower() == ".zip":
        write_atomically(output, lambda file: _zip(file, files, extra))
    elif output.exists():
        raise UsageError(f"{output} exists: choose a new folder, or a name that ends in .zip")
    else:
        _copy(output, files, extra)
    return sum(path.stat().st_size for path in files.values())


def _zip(file: object, files: Mapping[str, Path], extra: Mapping[str, str]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:  # type: ignore[call-overload]
        for name, text in extra.items():
            archive.writestr(name, text)
        for name, path in files.items():
            archive.write(path, name)


def _copy(output: Path, files: Mapping[str, Path], extra: Mapping[str, str]) -> None:
    """Fill a folder that takes its name only once it is complete."""
    building = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        for name, path in files.items():
            target = building / name
            target.parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(path, target)
        building.mkdir(parents=True, exist_ok=True)
        for name, text in extra.items():
            (building / name).write_text(text)
        os.rename(building, output)
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", output)) from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(building, ignore_errors=True)
