"""Locks that are released when their holder dies, and process names that stay unique when a pid is reused.

A lock is an operating-system lock on a file, so nothing needs cleaning up after SIGKILL or a power cut. The file's
contents only identify the holder, for messages and for signals, which must never reach another process.
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
"""Pids are smaller on every platform."""
PROBE_SECONDS = 2.0
"""How long to retry an acquisition: :func:`held` itself holds a lock for some microseconds."""


@contextmanager
def holding(path: Path, taken: str, seconds: float = PROBE_SECONDS) -> Iterator[None]:
    """Hold the lock file ``path``.

    Args:
        path: created if missing; its folder must exist.
        taken: error message if another process holds it.
        seconds: how long to retry; -1 waits without limit.

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
    """Whether a live process holds the lock file ``path``. Any number of processes can check at once."""
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
    """The same for platforms without shared locks."""
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
    """Identifies a process, even if its pid is reused later.

    Attributes:
        pid: process id.
        started: boot id and start time.
    """

    pid: int
    started: str

    @classmethod
    def own(cls) -> ProcessName:
        """This process."""
        return cls.of(os.getpid())

    @classmethod
    def of(cls, pid: int) -> ProcessName:
        """A process that cannot have been reaped yet: this one or a child."""
        return cls(pid, _started(pid) or "")

    @classmethod
    def read(cls, path: Path) -> ProcessName | None:
        """The name stored by :meth:`write`; None if the file is missing or damaged."""
        try:
            saved = read_json(path)
            pid, started = saved["pid"], saved["started"]
        except (WorkError, KeyError, TypeError):
            return None
        known = isinstance(pid, int) and 0 < pid < _MOST_PROCESSES and isinstance(started, str)
        return cls(pid, started) if known else None

    def write(self, path: Path, **facts: str) -> None:
        """Write the name and further facts as JSON.

        Raises:
            WorkError: the file cannot be written.
        """
        write_json(path, asdict(self) | facts)

    def alive(self) -> bool:
        """Whether this process, not another with its pid, still runs."""
        return _started(self.pid) == self.started

    def send(self, number: signal.Signals) -> None:
        """Signal the process and its children, which form a session; no effect if it is gone."""
        if not self.alive():
            return
        with suppress(ProcessLookupError, PermissionError):
            if os.getpgid(self.pid) == self.pid:
                os.killpg(self.pid, number)
            else:
                os.kill(self.pid, number)


def _started(pid: int) -> str | None:
    """Boot id and start time of a process; None if it does not exist or is a zombie."""
    try:
        # /proc/PID/stat after the name in parentheses: state, 18 numbers, start time
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
