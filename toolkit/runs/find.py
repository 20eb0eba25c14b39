"""Find runs by path, name or part of the name."""

from __future__ import annotations

import os
from collections.abc import Sequence
from pathlib import Path

from toolkit.foundation.errors import UsageError
from toolkit.runs.folder import RunFolder, run_folders

_SHOWN = 8


def find_run(name: str, runs_dir: Path) -> RunFolder:
    """Find a run by its folder's path, its name, or a unique part of the name.

    A path has a separator or leads from the current folder to a run. A name is looked up in ``runs_dir``: an exact
    match comes first, then the only run that begins with it, then the only run that contains it.

    Raises:
        UsageError: no run or several runs match.
    """
    path = _as_path(name)
    if os.path.dirname(name):
        if RunFolder(path).exists():
            return RunFolder(path)
        raise UsageError(f"{name} is not a run folder: it has no config.json")
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
        raise UsageError(f"{name!r} matches {len(fitting)} runs: {', '.join(fitting[:_SHOWN])}{more}")
    return RunFolder(Path(runs_dir) / fitting[0])


def find_runs(names: Sequence[str], runs_dir: Path) -> list[RunFolder]:
    """Runs by name as in :func:`find_run`, or all runs of a folder of runs; each once.

    Raises:
        UsageError: no run was found, or a named run is unreadable. Unreadable runs of a folder are returned.
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
    """An absolute path with unresolved links, so that a linked run belongs to the folder that contains the link."""
    return Path(os.path.abspath(Path(name).expanduser()))
