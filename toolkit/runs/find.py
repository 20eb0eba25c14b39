"""Find a run by how any command prints it."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from toolkit.foundation.errors import UsageError
from toolkit.runs.folder import RunFolder, run_folders

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
