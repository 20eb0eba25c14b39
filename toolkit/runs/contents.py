"""The contracts of the files in a run folder, and the one way to read them.

Another process, a person or a failing disk may have written these files, so everything is checked here: a reader of
:class:`~toolkit.runs.folder.RunFolder` gets a value of these types, or :class:`Damaged` with the reason. The rooms that
know a kind of run check the rest of its request and result with :func:`require`.
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


_Contract = TypeVar("_Contract")


class Damaged(WorkError):
    """A run folder holds something that the toolkit did not write, or that cannot be read."""


class Newer(WorkError):
    """A run folder was made by a newer version of the toolkit."""


@with_config(ConfigDict(extra="allow", strict=True))
class Contents(TypedDict):
    """A JSON object that may have further keys; nothing is converted."""


class Choices(Contents, total=False):
    """Fields that requests of several kinds share; None and absent mean the same."""

    dataset: str | None
    size: Annotated[int, Field(ge=1, le=2**16)] | None
    codec: str | None
    codecs: str | None
    method: str | None
    align: str | None
    budget: str | None
    seed: Count | None


class Config(Choices):
    """``config.json``: the request of a run; its choices are in ``config`` if the run has a seed of its own."""

    format: NotRequired[Annotated[int, Field(ge=1)]]
    kind: Annotated[str, Field(min_length=1)]
    config: NotRequired[Choices | None]


class Origin(Contents, total=False):
    """``origin.json``: the sweeps that asked for the run, the first one made it; the run that it was forked from."""

    sweeps: Annotated[list[str], FailFast()]
    forked_from: str | None


class Result(Contents):
    """A result of any kind.

    ``run_dir`` is the absolute path of its folder; it is added when the result is read, not stored.
    """

    run_dir: NotRequired[str]


class AnyResult(Result, total=False):
    """``result.json`` as far as all kinds agree."""

    seconds: Annotated[Number, Field(ge=0)] | None
    last_accuracy: Number | None
    average_incremental_accuracy: Number | None
    forgetting: Number | None
    memory_bytes: Number | None


class _Logged(Contents):
    time: Annotated[float, Field(ge=0, le=LATEST)]
    event: str


class Event(_Logged, total=False):
    """A line of ``events.jsonl``, with the keys that readers look at."""

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
    loss: NotRequired[Number | None]
    stage: NotRequired[Count | None]
    step: NotRequired[Count | None]


class _Found(_Logged):
    part: Contents


class _Stage(_Logged):
    stage: Count
    accuracy: dict[str, Annotated[list[Annotated[float, Field(ge=0, le=1 + 1e-9)]], FailFast()]]


_EVENTS: dict[object, type] = {"failed": _Failed, "progress": _InProgress, "found": _Found, "stage": _Stage}
"""Events with keys that readers rely on."""


class GitState(TypedDict):
    """Commit of the toolkit's checkout, and whether files have changed since."""

    commit: str
    dirty: bool


class Attempt(Contents, total=False):
    """``environment.json``: machine, libraries and command of the latest attempt; only shown, so never refused."""

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


def read_config(path: Path) -> Config:
    """The request of a run, with its ``kind``.

    Raises:
        Damaged: it is none, or cannot be read.
        Newer: it is one of a newer version.
    """
    config = _read(path)
    made = config.get("format", FORMAT) if isinstance(config, dict) else FORMAT
    if isinstance(made, int) and made > FORMAT:
        raise Newer(newer(path.parent.name, "format", made, FORMAT))
    known = require(Config, config, path)
    known.pop("format", None)
    return known


def read_origin(path: Path) -> Origin:
    """Where a run comes from; nothing where the file is missing.

    Raises:
        Damaged: it is not an :class:`Origin`.
    """
    return require(Origin, _read(path), path) if os.path.lexists(path) else {}


def read_result(path: Path) -> AnyResult | None:
    """The result; None where there is none yet.

    Raises:
        Damaged: it is not a :class:`Result`.
    """
    return require(AnyResult, _read(path), path) if os.path.lexists(path) else None


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


def read_events(path: Path, last_bytes: int | None = None) -> list[Event]:
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


def _event(line: bytes, path: Path) -> Event | None:
    """What a line says; None where it has been cut short."""
    try:
        event = parse_json(line, nonfinite="none", printable=True)
    except Unfit as error:
        if is_beginning(line.decode(errors="replace")):
            return None
        raise _damaged(path, error) from error
    kind = event.get("event") if isinstance(event, dict) else None
    return cast(Event, require(_EVENTS.get(kind, _Logged) if isinstance(kind, str) else _Logged, event, path))


def require(contract: type[_Contract], value: object, path: Path) -> _Contract:
    """The value itself, once it is known to satisfy a contract.

    Args:
        contract: a TypedDict, perhaps with validators around it.
        value: as read from JSON.
        path: the file that holds it, for the message.

    Raises:
        Damaged: it does not; with the file's name and the first problem.
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
