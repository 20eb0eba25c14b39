"""What people do with runs besides running them: find, cancel, remove and export."""

from __future__ import annotations

import contextlib
import os
import secrets
import shutil
import stat
import threading
import time
import zipfile
from collections.abc import Iterable, Iterator, Mapping, Sequence
from pathlib import Path
from typing import IO

from toolkit.foundation.documents import Unfit, open_file
from toolkit.foundation.errors import UsageError, WorkError, describe_os_error
from toolkit.foundation.files import write_output
from toolkit.runs.contents import shown
from toolkit.runs.folder import RunFolder, run_folders
from toolkit.runs.locks import Taken, holding

CANCEL_SECONDS = 6.0
"""By when a cancelled run in the background has stopped, whatever it was doing."""
_SHOWN = 8


def find_run(name: str, runs_dir: Path) -> RunFolder:
    """A run as any command prints it: its folder's path, its name, or enough of the name.

    A path has a separator, or leads to a run from the folder one is in. A name is that of a run in ``runs_dir``, the
    only one there that begins with it, or the only one that contains it.

    Raises:
        UsageError: there is none, or several.
    """
    path = _as_path(name)
    if os.path.dirname(name):
        if RunFolder(path).exists():
            return RunFolder(path)
        raise UsageError(f"{name} is no run folder: it has no config.json")
    names = [run.name for run in run_folders(runs_dir)]
    if name in names:
        return RunFolder(Path(runs_dir) / name)
    if RunFolder(path).exists():
        return RunFolder(path)
    fitting = [one for one in names if one.startswith(name)] or [one for one in names if name in one]
    if not fitting:
        raise UsageError(f"no run in {runs_dir} has {name!r} in its name")
    if len(fitting) > 1:
        more = f" and {len(fitting) - _SHOWN} more" if len(fitting) > _SHOWN else ""
        raise UsageError(f"{name!r} fits {len(fitting)} runs: {', '.join(fitting[:_SHOWN])}{more}")
    return RunFolder(Path(runs_dir) / fitting[0])


def find_runs(names: Sequence[str], runs_dir: Path) -> list[RunFolder]:
    """Runs as :func:`find_run` finds them, or all of a folder of them; each once.

    Raises:
        UsageError: nothing there, or a run that this version cannot read. Of a folder of runs such ones are passed on.
    """
    found: dict[Path, RunFolder] = {}
    for name in names:
        path = _as_path(name)
        if path.is_dir() and not RunFolder(path).exists():
            members = run_folders(path)
            if not members:
                raise UsageError(f"{name} is neither a run nor a folder of runs")
        else:
            members = [find_run(name, runs_dir)]
            if (problem := members[0].unreadable()) is not None:
                raise UsageError(problem)
        found.update((run.path, run) for run in members)
    return list(found.values())


def _as_path(name: str) -> Path:
    """A path as written, made absolute; links in it stay, so that a linked run is of the folder that it is found in."""
    return Path(os.path.abspath(Path(name).expanduser()))


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


def export_runs(runs: Iterable[RunFolder], output: Path, extra: Mapping[str, str]) -> tuple[int, list[str]]:
    """Copy runs' folders, without locks and other hidden files, into a ``.zip`` or a new folder.

    Args:
        runs: their folders; no two of one name.
        output: ends in ``.zip``, or does not exist yet.
        extra: further files: name to text.

    Returns:
        Bytes of what was copied, and what was left out: links, which could lead to any file, pipes and the like.

    Raises:
        UsageError: the folder exists, or two runs have the same name.
        WorkError: it cannot be written, or a file cannot be read.
    """
    output = Path(os.path.realpath(output))
    files: dict[str, Path] = {}
    left_out: list[str] = []
    for run in runs:
        if any(name.startswith(f"{run.shown_name}/") for name in files):
            raise UsageError(f"two runs are called {run.name}: export them one by one")
        for path in _visible_files(run.path):
            name = shown(f"{run.name}/{path.relative_to(run.path).as_posix()}")
            if stat.S_ISREG(path.lstat().st_mode):
                files[name] = path
            else:
                left_out.append(name)
    try:
        if output.suffix.lower() == ".zip":
            write_output(output, lambda file: _zip(file, files, extra))
        elif output.exists():
            raise UsageError(f"{output} exists: choose a new folder, or a name that ends in .zip")
        else:
            _copy(output, files, extra)
    except Unfit as error:  # it has just been replaced
        raise WorkError(f"a file of these runs cannot be read: {error}") from error
    return sum(path.stat().st_size for path in files.values()), left_out


def _visible_files(folder: Path) -> Iterator[Path]:
    """Whatever is no folder and not hidden, below a folder; links to folders are not followed."""
    for root, folders, names in os.walk(folder):
        links = [name for name in folders if os.path.islink(os.path.join(root, name))]
        folders[:] = sorted(name for name in folders if name not in links)
        yield from (Path(root) / name for name in sorted([*names, *links]) if not name.startswith("."))


def _zip(file: IO[bytes], files: Mapping[str, Path], extra: Mapping[str, str]) -> None:
    with zipfile.ZipFile(file, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, text in extra.items():
            archive.writestr(name, text)
        for name, path in files.items():
            entry = zipfile.ZipInfo.from_file(path, name, strict_timestamps=False)
            entry.compress_type = zipfile.ZIP_DEFLATED
            with open_file(path, follow=False) as source, archive.open(entry, "w") as target:
                shutil.copyfileobj(source, target)


def _copy(output: Path, files: Mapping[str, Path], extra: Mapping[str, str]) -> None:
    """Fill a folder that takes its name only once it is complete."""
    building = output.with_name(f".{output.name}.{secrets.token_hex(4)}")
    try:
        building.mkdir(parents=True)
        for name, path in files.items():
            target = building / name
            target.parent.mkdir(parents=True, exist_ok=True)
            with open_file(path, follow=False) as source, open(target, "xb") as copy:
                shutil.copyfileobj(source, copy)
        for name, text in extra.items():
            (building / name).write_text(text)
        os.rename(building, output)
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", output)) from error
    finally:
        with contextlib.suppress(OSError):
            shutil.rmtree(building, ignore_errors=True)
