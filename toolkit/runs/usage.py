"""What an attempt at a run has cost: memory and energy, beside its environment."""

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
    """Add ``peak_memory_bytes`` and ``energy_joules`` of the block to the JSON file ``environment``, if it can be.

    The energy is that of the whole machine's processor packages and GPUs while the block ran: an estimate, which
    counts whatever else they did. Null where it cannot be read.
    """
    before = _joules()
    try:
        yield
    finally:
        with suppress(WorkError):  # what the work came to matters more
            facts = read_json(environment)
            used = {"peak_memory_bytes": peak_memory_bytes(), "energy_joules": _difference(before, _joules())}
            if isinstance(facts, dict):
                write_json(environment, facts | used)


def peak_memory_bytes() -> int | None:
    """The most memory this process has had resident so far; None where the platform does not say."""
    if sys.platform == "win32":
        return None
    import resource

    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak if sys.platform == "darwin" else peak * 1024


def _joules() -> dict[str, float]:
    """Counters that can be read, in joules."""
    counters = {}
    for zone in sorted(_RAPL.glob("intel-rapl:*")):
        if zone.name.count(":") == 1:  # a package; what lies below it is part of it
            with suppress(OSError, ValueError):
                counters[zone.name] = int((zone / "energy_uj").read_text()) / 1e6
    gpus = gpu_joules()
    return counters | ({} if gpus is None else {"gpus": gpus})


def _difference(before: dict[str, float], after: dict[str, float]) -> float | None:
    """Joules between two readings; None where nothing could be read, or a counter began anew meanwhile."""
    shared = before.keys() & after.keys()
    used = [after[name] - before[name] for name in shared]
    return round(sum(used), 1) if used and min(used) >= 0 else None
