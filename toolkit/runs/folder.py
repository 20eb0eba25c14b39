"""Run folders: the truth about every probe and pilot, on disk, in a form that survives any process. No torch here.

A folder holds ``config.json`` (what to do), ``events.jsonl`` (append-only: what happened), ``environment.json``,
``origin.json`` (the sweeps it belongs to, the run it was forked from), ``notes.txt``, checkpoints while it runs, and
``result.json`` (written atomically, last). While it waits or is under way it holds a ticket (:mod:`.queue`). A process
that runs it holds ``.lock``, and one that is about to ``.claim``; the operating system lets go of both when the
process dies, however it dies.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.foundation.errors import UsageError, WorkError, describe_os_error, one_line
from toolkit.foundation.files import make_folder, read_json, write_atomically, write_json
from toolkit.foundation.progress import Progress, silent
from toolkit.runs.locks import held, holding
from toolkit.runs.usage import usage_recorded

STATUSES = ("queued", "running", "done", "failed", "cancelled", "lost")
"""``lost``: it was under way, its process has gone, and nobody has it queued."""
FORMAT = 1
"""Version of the folder's contents; a folder from a newer toolkit is refused."""
TICKET = ".queue"
SLOT_VARIABLE = "RECALLRATE_SLOT"
"""Environment variable with which a supervisor tells a worker which of the folder's training slots it has."""
_TAIL_BYTES = 1 << 16


class Cancelled(WorkError):
    """The user asked for the run to stop."""


@dataclass(frozen=True)
class RunFolder:
    """One run's folder. ``kind`` is ``pilot``, ``probe``, ``advise`` or ``jpeg``."""

    path: Path

    @classmethod
    def create(cls, path: Path, kind: str, request: dict[str, Any]) -> RunFolder:
        """Make the folder, or reopen it if it was made for the same request.

        Raises:
            WorkError: the folder holds another request, or cannot be written.
        """
        run = cls(path)
        config = {"kind": kind, **request}
        if run.config_path.exists():
            if not _agrees(run.config, json.loads(json.dumps(config))):
                raise WorkError(f"{path} already holds another run: choose another folder")
            return run
        write_json(run.config_path, {"format": FORMAT, **config})
        return run

    @property
    def name(self) -> str:
        return self.path.name

    @property
    def config_path(self) -> Path:
        return self.path / "config.json"

    @property
    def result_path(self) -> Path:
        return self.path / "result.json"

    @property
    def config(self) -> dict[str, Any]:
        """The request, with its ``kind``.

        Raises:
            WorkError: the file cannot be read, or is from a newer version of the toolkit.
        """
        config = read_json(self.config_path)
        if not isinstance(config, dict) or "kind" not in config:
            raise WorkError(f"{self.config_path} does not describe a run")
        made = config.pop("format", 1)
        if not isinstance(made, int) or made > FORMAT:
            raise WorkError(
                f"{self.name} was made by a newer version of the toolkit (format {made}; this one reads up to {FORMAT})"
            )
        return config

    def unreadable(self) -> str | None:
        """Why this version of the toolkit cannot read the folder; None where it can."""
        try:
            _ = self.config
        except WorkError as error:
            return one_line(error)
        return None

    @property
    def result(self) -> dict[str, Any] | None:
        """The result, once there is one."""
        return read_json(self.result_path) if self.result_path.exists() else None

    @property
    def origin(self) -> dict[str, Any]:
        """Where the run comes from: perhaps ``sweeps`` (names, the first one made it) and ``forked_from``."""
        path = self.path / "origin.json"
        return read_json(path) if path.exists() else {}

    def join_sweep(self, sweep: str) -> None:
        """Note that a sweep has asked for the run."""
        origin = self.origin
        sweeps = origin.get("sweeps", [])
        if sweep not in sweeps:
            write_json(self.path / "origin.json", origin | {"sweeps": [*sweeps, sweep]})

    @property
    def notes(self) -> str:
        """What the user wrote about the run."""
        path = self.path / "notes.txt"
        return path.read_text(errors="replace").strip() if path.exists() else ""

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
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}) + "\n"
        path = self.path / "events.jsonl"
        try:
            with open(path, "ab+") as file:
                if file.seek(0, os.SEEK_END):
                    file.seek(-1, os.SEEK_END)
                    if file.read(1) != b"\n":  # cut short by a kill or a full disk: it must not spoil this line too
                        line = "\n" + line
                file.write(line.encode())
        except OSError as error:
            raise WorkError(describe_os_error(error, "write", path)) from error

    def events(self, last_bytes: int | None = None) -> list[dict[str, Any]]:
        """All events, or those in the log's last so many bytes; a line cut short by a kill is left out."""
        try:
            with open(self.path / "events.jsonl", "rb") as file:
                if last_bytes is not None:
                    file.seek(max(0, file.seek(0, os.SEEK_END) - last_bytes))
                lines = file.read().splitlines()
        except FileNotFoundError:
            return []
        events = []
        for line in lines:
            try:
                event = json.loads(line)
            except ValueError:
                continue
            if isinstance(event, dict):  # the end of a line can be a number
                events.append(event)
        return events

    def last_event(self, *, progress: bool = False) -> dict[str, Any] | None:
        """The latest event other than ``progress``, or the latest ``progress``; most often without reading them all."""
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
        """Be the one process that is about to run it, from before loading the libraries until the end.

        Raises:
            WorkError: another process is.
        """
        with holding(self.path / ".claim", f"{self.path.name} is another worker's"):
            yield

    def is_running(self) -> bool:
        """Whether a live process runs it or is about to."""
        return held(self.path / ".lock") or held(self.path / ".claim")

    def status(self) -> str:
        """One of :data:`STATUSES`."""
        if self.result_path.exists():
            return "done"
        return "running" if self.is_running() else self.status_at_rest()

    def status_at_rest(self) -> str:
        """The status when no process runs it: never ``running``."""
        if self.result_path.exists():
            return "done"
        last = (self.last_event() or {}).get("event")
        if self.cancel_requested() or last == "cancelled":
            return "cancelled"
        if last == "failed":
            return "failed"
        return "queued" if (self.path / TICKET).exists() else "lost"

    def progress(self) -> dict[str, Any] | None:
        """The latest progress event: ``what``, ``done``, ``total`` and perhaps ``seconds_left``."""
        return self.last_event(progress=True)

    def log_found(self, part: dict[str, Any]) -> None:
        """Keep a part of a result that is still to come, for those who watch.

        Raises:
            WorkError: the folder cannot be written.
        """
        self.log("found", part=part)

    def found(self) -> list[dict[str, Any]]:
        """The parts of the result that the latest attempt has come to."""
        parts: list[dict[str, Any]] = []
        for event in self.events():
            if event["event"] == "started":
                parts = []
            elif event["event"] == "found":
                parts.append(event["part"])
        return parts

    def error(self) -> str | None:
        """Why the run failed, if it did."""
        return next((event["reason"] for event in reversed(self.events()) if event["event"] == "failed"), None)

    def log_finished(self) -> None:
        """Log what a kill between the result and its event has left out."""
        if not any(event["event"] == "finished" for event in self.events()):
            self.log("finished", seconds=(self.result or {}).get("seconds"))

    @contextmanager
    def failures_logged(self) -> Iterator[None]:
        """Log what ends the block early, then let it pass on."""
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
        try:
            (self.path / "cancel").touch()
        except OSError as error:
            raise WorkError(describe_os_error(error, "write", self.path)) from error

    def cancel_requested(self) -> bool:
        return (self.path / "cancel").exists()

    def clear_cancel(self) -> None:
        """Let the run start again."""
        (self.path / "cancel").unlink(missing_ok=True)

    def raise_if_cancelled(self) -> None:
        """Raise :class:`Cancelled` once the user has asked for it."""
        if self.cancel_requested():
            raise Cancelled("cancelled by the user")


def _agrees(stored: Any, asked: Any) -> bool:
    """Whether a request is the stored one; it may name choices that were not possible yet when that was written."""
    if isinstance(stored, dict) and isinstance(asked, dict):
        return all(name in asked and _agrees(value, asked[name]) for name, value in stored.items())
    return bool(stored == asked)


def carry_out(run: RunFolder, work: Callable[[], dict[str, Any]], progress: Progress = silent) -> dict[str, Any]:
    """Bring a training's folder to its result, in the training slot of its parent folder; a finished one is only read.

    Args:
        run: the folder.
        work: does the work and gives the result, which it has written.
        progress: told about waiting.

    Raises:
        WorkError: another process is running it, or the work failed, which is logged in the folder.
    """
    if (result := run.result) is not None:
        return result
    with training_slot(run.path.parent, progress), run.running():
        if (result := run.result) is not None:  # finished by another process while this one waited
            return result
        with run.failures_logged(), usage_recorded(run.path / "environment.json"):
            run.raise_if_cancelled()
            return work()


def list_runs(runs_dir: Path, kind: str | None = None) -> list[RunFolder]:
    """Run folders under ``runs_dir`` that this version can read, newest first."""
    runs = [RunFolder(path.parent) for path in Path(runs_dir).glob("*/config.json")]
    runs = [run for run in runs if (kind is None or run.name.startswith(f"{kind}-")) and run.unreadable() is None]
    return sorted(runs, key=lambda run: os.path.getmtime(run.config_path), reverse=True)


@contextmanager
def training_slot(runs_dir: Path, progress: Progress = silent) -> Iterator[None]:
    """Hold a training slot of the folder: more trainings at once than planned would slow each other down.

    A worker of a supervisor has a slot of its own; everyone else shares the first. Waits until the slot is free, and
    says so.
    """
    slot = os.environ.get(SLOT_VARIABLE, "0")
    make_folder(runs_dir)
    path = Path(runs_dir) / (".slot" if slot == "0" else f".slot-{slot}")
    if held(path):
        progress("waiting for another run in the same folder", 0, 1)
    with holding(path, f"the training slot in {runs_dir} is taken", seconds=-1):
        yield
