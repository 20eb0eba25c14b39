"""The queue of a runs folder: a ticket in the folder of every queued or running run, so that no run is lost.

A ticket (``.queue``) is written when a run is queued and removed when it has ended. Tickets are changed only under the
queue's lock, so that a run queued again while it is being cancelled is not forgotten.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.foundation.errors import WorkError, describe_os_error
from toolkit.foundation.files import make_folder, read_json, write_json
from toolkit.runs.folder import TICKET, RunFolder, run_folders
from toolkit.runs.locks import holding

_LOCK_SECONDS = 60.0


@dataclass(frozen=True)
class Ticket:
    """A run's place in the queue.

    Attributes:
        run: its folder.
        position: order of execution.
        tries: consecutive attempts without a new checkpoint.
        mark: :func:`checkpoint_mark` at the start of the last attempt.
    """

    run: RunFolder
    position: int
    tries: int = 0
    mark: str = ""

    def save(self) -> None:
        """Write the ticket into the run's folder.

        Raises:
            WorkError: the folder cannot be written.
        """
        facts = {"position": self.position, "tries": self.tries, "mark": self.mark}
        write_json(self.run.path / TICKET, facts)

    def remove(self) -> None:
        """Take the run off the queue.

        Raises:
            WorkError: the ticket cannot be removed.
        """
        try:
            (self.run.path / TICKET).unlink(missing_ok=True)
        except OSError as error:
            raise WorkError(describe_os_error(error, "remove", self.run.path / TICKET)) from error

    def next_try(self) -> Ticket:
        """The ticket for another attempt; counting restarts if the last one saved a checkpoint."""
        mark = checkpoint_mark(self.run)
        return replace(self, tries=1 if mark != self.mark else self.tries + 1, mark=mark)


@contextmanager
def queue_lock(runs_dir: Path) -> Iterator[None]:
    """Hold the queue's lock; every holder releases it within moments.

    Raises:
        WorkError: the lock was not free within a minute, or the folder cannot be written.
    """
    make_folder(runs_dir)
    taken = f"the queue in {runs_dir} is locked by another process"
    with holding(Path(runs_dir) / ".queue-lock", taken, _LOCK_SECONDS):
        yield


def enqueue(runs: Iterable[RunFolder], runs_dir: Path) -> None:
    """Append runs to the queue, in order.

    Raises:
        WorkError: a folder cannot be written.
    """
    with queue_lock(runs_dir):
        position = max((ticket.position for ticket in tickets(runs_dir)), default=0)
        for run in runs:
            position += 1
            run.clear_cancel()
            run.log("queued")
            Ticket(run, position, mark=checkpoint_mark(run)).save()  # last: only the ticket queues the run


def tickets(runs_dir: Path) -> list[Ticket]:
    """Tickets of all queued and running runs, in order."""
    found = []
    for run in run_folders(runs_dir):
        path = run.path / TICKET
        if not os.path.lexists(path):
            continue
        try:
            saved = read_json(path)
            found.append(Ticket(run, int(saved["position"]), int(saved["tries"]), str(saved["mark"])))
        except (WorkError, KeyError, TypeError, ValueError):
            if os.path.lexists(path):  # damaged, but the run is still queued
                found.append(Ticket(run, 0))
    return sorted(found, key=lambda ticket: (ticket.position, ticket.run.name))


def checkpoint_mark(run: RunFolder) -> str:
    """A text that changes whenever the run saves a checkpoint."""
    newest = 0
    with suppress(OSError):
        for entry in os.scandir(run.path):
            if entry.name.endswith(".pt"):
                with suppress(OSError):
                    newest = max(newest, entry.stat().st_mtime_ns)
    return str(newest)
