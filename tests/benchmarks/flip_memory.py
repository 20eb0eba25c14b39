"""Every bit of a small memory flipped, one at a time: ``python tests/benchmarks/flip_memory.py``.

Each must be refused, reported or change nothing of what the memory tells. ``test_flip_memory.py`` runs short forms.
"""

from __future__ import annotations

import sys
import tempfile
import warnings
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from reporting import save, table

from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory.store import ExemplarMemory

sys.path.append(str(Path(__file__).parents[1] / "memory"))  # this is a script too

from memory_samples import small_memory


def everything(path: Path) -> tuple[Any, ...]:
    """All that a memory tells; what it reports as damaged is an error as well."""
    with ExemplarMemory(path) as memory:
        damaged = memory.verify()
        if damaged:
            raise WorkError(str(damaged))
        payloads, labels, _ = memory.all_payloads()
        return memory.summary(), payloads, memory.extras(), labels.tobytes(), memory.decode_all()[0].tobytes()


def flips(path: Path, places: Iterable[tuple[int, int]]) -> dict[str, int]:
    """Flip the bits of a mask at each byte; how often each end was met.

    Raises:
        AssertionError: something else is told than before, without a word.
    """
    expected, data = everything(path), path.read_bytes()
    copy = path.with_name("flipped.recall")
    met = {"refused or reported": 0, "nothing changed": 0}
    for at, mask in places:
        copy.write_bytes(data[:at] + bytes([data[at] ^ mask]) + data[at + 1 :])
        for beside in path.parent.glob("flipped.recall-*"):
            beside.unlink()
        try:
            with warnings.catch_warnings(action="ignore"):
                found = everything(copy)
        except (WorkError, UsageError):
            met["refused or reported"] += 1
        else:
            assert found == expected, f"mask {mask} at byte {at} of {len(data)} changed what is told, without a word"
            met["nothing changed"] += 1
    return met


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        path = small_memory(Path(folder) / "m.recall")
        size = path.stat().st_size
        met = flips(path, ((at, 1 << bit) for at in range(size) for bit in range(8)))
    result = {"file_bytes": size, "flips": 8 * size, **met, "without_a_word": 0}
    print(table([result]))
    save("flip-memory", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
