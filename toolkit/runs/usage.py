"""Memory and energy used by an attempt at a run, recorded in its environment."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from toolkit.foundation.errors import WorkError
from toolkit.foundation.files import read_json, write_json
from toolkit.runs.gpus import gpu_joules

_RAPL = Path("/sys/class/powercap")


@contextmanager
def usage_recorded(environment: Path) -> Iterator[None]:
    """Add ``peak_memory_bytes`` and ``energy_joules`` of the block to the JSON file ``environment``, if possible.

    The energy is that of all processor packages and GPUs of the machine while the block ran, including other work
    they did meanwhile; null if it cannot be read.
    """
    before = _joules()
    try:
        yield
    finally:
        with suppress(WorkError):  # an error of the block itself matters more
            facts = read_json(environment)
            used = {"peak_memory_bytes": peak_memory_bytes(), "energy_joules": _difference(before, _joules())}
            if isinstance(facts, dict):
                write_json(environment, facts | used)


def peak_memory_bytes() -> int | None:
    """Peak resident memory of this process so far; None if the platform does not report it."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _joules() -> dict[str, float]:
    """Readable energy counters, in joules."""
    counters = {}
    for zone in sorted(_RAPL.glob("intel-rapl:*")):
        if zone.name.count(":") == 1:  # a package; zones below are part of it
            with suppress(OSError, ValueError):
                counters[zone.name] = int((zone / "energy_uj").read_text()) / 1e6
    gpus = gpu_joules()
    return counters | ({} if gpus is None else {"gpus": gpus})


def _difference(before: dict[str, float], after: dict[str, float]) -> float | None:
    """Joules between two readings; None if there is no common counter or one wrapped around meanwhile."""
    shared = before.keys() & after.keys()
    used = [after[name] - before[name] for name in shared]
    return round(sum(used), 1) if used and min(used) >= 0 else None
