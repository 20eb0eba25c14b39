"""Worker processes of a supervisor, and their slots."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterable
from contextlib import suppress
from dataclasses import dataclass, field

from toolkit.foundation.errors import WorkError
from toolkit.foundation.files import append_to, read_json
from toolkit.jobs.kinds import LIGHT_KINDS, WAITING_KINDS
from toolkit.runs.folder import SLOT_VARIABLE, RunFolder
from toolkit.runs.gpus import visible_gpus
from toolkit.runs.locks import ProcessName, held

LIGHT = "light"
"""The slot for probes and advice, which are short and must not wait behind pilots."""
WAITING = "waiting"
"""What takes the place of a slot for runs that only wait for others; any number of them may run."""
START_SECONDS = 60.0
"""Extra seconds that a worker may take until its first heartbeat."""
WORKER = (sys.executable, "-m", "toolkit.jobs.worker")


@dataclass
class WorkerProcess:
    """A running worker: a child of this process, or adopted from an earlier supervisor.

    Attributes:
        name: the process.
        slot: its slot.
        child: the child process; None for an adopted worker.
        killed_for: the reason why the supervisor killed it, if it did.
    """

    name: ProcessName
    slot: str
    child: subprocess.Popen[bytes] | None = None
    killed_for: str = ""
    _cancel_seen: float | None = None
    _beat: int = 0
    _beat_seen: float = field(default_factory=time.monotonic)

    @classmethod
    def adopted(cls, run: RunFolder) -> WorkerProcess | None:
        """The live process that an earlier supervisor started for the run, if any."""
        path = run.path / ".worker"
        name = ProcessName.read(path)
        if name is None or not name.alive():
            return None
        try:
            return cls(name, str(read_json(path)["slot"]))
        except (WorkError, KeyError, TypeError):
            return None

    def ended(self, run: RunFolder) -> int | None:
        """The exit status of an ended process, negative for a signal; 0 for an adopted process."""
        if self.child is not None:
            return self.child.poll()
        return None if held(run.path / ".claim") or self.name.alive() else 0

    def send(self, number: signal.Signals) -> None:
        """Signal the process and its children."""
        self.name.send(number)

    def seconds_since_cancel(self, run: RunFolder) -> float | None:
        """Seconds since the request to cancel was first seen; None without a request."""
        if not run.cancel_requested():
            self._cancel_seen = None
            return None
        self._cancel_seen = self._cancel_seen or time.monotonic()
        return time.monotonic() - self._cancel_seen

    def silent_for(self, run: RunFolder) -> float:
        """Seconds since the heartbeat last changed; clock changes and suspends do not count."""
        try:
            beat = os.stat(run.path / ".heartbeat").st_mtime_ns
        except OSError:  # still starting, which can take long on a busy machine
            return time.monotonic() - self._beat_seen - START_SECONDS
        if beat != self._beat:
            self._beat, self._beat_seen = beat, time.monotonic()
        return time.monotonic() - self._beat_seen


class Slots:
    """The slots: some for trainings, each with a GPU if there are GPUs, and one for light requests."""

    def __init__(self, count: int = 0) -> None:
        """``count`` concurrent trainings; 0 for one per GPU, or one without GPUs."""
        self.gpus = visible_gpus()
        self.count = count or max(1, len(self.gpus))
        self._kinds: dict[str, str] = {}

    def free(self, run: RunFolder, workers: Iterable[WorkerProcess]) -> str | None:
        """A free slot for the run, or None."""
        busy = {worker.slot for worker in workers}
        if run.name not in self._kinds:  # read once: a folder's kind does not change
            self._kinds[run.name] = run.config["kind"]
        if self._kinds[run.name] in WAITING_KINDS:
            return WAITING
        if self._kinds[run.name] in LIGHT_KINDS:
            return None if LIGHT in busy else LIGHT
        if len(busy - {LIGHT, WAITING}) >= self.count:  # an adopted worker may have a slot with a higher number
            return None
        return next(str(slot) for slot in range(self.count + len(busy)) if str(slot) not in busy)

    def environment(self, slot: str) -> dict[str, str]:
        """Environment variables of a worker in ``slot``."""
        chosen = {SLOT_VARIABLE: slot}
        if self.gpus and slot not in (LIGHT, WAITING):
            chosen["CUDA_VISIBLE_DEVICES"] = self.gpus[int(slot) % len(self.gpus)]
        return os.environ | chosen


def start_worker(run: RunFolder, slot: str, slots: Slots, threads: int) -> WorkerProcess:
    """Start a worker for the run in its own session, so that it outlives its supervisor.

    Raises:
        OSError: the process could not be started.
        WorkError: the folder cannot be written.
    """
    (run.path / ".heartbeat").unlink(missing_ok=True)
    with append_to(run.path / "worker.log") as log:
        child = subprocess.Popen(
            [*WORKER, str(run.path), "--threads", str(threads)],
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            start_new_session=True,
            env=slots.environment(slot),
        )
    name = ProcessName.of(child.pid)
    with suppress(WorkError):  # a full disk; the worker reports it again
        name.write(run.path / ".worker", slot=slot)  # now, so that the next supervisor does not start another
    return WorkerProcess(name, slot, child)
