"""Work through the queue of a runs folder: ``python -m toolkit.jobs.supervisor RUNS_DIR``, one per folder.

It starts a worker process for each queued run, as many at once as there are slots, makes sure that every run ends as
done, failed or cancelled, and exits when the queue is empty. All its state is in the folders: killed at any moment, it
leaves its workers running, and the next supervisor adopts them. Probes have their own slot, so that they never wait
behind pilots.

On SIGTERM it exits; its workers finish their runs, and the queue stays.
"""

from __future__ import annotations

import argparse
import signal
import sys
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass, field, replace
from pathlib import Path

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import make_folder
from toolkit.foundation.threads import available_cores
from toolkit.jobs.slots import Slots, WorkerProcess, start_worker
from toolkit.jobs.worker import TAKEN
from toolkit.runs.environment import require_one_rank
from toolkit.runs.folder import DAMAGED, RunFolder
from toolkit.runs.locks import ProcessName, Taken, holding
from toolkit.runs.queue import Ticket, queue_lock, tickets
from toolkit.runs.supervision import Settings

POLL_SECONDS = 0.25
LOOK_SECONDS = 1.0
"""Seconds between looks for ended workers, and for new tickets in the queue."""
TERMINATE_AFTER = 1.5
KILL_AFTER = 3.5
"""Seconds from the request to cancel to SIGTERM and to SIGKILL."""
FULL_DISK_SECONDS = 20.0
"""Seconds to skip a run whose folder cannot be written."""


@dataclass
class Supervisor:
    """The work on one runs folder, by the process that holds its lock."""

    runs_dir: Path
    settings: Settings = field(default_factory=Settings)
    stop: threading.Event = field(default_factory=threading.Event)

    def __post_init__(self) -> None:
        self._slots = Slots(self.settings.slots)
        self._threads = self.settings.threads or max(1, available_cores() // self._slots.count)
        self._workers: dict[str, WorkerProcess] = {}
        self._not_before: dict[str, float] = {}
        self._ended_how: dict[str, str] = {}
        self._next_look = 0.0
        self._waiting = 0

    def work(self) -> bool:
        """Work until the queue is empty (returns True) or :attr:`stop` is set (returns False)."""
        while not self.stop.is_set():
            if not self.step() and not self._workers:
                return True
            self.stop.wait(POLL_SECONDS)
        return False

    def step(self) -> int:
        """Check every worker, and periodically every ticket; return the number of tickets."""
        before = len(self._workers)
        for name, worker in list(self._workers.items()):
            with self._surviving(name):
                self._look_after(name, worker)
        if len(self._workers) == before and time.monotonic() < self._next_look:
            return self._waiting
        self._next_look = time.monotonic() + LOOK_SECONDS
        waiting = workable(self.runs_dir)
        for ticket in waiting:
            name = ticket.run.name
            if name not in self._workers and time.monotonic() >= self._not_before.get(name, 0.0):
                with self._surviving(name):
                    self._consider(ticket)
        self._waiting = len(waiting)
        return self._waiting

    @contextmanager
    def _surviving(self, name: str) -> Iterator[None]:
        """Skip a run for a while if its folder cannot be written, without delaying other runs."""
        try:
            yield
        except WorkError as error:
            log_line(f"{name}: {one_line(error)}")
            self._not_before[name] = time.monotonic() + FULL_DISK_SECONDS

    # -- workers -----------------------------------------------------------------------------------------------

    def _look_after(self, name: str, worker: WorkerProcess) -> None:
        """Handle a worker that has ended, and end one that was cancelled or hangs."""
        run = RunFolder(self.runs_dir / name)
        if (status := worker.ended(run)) is not None:
            del self._workers[name]
            self._take_back(run, worker, status)
            return
        if (waited := worker.seconds_since_cancel(run)) is not None:
            if waited >= KILL_AFTER:
                worker.send(signal.SIGKILL)
            elif waited >= TERMINATE_AFTER:
                worker.send(signal.SIGTERM)
        elif worker.silent_for(run) > self.settings.silence:
            worker.killed_for = f"it sent no heartbeat for {self.settings.silence:g} s"
            worker.send(signal.SIGKILL)

    def _take_back(self, run: RunFolder, worker: WorkerProcess, status: int) -> None:
        """After a worker has ended: a run that did not record its end goes back to the queue."""
        with queue_lock(self.runs_dir):
            ticket = next((ticket for ticket in tickets(self.runs_dir) if ticket.run == run), None)
            if ticket is None or run.status() not in ("queued", "lost"):
                return  # :meth:`_consider` handles it
            if status == TAKEN:  # not an attempt: another process had the run
                replace(ticket, tries=max(0, ticket.tries - 1)).save()
                return
            self._ended_how[run.name] = how = worker.killed_for or _ending(status)
            self._not_before[run.name] = time.monotonic() + self.settings.backoff * 2 ** max(0, ticket.tries - 1)
            log_line(f"{run.name}: process ended: {how}")
            run.log("gone", how=how)

    # -- tickets -----------------------------------------------------------------------------------------------

    def _consider(self, ticket: Ticket) -> None:
        """Adopt, close or start the run of a ticket that has no worker of this supervisor."""
        run = ticket.run
        if (worker := WorkerProcess.adopted(run)) is not None:
            log_line(f"{run.name}: adopted, process {worker.name.pid}")
            self._workers[run.name] = worker
        elif (slot := self._slots.free(run, self._workers.values())) is not None:
            status = run.status()
            if status == "queued":
                self._start(ticket, slot)
            elif status != "running":  # otherwise it is running in the foreground
                self._close(run)

    def _close(self, run: RunFolder) -> None:
        """Remove an ended run from the queue, unless it has been queued again."""
        with queue_lock(self.runs_dir):
            status = run.status()
            if status == "done":
                run.log_finished()
            elif status == "cancelled":
                last = run.last_event()
                if last is None or last["event"] != "cancelled":
                    run.log("cancelled")
            elif status not in ("failed", DAMAGED):
                return
            Ticket(run, 0).remove()
        self._not_before.pop(run.name, None)
        log_line(f"{run.name}: {status}")

    def _start(self, ticket: Ticket, slot: str) -> None:
        """Start a worker if the run has an attempt left."""
        run = ticket.run
        with queue_lock(self.runs_dir):
            if run.status() != "queued":
                return
            attempt = ticket.next_try()
            if attempt.tries > self.settings.attempts:
                how = self._ended_how.get(run.name, "it disappeared")
                run.log("failed", reason=f"its process was lost {ticket.tries} times without progress, last: {how}")
                return
            attempt.save()
            try:
                self._workers[run.name] = start_worker(run, slot, self._slots, self._threads)
            except OSError as error:
                raise WorkError(f"no worker could be started: {one_line(error)}") from error
        log_line(f"{run.name}: started in slot {slot}, process {self._workers[run.name].name.pid}")


def _ending(status: int) -> str:
    """How a worker ended whose run did not record its end."""
    if status < 0:
        return f"killed by {signal.Signals(-status).name}"
    return f"exit status {status}, see worker.log" if status else "it disappeared"


def workable(runs_dir: Path) -> list[Ticket]:
    """Tickets of the runs that this version of the toolkit can read."""
    return [ticket for ticket in tickets(runs_dir) if ticket.run.unreadable() is None]


def supervise(runs_dir: Path, settings: Settings) -> None:
    """Supervise the folder until the queue is empty or SIGTERM arrives.

    Raises:
        Taken: the folder has a supervisor.
    """
    runs_dir = Path(runs_dir).resolve()
    make_folder(runs_dir)
    supervisor = Supervisor(runs_dir, settings)
    for number in (signal.SIGTERM, signal.SIGINT):
        signal.signal(number, lambda *_: supervisor.stop.set())
    emptied = False
    # Queuing a run is followed by a look for a supervisor, so a leaving supervisor looks at the queue once more.
    while not emptied or workable(runs_dir):
        try:
            with holding(runs_dir / ".supervisor", _taken(runs_dir)):
                _write_state(runs_dir, "working")
                emptied = supervisor.work()
                _write_state(runs_dir, "ended" if emptied else "stopped")
        except Taken:
            if emptied:
                return
            raise
        if not emptied:
            return


def _taken(runs_dir: Path) -> str:
    name = ProcessName.read(runs_dir / ".supervisor.json")
    process = f"process {name.pid}" if name is not None and name.alive() else "another process"
    return f"{runs_dir} has a supervisor: {process}"


def _write_state(runs_dir: Path, state: str) -> None:
    with suppress(WorkError):  # on a full disk the work matters more
        ProcessName.own().write(runs_dir / ".supervisor.json", state=state)


def log_line(text: str) -> None:
    """Print a line of the log."""
    with suppress(OSError):  # a full disk
        print(time.strftime("%Y-%m-%d %H:%M:%S"), text, flush=True)


def main(arguments: Sequence[str]) -> int:
    """Run the command and return its exit status: 0 done, 1 the folder has a supervisor, 2 wrong usage."""
    parser = argparse.ArgumentParser(prog="toolkit.jobs.supervisor", description=__doc__)
    parser.add_argument("runs_dir", type=Path)
    for name, value in asdict(Settings()).items():
        parser.add_argument(f"--{name}", type=type(value), default=value)
    options = vars(parser.parse_args(arguments))
    try:
        require_one_rank()
        supervise(options.pop("runs_dir"), Settings(**options))
    except (UsageError, WorkError) as error:
        print(f"supervisor: {one_line(error)}", file=sys.stderr)
        return 2 if isinstance(error, UsageError) else 1
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
