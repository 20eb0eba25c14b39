"""What the files of a run folder hold, as models, and the one way to read them.

What another process, a person or a failing disk has written into them is checked here: whoever reads a run through
:class:`~toolkit.runs.folder.RunFolder` gets what these models say, or :class:`Damaged` with the reason. What a kind of
run adds to its request and its result is checked by the rooms that know the kind, with :func:`require`.
"""

from __future__ import annotations

import json
import math
import os
import time
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path
from typing import Annotated, Any

from pydantic import BaseModel, ConfigDict, FailFast, Field, ValidationError

from toolkit.foundation.documents import Unfit, is_beginning, open_file, parse_json, read_file
from toolkit.foundation.errors import WorkError, describe_os_error, newer, one_line
from toolkit.foundation.files import append_to
from toolkit.foundation.validation import first_problem

FORMAT = 1
"""Version of the folder's contents; a folder from a newer toolkit is refused."""
LATEST = 250_000_000_000
"""Seconds since 1970 up to which a date can be made of them anywhere."""
MOST_EVENT_BYTES = 64 * 2**20
"""Of a log, from its end: a week of a run that says every second how far it is."""
TICKET = ".queue"
"""Of a run that waits or is under way."""
_WATCHED = ("config.json", "events.jsonl", "result.json", "notes.txt", "origin.json", "cancel", TICKET)
MOST_BYTES = 2**25
"""Of any other file."""
_SQLITE = 2**63
"""Integers from here on cannot be kept in an index."""

Count = Annotated[int, Field(ge=0, lt=_SQLITE)]
Number = Annotated[float, Field(ge=-_SQLITE, le=_SQLITE)]
Share = Annotated[float, Field(ge=0, le=1 + 1e-9)]
"""Means of shares may round up."""


class Damaged(WorkError):
    """A run folder holds what the toolkit cannot have written, or what it cannot read."""


class Newer(WorkError):
    """A run folder was made by a newer version of the toolkit."""


class Contents(BaseModel):
    """A JSON object with further keys; nothing is converted."""

    model_config = ConfigDict(extra="allow", strict=True, frozen=True)


class Choices(Contents):
    """What requests of all kinds have in common, as far as they have it."""

    dataset: str | None = None
    size: Annotated[int, Field(ge=1, le=2**16)] | None = None
    codec: str | None = None
    codecs: str | None = None
    method: str | None = None
    align: str | None = None
    budget: str | None = None
    seed: Count | None = None


class Config(Choices):
    """``config.json``: the request of a run, in ``config`` where it has a seed of its own."""

    format: Annotated[int, Field(ge=1)] = 1
    kind: Annotated[str, Field(min_length=1)]
    config: Choices | None = None


class Origin(Contents):
    """``origin.json``."""

    sweeps: Annotated[list[str], FailFast()] = []
    forked_from: str | None = None


class Result(Contents):
    """``result.json``, as far as all kinds are alike."""

    seconds: Annotated[Number, Field(ge=0)] | None = None
    last_accuracy: Number | None = None
    average_incremental_accuracy: Number | None = None
    forgetting: Number | None = None
    memory_bytes: Number | None = None


class Event(Contents):
    """A line of ``events.jsonl``."""

    time: Annotated[float, Field(ge=0, le=LATEST)]
    event: str


class FailedEvent(Event):
    reason: str


class ProgressEvent(Event):
    what: str
    done: Count
    total: Count
    seconds_left: Annotated[Number, Field(ge=0)] | None = None
    loss: Number | None = None
    stage: Count | None = None
    step: Count | None = None


class FoundEvent(Event):
    part: dict[str, Any]


class StageEvent(Event):
    stage: Count
    accuracy: dict[str, Annotated[list[Annotated[float, Field(ge=0, le=1 + 1e-9)]], FailFast()]]


_EVENTS: dict[Any, type[Event]] = {
    "failed": FailedEvent,
    "progress": ProgressEvent,
    "found": FoundEvent,
    "stage": StageEvent,
}
"""Events that somebody looks into."""


def stamp_of(folder: Path) -> str:
    """What changes whenever a file does that tells how a run stands."""
    parts = []
    for name in _WATCHED:
        try:
            facts = os.lstat(f"{folder}/{name}")
            parts.append(f"{facts.st_mode:o}.{facts.st_ino}.{facts.st_size}.{facts.st_mtime_ns}.{facts.st_ctime_ns}")
        except OSError:
            parts.append("-")
    return " ".join(parts)


def utf8_name(name: str) -> str:
    """A name with escapes for what is no text in UTF-8."""
    return name.encode(errors="backslashreplace").decode()


def is_run_folder(folder: Path) -> bool:
    """Whether a folder has a request, whatever that holds."""
    try:
        (folder / "config.json").lstat()
    except (FileNotFoundError, NotADirectoryError):
        return False
    except OSError:  # it cannot be looked into: a run, where it is called as all runs are
        return "-" in folder.name
    return True


def moment_of(path: Path) -> float:
    """When a file was written, in seconds since 1970, as a date can be made of; 0 where that cannot be told."""
    try:
        return min(max(path.lstat().st_mtime, 0.0), LATEST)
    except OSError:
        return 0.0


def read_config(path: Path) -> dict[str, Any]:
    """The request of a run, with its ``kind``.

    Raises:
        Damaged: it is none, or cannot be read.
        Newer: it is one of a newer version.
    """
    config = _read(path)
    made = config.get("format", FORMAT) if isinstance(config, dict) else FORMAT
    if isinstance(made, int) and made > FORMAT:
        raise Newer(newer(path.parent.name, "format", made, FORMAT))
    require(Config, config, path)
    config.pop("format", None)
    return dict(config)


def read_origin(path: Path) -> dict[str, Any]:
    """Where a run comes from; nothing where the file is missing.

    Raises:
        Damaged: it is not an :class:`Origin`.
    """
    return dict(require(Origin, _read(path), path)) if os.path.lexists(path) else {}


def read_result(path: Path) -> dict[str, Any] | None:
    """The result; None where there is none yet.

    Raises:
        Damaged: it is not a :class:`Result`.
    """
    return dict(require(Result, _read(path), path)) if os.path.lexists(path) else None


def read_notes(path: Path) -> str:
    """What the user wrote about a run.

    Raises:
        Damaged: it is no file of text.
    """
    if not os.path.lexists(path):
        return ""
    try:
        return read_file(path, MOST_BYTES, follow=False).decode(errors="replace").strip()
    except (OSError, Unfit) as error:
        raise _damaged(path, error) from error


def read_events(path: Path, last_bytes: int | None = None) -> list[dict[str, Any]]:
    """All events of a log, or those in its last so many bytes, the oldest first.

    The beginning of an event is passed over: a kill, a full disk or a power cut has ended it.

    Raises:
        Damaged: any other line is no :class:`Event`.
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
    for line in lines[1:] if start else lines:  # the first one most likely begins before
        if (stripped := line.strip(b"\0\r ")) and (event := _event(stripped, path)) is not None:
            found.append(event)
    return found


@lru_cache(maxsize=4096)
def problem_of(folder: Path, stamp: str) -> Damaged | Newer | None:
    """What is wrong with a run folder whose files have that stamp: read once, however many ask."""
    if utf8_name(folder.name) != folder.name:
        return Damaged(f"{utf8_name(folder.name)} is damaged: its name is not text in UTF-8")
    try:
        read_config(folder / "config.json")
        read_origin(folder / "origin.json")
        read_notes(folder / "notes.txt")
        read_result(folder / "result.json")
        read_events(folder / "events.jsonl")
    except (Damaged, Newer) as problem:
        return type(problem)(str(problem))  # without the frames that it has come through
    return None


def append_event(path: Path, event: str, facts: Mapping[str, Any]) -> None:
    """Append an event of now to a log; a number that is none, as a loss may become, is left out.

    Raises:
        WorkError: it cannot be written.
    """
    known = {name: fact for name, fact in facts.items() if not isinstance(fact, float) or math.isfinite(fact)}
    line = json.dumps({"time": round(time.time(), 3), "event": event, **known}) + "\n"
    try:
        with append_to(path) as file:
            if file.seek(0, os.SEEK_END):
                file.seek(-1, os.SEEK_END)
                if file.read(1) != b"\n":  # cut short by a kill or a full disk: it must not spoil this line too
                    line = "\n" + line
            file.write(line.encode())
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", path)) from error


def _event(line: bytes, path: Path) -> dict[str, Any] | None:
    """What a line says; None where it has been cut short."""
    try:
        event = parse_json(line, nonfinite="none", printable=True)
    except Unfit as error:
        if is_beginning(line.decode(errors="replace")):
            return None
        raise _damaged(path, error) from error
    kind = event.get("event") if isinstance(event, dict) else None
    return dict(require(_EVENTS.get(kind, Event) if isinstance(kind, str) else Event, event, path))


def require(kind: type[BaseModel], value: Any, path: Path) -> Any:
    """The value, once it is known to be a ``kind``.

    Raises:
        Damaged: it is not; with the file's name and the first problem.
    """
    try:
        kind.model_validate(value)
    except ValidationError as error:
        raise Damaged(f"{path.parent.name} is damaged: {path.name}: {first_problem(error)}") from error
    return value


def _read(path: Path) -> Any:
    try:
        return parse_json(read_file(path, MOST_BYTES, follow=False), printable=True)
    except (OSError, Unfit) as error:
        raise _damaged(path, error) from error


def _damaged(path: Path, error: Exception) -> Damaged:
    reason = error.strerror if isinstance(error, OSError) and error.strerror else one_line(error)
    return Damaged(f"{path.parent.name} is damaged: {path.name}: {reason}")
