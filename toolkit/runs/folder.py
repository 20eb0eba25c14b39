"""Run folders: the truth about every probe and pilot, on disk, in a form that survives any process. No torch here.

A folder holds ``config.json`` (what to do), ``events.jsonl`` (append-only: what happened), ``environment.json``,
checkpoints while it runs, and ``result.json`` (written atomically, last). A running process holds ``.lock``, which
the operating system lets go of when the process dies, however it dies.
"""

from __future__ import annotations

import json
import os
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from filelock import FileLock, Timeout

from toolkit.foundation.errors import UsageError, WorkError, describe_os_error, one_line
from toolkit.foundation.files import read_json, write_json
from toolkit.foundation.progress import Progress, silent

STATUSES = ("queued", "running", "done", "failed", "cancelled", "interrupted")
WORKER_START_SECONDS = 60.0
"""How long a queued run may wait for its worker to begin: on a busy machine, loading Python's modules takes a while."""


class Cancelled(WorkError):
    """The user asked for the run to stop."""


@dataclass(frozen=True)
class RunFolder:
    """One run's folder. ``kind`` is ``pilot`` or ``probe``."""

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
            if read_json(run.config_path) != json.loads(json.dumps(config)):
                raise WorkError(f"{path} already holds another run: choose another folder")
            return run
        write_json(run.config_path, config)
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
        """The request, with its ``kind``."""
        return read_json(self.config_path)

    @property
    def result(self) -> dict[str, Any] | None:
        """The result, once there is one."""
        return read_json(self.result_path) if self.result_path.exists() else None

    # -- events ------------------------------------------------------------------------------------------------

    def log(self, event: str, **facts: Any) -> None:
        """Append an event.

        Raises:
            WorkError: the folder cannot be written.
        """
        line = json.dumps({"time": round(time.time(), 3), "event": event, **facts}) + "\n"
        try:
            with open(self.path / "events.jsonl", "a") as file:
                file.write(line)
        except OSError as error:
            raise WorkError(describe_os_error(error, "write", self.path / "events.jsonl")) from error

    def events(self) -> list[dict[str, Any]]:
        """All events; a last line cut short by a kill is left out."""
        try:
            lines = (self.path / "events.jsonl").read_text().splitlines()
        except FileNotFoundError:
            return []
        events = []
        for line in lines:
            try:
                events.append(json.loads(line))
            except ValueError:
                continue
        return events

    # -- state -------------------------------------------------------------------------------------------------

    @contextmanager
    def running(self) -> Iterator[None]:
        """Hold the run's lock.

        Raises:
            WorkError: another process is running it.
        """
        lock = FileLock(self.path / ".lock")
        try:
            lock.acquire(timeout=5)
        except Timeout:
            raise WorkError(f"{self.path.name} is being run by another process") from None
        except OSError as error:
            raise WorkError(describe_os_error(error, "write", self.path)) from error
        try:
            yield
        finally:
            lock.release()

    def is_running(self) -> bool:
        """Whether a live process holds the lock."""
        return self._held(".lock")

    @contextmanager
    def claimed(self) -> Iterator[None]:
        """Hold the run's place in this process's queue; that another process has queued it too does no harm."""
        lock = FileLock(self.path / ".queued")
        try:
            with suppress(Timeout, OSError):
                lock.acquire(timeout=0)
            yield
        finally:
            lock.release()

    def _held(self, name: str) -> bool:
        """Whether a live process holds one of the folder's locks."""
        if not (self.path / name).exists():
            return False
        lock = FileLock(self.path / name)
        try:
            lock.acquire(timeout=0)
        except Timeout:
            return True
        except OSError:
            return False
        lock.release()
        return False

    def status(self) -> str:
        """One of :data:`STATUSES`."""
        if self.result_path.exists():
            return "done"
        if self.is_running():
            return "running"
        last = next((event["event"] for event in reversed(self.events()) if event["event"] != "progress"), None)
        if self.cancel_requested() or last == "cancelled":
            return "cancelled"
        if last == "failed":
            return "failed"
        return "queued" if last in (None, "queued") and self._worker_alive() else "interrupted"

    def _worker_alive(self) -> bool:
        """Whether a worker has the run in its queue, or may still be on its way to it."""
        events = self.events()
        since = events[-1]["time"] if events else os.path.getmtime(self.config_path)
        return time.time() - since < WORKER_START_SECONDS or self._held(".queued")

    def progress(self) -> dict[str, Any] | None:
        """The latest progress event: ``what``, ``done``, ``total`` and perhaps ``seconds_left``."""
        return next((event for event in reversed(self.events()) if event["event"] == "progress"), None)

    def error(self) -> str | None:
        """Why the run failed, if it did."""
        return next((event["reason"] for event in reversed(self.events()) if event["event"] == "failed"), None)

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
        with run.failures_logged():
            run.raise_if_cancelled()
            return work()


def list_runs(runs_dir: Path, kind: str | None = None) -> list[RunFolder]:
    """Run folders under ``runs_dir``, newest first."""
    runs = [RunFolder(path.parent) for path in Path(runs_dir).glob("*/config.json")]
    runs = [run for run in runs if kind is None or run.name.startswith(f"{kind}-")]
    return sorted(runs, key=lambda run: os.path.getmtime(run.config_path), reverse=True)


@contextmanager
def training_slot(runs_dir: Path, progress: Progress = silent) -> Iterator[None]:
    """Hold the folder's only slot: two trainings at once on the same cores would slow both down and skew their times.

    Waits until the slot is free, and says so.
    """
    try:
        Path(runs_dir).mkdir(parents=True, exist_ok=True)
        lock = FileLock(Path(runs_dir) / ".slot")
        try:
            lock.acquire(timeout=0)
        except Timeout:
            progress("waiting for another run in the same folder", 0, 1)
            lock.acquire()
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", runs_dir)) from error
    try:
        yield
    finally:
        lock.release()
