"""Locks that die with their holder, and names for processes that hold when a process number is given out again.

A lock is a lock of the operating system on a file, so there is nothing to clean up after SIGKILL or a power cut. The
file's contents only say who holds it: for messages, and for signals, which must never reach a stranger.
"""

from __future__ import annotations

import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from toolkit.foundation.documents import Unfit, open_file
from toolkit.foundation.errors import WorkError, describe_os_error
from toolkit.foundation.files import read_json, write_json


class Taken(WorkError):
    """Another process holds the lock."""


_MOST_PROCESSES = 2**31
"""Process numbers are smaller on every platform."""
PROBE_SECONDS = 2.0
"""How long an acquisition tries: whoever only asks whether a lock is held, holds it for some microseconds."""


@contextmanager
def holding(path: Path, taken: str, seconds: float = PROBE_SECONDS) -> Iterator[None]:
    """Hold the lock file ``path``.

    Args:
        path: made where it does not exist; its folder exists.
        taken: what to say when another process holds it.
        seconds: how long to try.

    Raises:
        Taken: another process holds it.
        WorkError: the file cannot be written.
    """
    lock = FileLock(path)
    try:
        lock.acquire(timeout=seconds)
    except Timeout:
        raise Taken(taken) from None
    except OSError as error:
        raise WorkError(describe_os_error(error, "write", path)) from error
    try:
        yield
    finally:
        lock.release()


def held(path: Path) -> bool:
    """Whether a live process holds the lock file ``path``. Any number of processes can ask at once."""
    if sys.platform == "win32":
        return _held_exclusively(path)
    import fcntl

    try:
        with open_file(path) as file:
            fcntl.flock(file, fcntl.LOCK_SH | fcntl.LOCK_NB)
    except BlockingIOError:
        return True
    except (OSError, Unfit):  # no such file
        return False
    return False


def _held_exclusively(path: Path) -> bool:
    """The same where locks cannot be shared."""
    if not path.exists():
        return False
    lock = FileLock(path)
    try:
        lock.acquire(timeout=0)
    except Timeout:
        return True
    except OSError:
        return False
    lock.release()
    return False


@dataclass(frozen=True)
class ProcessName:
    """A process, told from any other that gets the same number later.

    Attributes:
        pid: its number.
        started: the boot it belongs to and when in it the process began.
    """

    pid: int
    started: str

    @classmethod
    def own(cls) -> ProcessName:
        """This process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> ProcessName:
        """A process that cannot have been buried yet: this one, or a child."""
        return cls(pid, _started(pid) or "")

    @classmethod
    def read(cls, path: Path) -> ProcessName | None:
        """As :meth:`write` left it; None where there is none or the file is damaged."""
        try:
            saved = read_json(path)
            pid, started = saved["pid"], saved["started"]
        except (WorkError, KeyError, TypeError):
            return None
        known = isinstance(pid, int) and 0 < pid < _MOST_PROCESSES and isinstance(started, str)
        return cls(pid, started) if known else None

    def write(self, path: Path, **facts: str) -> None:
        """Write it, with what else there is to say, as JSON.

        Raises:
            WorkError: the file cannot be written.
        """
        write_json(path, asdict(self) | facts)

    def alive(self) -> bool:
        """Whether this very process still runs."""
        return _started(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Signal the process and its children, which form a session; nothing where it has gone."""
        if not self.alive():
            return
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)


def _started(pid: int) -> str | None:
    """Boot and start time of a process; None where there is none, or one that only waits to be buried."""
    try:
        # the last part of /proc/PID/stat, after the name in brackets: state, then 18 numbers, then the start time
        fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
        return None if fields[0] in "ZX" else f"{boot} {fields[19]}"
    except (FileNotFoundError, ProcessLookupError):
        pass
    if Path("/proc/self/stat").exists():
        return None
    try:
        return f"{psutil.Process(pid).create_time():.2f}"
    except psutil.Error:
        return None
