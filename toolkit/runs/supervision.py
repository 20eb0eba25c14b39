"""The supervisor of a runs folder as others see it: whether there is one, and how to start it.

The process itself is :mod:`toolkit.jobs.supervisor`.
"""

from __future__ import annotations

import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import read_json
from toolkit.runs.locks import held


@dataclass(frozen=True)
class Settings:
    """Settings of a supervisor.

    Attributes:
        slots: concurrent trainings; 0 for one per GPU, or one without GPUs.
        threads: CPU threads per worker; 0 for the cores divided by the slots.
        attempts: how often in a row a run may lose its process without progress.
        backoff: seconds before the second attempt, doubled for every further attempt.
        silence: seconds without a heartbeat after which a live process counts as hung. Generous, because a swapping
            machine or a library that blocks Python is not a hung process.
    """

    slots: int = 0
    threads: int = 0
    attempts: int = 3
    backoff: float = 1.0
    silence: float = 600.0

    def __post_init__(self) -> None:
        for name, least in (("slots", 0), ("threads", 0), ("attempts", 1), ("backoff", 0), ("silence", 1)):
            if getattr(self, name) < least:
                raise UsageError(f"{name} must be at least {least}, got {getattr(self, name)}")

    def words(self) -> list[str]:
        """The settings as command-line options."""
        return [word for name, value in asdict(self).items() for word in (f"--{name}", f"{value:g}")]


def lives(runs_dir: Path) -> bool:
    """Whether the folder has a supervisor."""
    return held(Path(runs_dir) / ".supervisor")


def was_stopped(runs_dir: Path) -> bool:
    """Whether the folder's last supervisor was stopped on request, with runs left in the queue."""
    try:
        return not lives(runs_dir) and read_json(Path(runs_dir) / ".supervisor.json")["state"] == "stopped"
    except (WorkError, KeyError, TypeError):
        return False


def ensure(runs_dir: Path, settings: Settings | None = None) -> None:
    """Start a detached supervisor if the folder has none.

    Raises:
        WorkError: the process could not be started.
    """
    if lives(runs_dir):
        return
    command = [sys.executable, "-m", "toolkit.jobs.supervisor", str(runs_dir), *(settings or Settings()).words()]
    try:
        (Path(runs_dir) / ".supervisor.json").unlink(missing_ok=True)  # the last one's stop no longer counts
        with open(Path(runs_dir) / "supervisor.log", "ab") as log:
            subprocess.Popen(command, stdin=subprocess.DEVNULL, stdout=log, stderr=log, start_new_session=True)
    except OSError as error:
        raise WorkError(f"the background process could not be started: {one_line(error)}") from error
