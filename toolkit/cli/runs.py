"""``runs list|show|logs|cancel|resume|retry|rm|export|note``."""

from __future__ import annotations

import json as json_module
import re
import time
from collections.abc import Mapping, Sequence
from datetime import datetime
from pathlib import Path
from typing import Annotated, NotRequired, TypedDict

import typer

from toolkit.cli import console
from toolkit.cli.options import CsvTo, JsonTo
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.sizes import format_size
from toolkit.report.tables import csv_text
from toolkit.runs import ending, index
from toolkit.runs.contents import Attempt, Event
from toolkit.runs.export import export_runs
from toolkit.runs.find import find_run
from toolkit.runs.folder import DAMAGED, RunFolder

runs_app = typer.Typer(help="List and manage runs: finished, running and queued.", no_args_is_help=True)

Name = Annotated[str, typer.Argument(help="folder, name or unique part of the name of a run")]
Names = Annotated[list[str], typer.Argument(help="folders, names or unique parts of the names of runs")]
RunsDir = Annotated[Path | None, typer.Option("--runs-dir", help="folder of run folders")]
_LOG_BYTES = 2**24
_AGES = {"m": 60, "h": 3600, "d": 86400, "w": 7 * 86400}


class ListedRun(index.RunRow):
    """A run in the ``runs list`` JSON."""

    run_dir: str


class ListedRuns(TypedDict):
    """The ``runs list`` JSON, newest first."""

    runs: list[ListedRun]


class DescribedRun(TypedDict):
    """The ``runs show`` JSON: everything about a run except its matrices.

    ``created`` and ``changed`` are local times in ISO 8601; ``result`` holds the numbers and texts of the result.
    """

    name: str
    folder: str
    state: str
    error: str | None
    notes: str | None
    created: str
    changed: str
    sweeps: NotRequired[list[str]]
    forked_from: NotRequired[str | None]
    progress: Event | None
    config: Mapping[str, object]
    result: dict[str, int | float | str]
    environment: Attempt | None
    command: str


@runs_app.command(name="list")
def list_(
    runs_dir: RunsDir = None,
    kind: Annotated[str | None, typer.Option(help="pilot, probe or jpeg")] = None,
    state: Annotated[str | None, typer.Option(help=", ".join(index.STATES))] = None,
    dataset: Annotated[str | None, typer.Option(help="part of the dataset's specification")] = None,
    codec: Annotated[str | None, typer.Option(help="part of the codec's specification")] = None,
    method: Annotated[str | None, typer.Option(help="class-incremental method")] = None,
    sweep: Annotated[str | None, typer.Option(help="name of a sweep")] = None,
    text: Annotated[str | None, typer.Option(help="part of the name or the notes")] = None,
    since: Annotated[str | None, typer.Option(help="changed since: 90m, 12h, 3d, 2w or a date")] = None,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """List runs, newest first; unreadable runs are listed with the reason."""
    from toolkit.jobs.kinds import check

    wanted = index.Filter(kind, state, dataset, codec, method, sweep, text, parse_since(since) if since else None)
    folder = _folder(runs_dir)
    found: list[ListedRun] = [
        {**row, "run_dir": str(folder / row["name"])} for row in index.query(folder, wanted, check)
    ]
    if "-" not in (json, csv):
        for row in found:
            accuracy = "" if row["last_accuracy"] is None else f"{row['last_accuracy']:.1%}"
            remark = " | ".join(filter(None, (row["error"], row["notes"])))
            print(f"{row['state']:<10} {accuracy:>6}  {row['name']}" + (f"  ({remark})" if remark else ""))
    _say(f"{len(found)} runs in {folder}")
    flat = [{**row, "sweeps": ", ".join(row["sweeps"])} for row in found]
    result: ListedRuns = {"runs": found}
    console.emit(result, json, flat, csv)


@runs_app.command()
def show(name: Name, runs_dir: RunsDir = None, json: JsonTo = None) -> None:
    """Show a run: configuration, state, results and the command that reproduces it."""
    facts = describe(_found([name], runs_dir)[0])
    if json != "-":
        for key, value in facts.items():
            if value not in (None, [], "", {}):
                print(f"{key}: {value if isinstance(value, str) else json_module.dumps(value)}")
    console.emit(facts, json)


@runs_app.command()
def logs(
    name: Name,
    runs_dir: RunsDir = None,
    lines: Annotated[int, typer.Option(help="maximum number of latest events; 0 for all", min=0)] = 40,
) -> None:
    """Show the events of a run and the output of its worker."""
    (run,) = _found([name], runs_dir)
    for event in run.events()[-lines:]:
        facts = " ".join(f"{key}={value}" for key, value in event.items() if key not in ("time", "event"))
        print(f"{_moment(event['time'])} {event['event']} {facts}".rstrip())
    for line in run.printed(_LOG_BYTES).splitlines()[-lines:]:
        print(f"worker: {line}")


@runs_app.command()
def cancel(names: Names, runs_dir: RunsDir = None) -> None:
    """Stop runs; they can be resumed."""
    runs = _in_state(names, runs_dir, ("queued", "running"), "only queued and running runs can be cancelled")
    left = {run.name for run in ending.cancel(runs)}
    for run in runs:
        said = "asked to stop; its foreground process has not noticed yet"
        _say(f"{run.name}: {said if run.name in left else run.status()}")


@runs_app.command()
def resume(
    name: Names,
    runs_dir: RunsDir = None,
    set_: Annotated[
        list[str] | None, typer.Option("--set", metavar="NAME=VALUE", help="a field to change; needs --fork")
    ] = None,
    fork: Annotated[bool, typer.Option("--fork", help="make a new run with the changed fields")] = False,
) -> None:
    """Queue cancelled and lost runs again; they continue from their last checkpoint."""
    if set_:
        _resume_changed(_found(name, runs_dir), set_, fork)
        return
    if fork:
        raise UsageError("--fork needs a field to change: --set NAME=VALUE")
    _queue(_in_state(name, runs_dir, ("cancelled", "lost"), "only cancelled and lost runs can be resumed"))


@runs_app.command()
def retry(names: Names, runs_dir: RunsDir = None) -> None:
    """Queue failed runs again; they continue from their last checkpoint."""
    _queue(_in_state(names, runs_dir, ("failed",), "only failed runs can be retried"))


@runs_app.command()
def rm(names: Names, runs_dir: RunsDir = None) -> None:
    """Delete runs with their results; running ones are refused."""
    for run in _found(names, runs_dir):
        ending.remove(run)
        _say(f"removed {run.name}")


@runs_app.command()
def export(
    names: Names,
    output: Annotated[Path, typer.Option("-o", "--output", help="a .zip file or a new folder")],
    runs_dir: RunsDir = None,
) -> None:
    """Copy run folders and a table of their results."""
    runs = _found(names, runs_dir)
    rows = [_row(run) for run in runs]
    table = csv_text([{**row, "sweeps": ", ".join(row["sweeps"])} for row in rows])
    size, left_out = export_runs(runs, output, {"results.csv": table})
    for name in left_out:
        _say(f"left out {name}: it is a link or not a regular file")
    _say(f"wrote {len(runs)} runs, {format_size(size)}, to {output}")


@runs_app.command()
def note(name: Name, text: Annotated[str, typer.Argument(help="empty to remove")], runs_dir: RunsDir = None) -> None:
    """Store a note in the folder of a run."""
    _found([name], runs_dir)[0].note(text)


def describe(run: RunFolder) -> DescribedRun:
    """All facts about a run except its matrices."""
    from toolkit.jobs.kinds import request_of

    row = _row(run)
    if row["state"] in (index.UNREADABLE, DAMAGED):
        raise WorkError(row["error"] or row["state"])
    result = run.result or {}
    return {
        "name": run.name,
        "folder": str(run.path),
        "state": row["state"],
        "error": row["error"],
        "notes": row["notes"],
        "created": _moment(row["created"]),
        "changed": _moment(row["changed"]),
        **run.origin,
        "progress": run.progress() if row["state"] == "running" else None,
        "config": run.config,
        "result": {name: value for name, value in result.items() if isinstance(value, (int, float, str))},
        "environment": run.environment,
        "command": request_of(run).command(),
    }


def _row(run: RunFolder) -> index.RunRow:
    """The run's row in the index of its folder."""
    from toolkit.jobs.kinds import check

    return next(row for row in index.query(run.path.parent, check=check) if row["name"] == run.shown_name)


def parse_since(text: str) -> float:
    """Parse ``90m``, ``12h``, ``3d``, ``2w`` or ``2026-05-01`` to seconds since 1970.

    Raises:
        UsageError: the text is none of these.
    """
    if match := re.fullmatch(r"(\d+)([mhdw])", text):
        return time.time() - int(match[1]) * _AGES[match[2]]
    try:
        return datetime.fromisoformat(text).timestamp()
    except ValueError:
        raise UsageError(f"--since takes 90m, 12h, 3d, 2w or a date such as 2026-05-01, got {text!r}") from None


def _resume_changed(runs: Sequence[RunFolder], assignments: Sequence[str], forking: bool) -> None:
    from toolkit.pilots.fork import changed_config, fork

    if len(runs) != 1:
        raise UsageError("--set takes one run")
    run = runs[0]
    config, differences = changed_config(run, assignments)
    if not differences:
        raise UsageError(f"{run.name} already has these values: resume it without --set")
    if not forking:
        raise UsageError(
            f"{run.name} cannot continue with another configuration ({', '.join(differences)}): "
            "--fork makes a new run that starts from the beginning"
        )
    forked = fork(run, config)
    _say(f"{forked.name}: a new run from the beginning, with {', '.join(differences)}")
    _queue([forked])


def _queue(runs: Sequence[RunFolder]) -> None:
    """Queue each run in its own folder."""
    from toolkit.jobs.kinds import sorted_out
    from toolkit.runs.start import start_pending

    _, problems = sorted_out(runs)
    for problem in problems.values():
        raise WorkError(problem)
    for folder in dict.fromkeys(run.path.parent for run in runs):
        start_pending([run for run in runs if run.path.parent == folder], folder)
    for run in runs:
        _say(f"{run.name}: {run.status()}")


def _in_state(names: Sequence[str], runs_dir: Path | None, states: Sequence[str], refusal: str) -> list[RunFolder]:
    runs = _found(names, runs_dir)
    for run in runs:
        if (status := run.status()) not in states:
            raise UsageError(f"{run.name} is {status}: {refusal}")
    return runs


def _found(names: Sequence[str], runs_dir: Path | None) -> list[RunFolder]:
    """Each named run once, even if it is named several times."""
    found = [find_run(name, _folder(runs_dir)) for name in names]
    return list({run.path: run for run in found}.values())


def _folder(runs_dir: Path | None) -> Path:
    folder = (runs_dir or default_runs_dir()).resolve()
    if runs_dir is not None and not folder.is_dir():
        raise UsageError(f"{runs_dir} is not a folder")
    return folder


def _moment(seconds: float) -> str:
    return datetime.fromtimestamp(seconds).isoformat(" ", "seconds")


def _say(text: str) -> None:
    console.stderr.print(text, markup=False, soft_wrap=True)
