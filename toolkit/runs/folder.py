"""Run folders: the complete state of every run on disk, independent of any process. Imports no torch.

A folder contains ``config.json`` (the request), ``events.jsonl`` (append-only log), ``environment.json``,
``origin.json`` (the sweeps it belongs to, the run it was forked from), ``notes.txt``, checkpoints while it runs, and
``result.json`` (written atomically, last). A queued or running run has a ticket (:mod:`.queue`). A process that runs it
holds ``.lock``, and one that is about to run it ``.claim``; the operating system releases both when the process dies,
however it dies.
"""

from __future__ import annotations

import json
import os
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar, cast

from toolkit.foundation.documents import read_tail
from toolkit.foundation.errors import UsageError, WorkError, describe_os_error, one_line
from toolkit.foundation.files import append_to, make_folder, read_json, write_atomically, write_json
from toolkit.foundation.progress import Progress, silent
from toolkit.runs import contents
from toolkit.runs.contents import FORMAT, TICKET, AnyResult, Attempt, Config, Contents, Damaged, Event, Origin, Result
from toolkit.runs.locks import held, holding

STATUSES = ("queued", "running", "done", "failed", "cancelled", "lost")
"""``lost``: it was running, its process is gone, and it is not queued."""
DAMAGED = "damaged"
"""State of a folder with contents that the toolkit did not write; it can only be removed."""
SLOT_VARIABLE = "RECALLRATE_SLOT"
"""Environment variable by which a supervisor assigns a worker one of the folder's training slots."""
_TAIL_BYTES = 1 << 16
_Outcome = TypeVar("_Outcome", bound=Result)


class Cancelled(WorkError):
    """The user cancelled the run."""


@dataclass(frozen=True)
class RunFolder:
    """The folder of one run."""

    path: Path

    @classmethod
    def create(cls, path: Path, kind: str, request: Mapping[str, object]) -> RunFolder:
        """Create the folder, or reopen it if it was created for the same request.

        Raises:
            WorkError: the folder contains another request, or cannot be written.
        """
        run = cls(path)
        config = {"kind": kind, **request}
        if run.exists():
            if not _agrees(run.config, json.loads(json.dumps(config))):
                raise WorkError(f"{path} already contains another run: choose another folder")
            return run
        write_json(run.config_path, {"format": FORMAT, **config})
        return run

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def shown_name(self) -> str:
        """The name with bytes that are not UTF-8 escaped."""
        return contents.utf8_name(self.name)

    def exists(self) -> bool:
        """Whether the folder has a request, valid or not."""
        return contents.is_run_folder(self.path)

    @property
    def created(self) -> float:
        """Time at which the request was written, in seconds since 1970; 0 if unknown."""
        return contents.moment_of(self.config_path)

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def result_path(self) -> Path:
        return self.path / "result.json"

    @property
    def config(self) -> Config:
        """The request, with its ``kind``.

        Raises:
            Damaged: the file cannot be read.
            Newer: it is from a newer version of the toolkit.
        """
        return contents.read_config(self.config_path)

    def unreadable(self) -> str | None:
        """Why this version of the toolkit cannot read the request; None if it can."""
        try:
            _ = self.config
        except WorkError as error:
            return one_line(error)
        return None

    def check(self) -> None:
        """Read and validate all files of the folder.

        Raises:
            Damaged: a file is not what the toolkit writes.
            Newer: the folder is from a newer version of the toolkit.
        """
        if (problem := contents.problem_of(self.path, contents.stamp_of(self.path))) is not None:
            raise type(problem)(str(problem))

    @property
    def result(self) -> AnyResult | None:
        """The result; None if there is none yet."""
        return contents.read_result(self.result_path)

    def located(self, result: _Outcome) -> _Outcome:
        """A result with the folder's absolute path as ``run_dir``; the folder may have moved since it was written."""
        return cast(_Outcome, {**result, "run_dir": os.path.abspath(self.path)})

    @property
    def origin(self) -> Origin:
        """The sweeps that requested the run, and the run that it was forked from."""
        return contents.read_origin(self.path / "origin.json")

    def join_sweep(self, sweep: str) -> None:
        """Record that a sweep requested the run."""
        origin = self.origin
        sweeps = origin.get("sweeps", [])
        if sweep not in sweeps:
            write_json(self.path / "origin.json", {**origin, "sweeps": [*sweeps, sweep]})

    @property
    def notes(self) -> str:
        """The user's notes."""
        return contents.read_notes(self.path / "notes.txt")

    @property
    def environment(self) -> Attempt | None:
        """``environment.json`` of the latest attempt; None if missing or unreadable, since it is only displayed."""
        try:
            facts = read_json(self.path / "environment.json")
        except WorkError:
            return None
        return cast(Attempt, facts) if isinstance(facts, dict) else None

    def printed(self, last_bytes: int) -> str:
        """The end of the worker's output."""
        return read_tail(self.path / "worker.log", last_bytes).decode(errors="replace")

    def note(self, text: str) -> None:
        """Replace the notes; empty text removes them."""
        if text.strip():
            write_atomically(self.path / "notes.txt", lambda file: file.write(text.strip().encode() + b"\n"))
        else:
            (self.path / "notes.txt").unlink(missing_ok=True)

    # -- events ------------------------------------------------------------------------------------------------

    def log(self, event: str, **facts: Any) -> None:
        """Append an event.

        Raises:
            WorkError: the folder cannot be written.
        """
        contents.append_event(self.path / "events.jsonl", event, facts)

    def events(self, last_bytes: int | None = None) -> list[Event]:
        """All events, or those in the last ``last_bytes`` bytes of the log; truncated lines are skipped."""
        return contents.read_events(self.path / "events.jsonl", last_bytes)

    def last_event(self, *, progress: bool = False) -> Event | None:
        """The latest event other than ``progress``, or the latest ``progress``; reads the end of the log first."""
        for last_bytes in (_TAIL_BYTES, None):
            for event in reversed(self.events(last_bytes)):
                if (event["event"] == "progress") == progress:
                    return event
        return None

    # -- state -------------------------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold the run's lock.

        Raises:
            WorkError: another process is running it.
        """
        with holding(self.path / ".lock", f"{self.path.name} is being run by another process", seconds=5):
            yield

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Claim the run for this process, from before its libraries are loaded until the end.

        Raises:
            WorkError: another process has claimed it.
        """
        with holding(self.path / ".claim", f"{self.path.name} is claimed by another worker"):
            yield

    def is_running(self) -> bool:
        """Whether a live process runs the run or is about to."""
        return held(self.path / ".lock") or held(self.path / ".claim")

    def status(self) -> str:
        """One of :data:`STATUSES`, or :data:`DAMAGED` if the log cannot be read."""
        if os.path.lexists(self.result_path):
            return "done"
        return "running" if self.is_running() else self.status_at_rest()

    def status_at_rest(self) -> str:
        """The status without a live process: never ``running``."""
        if os.path.lexists(self.result_path):
            return "done"
        try:
            latest = self.last_event()
        except Damaged:
            return DAMAGED
        said = latest["event"] if latest else None
        if self.cancel_requested() or said == "cancelled":
            return "cancelled"
        if said == "failed":
            return "failed"
        return "queued" if os.path.lexists(self.path / TICKET) else "lost"

    def progress(self) -> Event | None:
        """The latest progress event: ``what``, ``done``, ``total`` and, if known, ``seconds_left``."""
        return self.last_event(progress=True)

    def log_found(self, part: Mapping[str, object]) -> None:
        """Log a part of an unfinished result, for pages that follow the run.

        Raises:
            WorkError: the folder cannot be written.
        """
        self.log("found", part=part)

    def found(self) -> list[Contents]:
        """Parts of the result that the latest attempt has logged so far."""
        parts: list[Contents] = []
        for event in self.events():
            if event["event"] == "started":
                parts = []
            elif event["event"] == "found":
                parts.append(event["part"])
        return parts

    def error(self) -> str | None:
        """Reason of the latest failure, if any."""
        return next((event["reason"] for event in reversed(self.events()) if event["event"] == "failed"), None)

    def log_finished(self) -> None:
        """Log the ``finished`` event if a kill prevented it after the result was written."""
        if not any(event["event"] == "finished" for event in self.events()):
            self.log("finished", seconds=(self.result or {}).get("seconds"))

    @contextmanager
    def failures_logged(self) -> Iterator[None]:
        """Log an exception that ends the block, and reraise it."""
        try:
            yield
        except Cancelled:
            self.log("cancelled")
            raise
        except Exception as error:
            known = isinstance(error, (UsageError, WorkError))
            self.log("failed", reason=one_line(error) if known else f"{type(error).__name__}: {one_line(error)}")
            raise

    # -- cancelling --------------------------------------------------------------------------------------------

    def request_cancel(self) -> None:
        """Ask the run to stop; a queued one will not start."""
        if not self.cancel_requested():
            append_to(self.path / "cancel").close()

    def cancel_requested(self) -> bool:
        return os.path.lexists(self.path / "cancel")

    def clear_cancel(self) -> None:
        """Withdraw the request to stop, so that the run can start again.

        Raises:
            WorkError: the ``cancel`` file cannot be removed.
        """
        try:
            (self.path / "cancel").unlink(missing_ok=True)
        except OSError as error:
            raise WorkError(describe_os_error(error, "remove", self.path / "cancel")) from error

    def raise_if_cancelled(self) -> None:
        """Raise :class:`Cancelled` if the user has cancelled the run."""
        if self.cancel_requested():
            raise Cancelled("cancelled by the user")


def _agrees(stored: Any, asked: Any) -> bool:
    """Whether a request equals the stored one; it may have fields that did not exist when that was written."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        return all(name in asked and _agrees(value, asked[name]) for name, value in stored.items())
    return bool(stored == asked)


def run_folders(runs_dir: Path) -> list[RunFolder]:
    """All run folders under ``runs_dir``, intact or not, sorted by name."""
    try:
        names = sorted(entry.name for entry in os.scandir(runs_dir) if not entry.name.startswith("."))
    except OSError:
        return []
    return [run for run in (RunFolder(Path(runs_dir) / name) for name in names) if run.exists()]


@contextmanager
def training_slot(runs_dir: Path, progress: Progress = silent) -> Iterator[None]:
    """Hold a training slot of the folder, because too many concurrent trainings slow each other down.

    Each worker of a supervisor has its own slot; all other processes share the first. Waits until the slot is free, and
    reports the wait as progress.
    """
    slot = os.environ.get(SLOT_VARIABLE, "0")
    make_folder(runs_dir)
    path = Path(runs_dir) / (".slot" if slot == "0" else f".slot-{slot}")
    if held(path):
        progress("waiting for another run in the same folder", 0, 1)
    with holding(path, f"the training slot in {runs_dir} is taken", seconds=-1):
        yield
