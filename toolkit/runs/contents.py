"""Contracts of the files in a run folder, and the functions that read and check them.

Another process, a person or a failing disk may have changed these files, so all of them are validated here: a reader of
:class:`~toolkit.runs.folder.RunFolder` gets a value of these types, or :class:`Damaged` with the reason. Packages that
define a kind of run check the rest of its request and result with :func:`require`.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Hashable, Mapping
from functools import cache, lru_cache
from pathlib import Path
from typing import Annotated, Any, NotRequired, TypeVar, cast

from pydantic import ConfigDict, FailFast, Field, TypeAdapter, ValidationError, with_config
from typing_extensions import TypedDict

from toolkit.foundation.documents import Unfit, is_beginning, open_file, parse_json, read_file
from toolkit.foundation.errors import WorkError, describe_os_error, newer, one_line
from toolkit.foundation.files import append_to
from toolkit.foundation.image_size import WrittenSize
from toolkit.foundation.validation import first_problem

FORMAT = 1
"""Version of the folder's contents; folders from a newer toolkit are refused."""
LATEST = 250_000_000_000
"""Latest time, in seconds since 1970, that every platform can convert to a date."""
MOST_EVENT_BYTES = 64 * 2**20
"""Maximum size read from the end of a log: a week of progress events, one per second."""
TICKET = ".queue"
"""Name of the file that marks a queued or running run."""
_WATCHED = ("config.json", "events.jsonl", "result.json", "notes.txt", "origin.json", "cancel", TICKET)
MOST_BYTES = 2**25
"""Maximum size of any other file."""
_SQLITE = 2**63
"""SQLite cannot store integers from here on."""

Count = Annotated[int, Field(ge=0, lt=_SQLITE)]
Number = Annotated[float, Field(ge=-_SQLITE, le=_SQLITE)]
Share = Annotated[float, Field(ge=0, le=1 + 1e-9)]
"""A fraction; a mean of fractions may exceed 1 by rounding."""


_Contract = TypeVar("_Contract")


class Damaged(WorkError):
    """A run folder contains data that the toolkit did not write or that cannot be read."""


class Newer(WorkError):
    """A run folder was made by a newer version of the toolkit."""


@with_config(ConfigDict(extra="allow", strict=True))
class Contents(TypedDict):
    """A JSON object that may have further keys; values are not converted."""


class Choices(Contents, total=False):
    """Fields shared by several kinds of requests; None and a missing key mean the same."""

    dataset: str | None
    size: WrittenSize | None
    codec: str | None
    codecs: str | None
    method: str | None
    align: str | None
    budget: str | None
    seed: Count | None


class Config(Choices):
    """``config.json``: the request of a run; its choices are in ``config`` if the run has its own seed."""

    format: NotRequired[Annotated[int, Field(ge=1)]]
    kind: Annotated[str, Field(min_length=1)]
    config: NotRequired[Choices | None]


class Origin(Contents, total=False):
    """``origin.json``: the sweeps that requested the run, its creator first, and the run that it was forked from."""

    sweeps: Annotated[list[str], FailFast()]
    forked_from: str | None


class Result(Contents):
    """A result of any kind.

    ``run_dir`` is the absolute path of its folder; it is added when the result is read, not stored.
    """

    run_dir: NotRequired[str]


class AnyResult(Result, total=False):
    """``result.json``: the fields that all kinds share."""

    seconds: Annotated[Number, Field(ge=0)] | None
    last_accuracy: Number | None
    average_incremental_accuracy: Number | None
    forgetting: Number | None
    memory_bytes: Number | None


class _Logged(Contents):
    time: Annotated[float, Field(ge=0, le=LATEST)]
    event: str


class Event(_Logged, total=False):
    """A line of ``events.jsonl``, with the keys that readers use."""

    reason: str
    what: str
    done: int
    total: int
    seconds_left: float | None
    loss: float | None
    stage: int
    step: int | None
    part: Contents
    accuracy: dict[str, list[float]]
    seconds: float | None


class _Failed(_Logged):
    reason: str


class _InProgress(_Logged):
    what: str
    done: Count
    total: Count
    seconds_left: NotRequired[Annotated[Number, Field(ge=0)] | None]
    loss: NotRequired[float | None]  # of any size: it may be about to diverge
    stage: NotRequired[Count | None]
    step: NotRequired[Count | None]


class _Found(_Logged):
    part: Contents


class _Stage(_Logged):
    stage: Count
    accuracy: dict[str, Annotated[list[Annotated[float, Field(ge=0, le=1 + 1e-9)]], FailFast()]]


_EVENTS: dict[object, type] = {"failed": _Failed, "progress": _InProgress, "found": _Found, "stage": _Stage}
"""Contracts of events with keys that readers rely on."""


class GitState(TypedDict):
    """Commit of the toolkit's checkout, and whether files have changed since."""

    commit: str
    dirty: bool


class Attempt(Contents, total=False):
    """``environment.json``: machine, libraries and command of the latest attempt; only displayed, so not validated."""

    python: str
    system: str
    processor: str
    cores: int
    threads: int
    memory_bytes: int
    gpus: list[str]
    device: str
    libraries: dict[str, str]
    git: GitState
    attempt: int
    command: str
    sweeps: list[str]
    peak_memory_bytes: int | None
    energy_joules: float | None


def stamp_of(folder: Path) -> str:
    """A text that changes whenever a file that determines the run's state changes."""
    parts = []
    for name in _WATCHED:
        try:
            facts = os.lstat(f"{folder}/{name}")
            parts.append(f"{facts.st_mode:o}.{facts.st_ino}.{facts.st_size}.{facts.st_mtime_ns}.{facts.st_ctime_ns}")
        except OSError:
            parts.append("-")
    return " ".join(parts)


def utf8_name(name: str) -> str:
    """A name with bytes that are not UTF-8 escaped."""
    return name.encode(errors="backslashreplace").decode()


def is_run_folder(folder: Path) -> bool:
    """Whether a folder has a request, valid or not."""
    try:
        (folder / "config.json").lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # unreadable: taken as a run if it is named like one
        return "-" in folder.name
    return True


def moment_of(path: Path) -> float:
    """Modification time of a file in seconds since 1970, clipped to 0..:data:`LATEST`; 0 if unknown."""
    try:
        return min(max(path.lstat().st_mtime, 0.0), LATEST)
    except OSError:
        return 0.0


def read_config(path: Path) -> Config:
    """The request of a run, with its ``kind``.

    Raises:
        Damaged: it is invalid or cannot be read.
        Newer: it is from a newer version of the toolkit.
    """
    config = _read(path)
    made = config.get("format", FORMAT) if isinstance(config, dict) else FORMAT
    if isinstance(made, int) and made > FORMAT:
        raise Newer(newer(path.parent.name, "format", made, FORMAT))
    known = require(Config, config, path)
    known.pop("format", None)
    return known


def read_origin(path: Path) -> Origin:
    """The origin of a run; empty if the file is missing.

    Raises:
        Damaged: it is not an :class:`Origin`.
    """
    return require(Origin, _read(path), path) if os.path.lexists(path) else {}


def read_result(path: Path) -> AnyResult | None:
    """The result; None if there is none yet.

    Raises:
        Damaged: it is not a :class:`Result`.
    """
    return require(AnyResult, _read(path), path) if os.path.lexists(path) else None


def read_notes(path: Path) -> str:
    """The user's notes about a run.

    Raises:
        Damaged: the file cannot be read.
    """
    if not os.path.lexists(path):
        return ""
    try:
        return read_file(path, MOST_BYTES, follow=False).decode(errors="replace").strip()
    except (OSError, Unfit) as error:
        raise _damaged(path, error) from error


def read_events(path: Path, last_bytes: int | None = None) -> list[Event]:
    """All events of a log, or those in its last ``last_bytes`` bytes, oldest first.

    Truncated lines are skipped: a kill, a full disk or a power cut leaves them behind.

    Raises:
        Damaged: any other line is not an :class:`Event`.
    """
    if not os.path.lexists(path):
        return []
    try:
        with open_file(path, follow=False) as file:
            start = max(0, file.seek(0, os.SEEK_END) - min(last_bytes or MOST_EVENT_BYTES, MOST_EVENT_BYTES))
            file.seek(start)
            lines = file.read().split(b"\n")
    except (OSError, Unfit) as error:
        raise _damaged(path, error) from error
    found = []
    for line in lines[1:] if start else lines:  # the first one is probably incomplete
        if (stripped := line.strip(b"\0\r ")) and (event := _event(stripped, path)) is not None:
            found.append(event)
    return found


@lru_cache(maxsize=4096)
def problem_of(folder: Path, stamp: str) -> Damaged | Newer | None:
    """The problem of a run folder whose files have this stamp, or None; cached."""
    if utf8_name(folder.name) != folder.name:
        return Damaged(f"{utf8_name(folder.name)} is damaged: its name is not UTF-8")
    try:
        read_config(folder / "config.json")
        read_origin(folder / "origin.json")
        read_notes(folder / "notes.txt")
        read_result(folder / "result.json")
        read_events(folder / "events.jsonl")
    except (Damaged, Newer) as problem:
        return type(problem)(str(problem))  # without the traceback
    return None


def append_event(path: Path, event: str, facts: Mapping[str, Any]) -> None:
    """Append an event to a log with the current time; non-finite numbers, such as a diverged loss, are omitted.

    Raises:
        WorkError: the log cannot be written.
    """
    known = {name: fact for name, fact in facts.items() if not isinstance(fact, float) or math.isfinite(fact)}
    line = json.dumps({"time": round(time.time(), 3), "event": event, **known}) + "\n"
    try:
        with append_to(path) as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # truncated by a kill or a full disk: it must not spoil this line too
                    line = "\n" + line
            file.write(line.encode())
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", path)) from error


def _event(line: bytes, path: Path) -> Event | None:
    """The event in a line; None if the line is truncated."""
    try:
        event = parse_json(line, nonfinite="none", printable=True)
    except Unfit as error:
        if is_beginning(line.decode(errors="replace")):
            return None
        raise _damaged(path, error) from error
    kind = event.get("event") if isinstance(event, dict) else None
    return cast(Event, require(_EVENTS.get(kind, _Logged) if isinstance(kind, str) else _Logged, event, path))


def require(contract: type[_Contract], value: object, path: Path) -> _Contract:
    """The value itself, if it satisfies a contract.

    Args:
        contract: a TypedDict, perhaps with validators around it.
        value: as read from JSON.
        path: the file that contains it, for the message.

    Raises:
        Damaged: the value violates the contract; with the file's name and the first problem.
    """
    try:
        _adapter(cast(Hashable, contract)).validate_python(value)
    except ValidationError as error:
        raise Damaged(f"{path.parent.name} is damaged: {path.name}: {first_problem(error)}") from error
    return cast(_Contract, value)


@cache
def _adapter(contract: Hashable) -> TypeAdapter[object]:
    return TypeAdapter(cast(type, contract))


def _read(path: Path) -> Any:
    try:
        return parse_json(read_file(path, MOST_BYTES, follow=False), printable=True)
    except (OSError, Unfit) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> Damaged:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
    return Damaged(f"{path.parent.name} is damaged: {path.name}: {reason}")
