"""An index of a runs folder: an SQLite file beside the run folders, which remain the source of truth.

Every query first updates the index: it rereads a row if the size or time of one of its folder's files has changed, and
rebuilds the index if it is missing, damaged or of another version. The index stores the state that a run has without
a live process; whether one is alive is checked at query time.
"""

from __future__ import annotations

import json
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypedDict, cast

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.runs.contents import Choices, Newer, stamp_of
from toolkit.runs.folder import DAMAGED, STATUSES, RunFolder, run_folders

VERSION = 3
"""Version of the table; an index of another version is rebuilt."""
UNREADABLE = "unreadable"
"""The state of a folder from a newer version."""
STATES = (*STATUSES, DAMAGED, UNREADABLE)
"""All states of a row."""
_FINAL = ("done", DAMAGED, UNREADABLE)
"""States that change only together with the folder's files."""
_FIGURES = ("last_accuracy", "average_incremental_accuracy", "forgetting", "memory_bytes", "seconds")
_TEXTS = ("kind", "dataset", "codec", "method", "align", "budget", "notes", "error")
_COLUMNS = ("name", "stamp", "state", "sweeps", "seed", "created", "changed", *_TEXTS, *_FIGURES)


class RunRow(TypedDict):
    """A run in the index; fields that do not apply are None.

    ``state`` is the current one of :data:`STATES`; ``created`` and ``changed`` are seconds since 1970.
    """

    name: str
    state: str
    sweeps: list[str]
    seed: int | None
    created: float
    changed: float
    kind: str
    dataset: str | None
    codec: str | None
    method: str | None
    align: str | None
    budget: str | None
    notes: str | None
    error: str | None
    last_accuracy: float | None
    average_incremental_accuracy: float | None
    forgetting: float | None
    memory_bytes: int | None
    seconds: float | None


@dataclass(frozen=True)
class Filter:
    """Which runs a query returns; a field of None does not restrict them.

    Attributes:
        text: part of the name or the notes, in any case.
        dataset, codec: part of the specification.
        since: changed at this time or later, in seconds since 1970.
    """

    kind: str | None = None
    state: str | None = None
    dataset: str | None = None
    codec: str | None = None
    method: str | None = None
    sweep: str | None = None
    text: str | None = None
    since: float | None = None

    def __post_init__(self) -> None:
        if self.state is not None and self.state not in STATES:
            raise UsageError(f"state must be one of {', '.join(STATES)}, got {self.state!r}")

    def accepts(self, row: RunRow) -> bool:
        """Whether a row with its current state passes the filter."""
        exact = all(
            wanted is None or value == wanted
            for value, wanted in ((row["kind"], self.kind), (row["state"], self.state), (row["method"], self.method))
        )
        parts = all(
            wanted is None or wanted in (value or "")
            for value, wanted in ((row["dataset"], self.dataset), (row["codec"], self.codec))
        )
        said = f"{row['name']} {row['notes'] or ''}".lower()
        return (
            exact
            and parts
            and (self.sweep is None or self.sweep in row["sweeps"])
            and (self.text is None or self.text.lower() in said)
            and (self.since is None or row["changed"] >= self.since)
        )


def query(
    runs_dir: Path, wanted: Filter | None = None, check: Callable[[RunFolder], object] = RunFolder.check
) -> list[RunRow]:
    """Rows of the runs that pass a filter, newest first; runs that cannot be read are included with the reason.

    Args:
        runs_dir: the folder of run folders.
        wanted: which of them; all by default.
        check: raises WorkError for a damaged run; may check more than the folder does, such as the run's kind.
    """
    wanted = wanted or Filter()
    runs_dir = Path(runs_dir)
    if not runs_dir.is_dir():
        return []
    with _opened(runs_dir) as index:
        _refresh(index, runs_dir, check)
        stored = [dict(row) for row in index.execute("SELECT * FROM runs ORDER BY created DESC, name")]
    rows = [_live_row(row, runs_dir, check) for row in stored]
    return [row for row in rows if wanted.accepts(row)]


def _live_row(row: dict[str, Any], runs_dir: Path, check: Callable[[RunFolder], object]) -> RunRow:
    """A row of the table as returned to callers, with the run's current state."""
    row["sweeps"] = json.loads(row["sweeps"])
    stamp = row.pop("stamp")
    if row["state"] not in _FINAL:
        run = RunFolder(runs_dir / row["name"])
        row["state"] = _live_state(run, row["state"] if stamp == _stamp(run, check) else None)
    return cast(RunRow, row)


@contextmanager
def _opened(runs_dir: Path) -> Iterator[sqlite3.Connection]:
    """The index; rebuilt if it is unusable, kept in memory if the folder is not writable."""
    path = runs_dir / "index.sqlite"
    try:
        index = _connected(path)
    except sqlite3.OperationalError:  # a read-only folder or a full disk
        index = _connected(":memory:")
    except sqlite3.DatabaseError:
        for suffix in ("", "-wal", "-shm"):
            with suppress(OSError):
                path.with_name(path.name + suffix).unlink()
        index = _connected(path)
    with closing(index):
        yield index


def _connected(path: Path | str) -> sqlite3.Connection:
    """A writable connection to an index of this version."""
    index = sqlite3.connect(path, timeout=30)
    try:
        index.row_factory = sqlite3.Row
        index.execute("PRAGMA journal_mode=WAL")
        index.execute("PRAGMA synchronous=NORMAL")
        (version,) = index.execute("PRAGMA user_version").fetchone()
        if version not in (0, VERSION):
            raise sqlite3.DatabaseError(f"an index of version {version}")
        if not version:  # creating the table on every query would make readers wait for each other
            with index:
                columns = ", ".join(_COLUMNS[1:])
                index.execute(f"CREATE TABLE IF NOT EXISTS runs (name TEXT PRIMARY KEY, {columns})")
                index.execute(f"PRAGMA user_version={VERSION}")
        index.execute(f"SELECT {', '.join(_COLUMNS)} FROM runs LIMIT 1").fetchone()
        if index.execute("PRAGMA quick_check").fetchone()[0] != "ok":
            raise sqlite3.DatabaseError("damaged")
    except sqlite3.DatabaseError:
        index.close()
        raise
    return index


def _live_state(run: RunFolder, at_rest: str | None) -> str:
    """The current state of a run whose folder was intact when its row was written.

    Args:
        run: its folder.
        at_rest: its state without a live process; None if its files have changed since the row was written.
    """
    try:
        return run.status() if at_rest is None else "running" if run.is_running() else at_rest
    except (WorkError, OSError):
        return DAMAGED


def _stamp(run: RunFolder, check: Callable[[RunFolder], object]) -> str:
    """A text that changes whenever a row must be reread."""
    return f"{check.__module__}.{check.__qualname__} {stamp_of(run.path)}"


def _refresh(index: sqlite3.Connection, runs_dir: Path, check: Callable[[RunFolder], object]) -> None:
    """Update the rows of changed folders."""
    known = dict(index.execute("SELECT name, stamp FROM runs").fetchall())
    runs = {run.shown_name: run for run in run_folders(runs_dir)}
    found = {name: _stamp(run, check) for name, run in runs.items()}
    changed = [name for name, stamp in found.items() if known.get(name) != stamp]
    with index, suppress(sqlite3.OperationalError):  # a full disk: the next query tries again
        index.executemany("DELETE FROM runs WHERE name = ?", [(name,) for name in known.keys() - found.keys()])
        places = ", ".join("?" * len(_COLUMNS))
        for name in changed:
            row = index_row(runs[name], check) | {"stamp": found[name]}
            index.execute(f"INSERT OR REPLACE INTO runs VALUES ({places})", [row[column] for column in _COLUMNS])


def index_row(run: RunFolder, check: Callable[[RunFolder], object]) -> dict[str, Any]:
    """A folder's row in the table; ``state`` is its state without a live process."""
    row: dict[str, Any] = dict.fromkeys(_COLUMNS) | {"name": run.shown_name, "sweeps": "[]"}
    row |= {"kind": run.shown_name.split("-")[0], "created": run.created, "changed": run.created}
    try:
        check(run)
        config, events, result, state = run.config, run.events(), run.result, run.status_at_rest()
        row |= {"sweeps": json.dumps(run.origin.get("sweeps", [])), "notes": run.notes or None}
        error = run.error() if state == "failed" else None
    except Newer as error:
        return row | {"state": UNREADABLE, "error": one_line(error)}
    except (WorkError, OSError) as error:
        return row | {"state": DAMAGED, "error": one_line(error)}
    request: Choices = config.get("config") or config
    row |= {name: value for name, value in request.items() if name in ("dataset", "method", "align", "budget")}
    row |= {"kind": config["kind"], "codec": request.get("codec") or request.get("codecs")}
    row |= {"seed": config.get("seed", request.get("seed")), "error": error}
    if events:
        row["changed"] = events[-1]["time"]
    figures = {name: value for name, value in (result or {}).items() if name in _FIGURES}
    return row | {"state": state, **figures}
