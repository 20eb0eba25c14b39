"""A million exemplars: opening, random reads, adding. ``python tests/benchmarks/bench_memory.py``.

The peer is the same work on bare sqlite3 without checksums, budgets or allocation.
"""

from __future__ import annotations

import sqlite3
import sys
import tempfile
from pathlib import Path

import numpy as np
from reporting import save, seconds, table

from toolkit.memory.store import ExemplarMemory

EXEMPLARS = 1_000_000
CLASSES = 100
BYTES = 300
READS = 10_000
ADDED = 100_000


def bench_memory(folder: Path, exemplars: int = EXEMPLARS) -> dict[str, float]:
    """Seconds of each operation on a memory of ``exemplars``, and of the same on bare sqlite3."""
    rng = np.random.default_rng(0)
    each = exemplars // CLASSES
    blobs = [rng.bytes(BYTES) for _ in range(each)]
    more = [rng.bytes(BYTES) for _ in range(ADDED // 10)]
    path = folder / "memory.recall"
    with ExemplarMemory(path, 2 * exemplars * (BYTES + 2), "jpeg:quality=50") as memory:
        memory.codec.fit(np.zeros((1, 32, 32, 3), np.uint8))
        for first in range(0, CLASSES, 10):
            memory.add({first + k: blobs for k in range(10)})
        added = seconds(lambda: memory.add({CLASSES + k: more for k in range(10)}))
    opened = seconds(lambda: ExemplarMemory(path).close())
    where = list(zip(rng.integers(0, CLASSES, READS).tolist(), rng.integers(0, each, READS).tolist(), strict=True))
    with ExemplarMemory(path) as memory:
        read = seconds(lambda: [memory.payload(label, rank) for label, rank in where])

    connection = sqlite3.connect(folder / "bare.sqlite")
    connection.execute(
        "CREATE TABLE bare (label INTEGER, rank INTEGER, payload BLOB, PRIMARY KEY (label, rank)) WITHOUT ROWID"
    )
    with connection:
        for label in range(CLASSES):
            held = ((label, rank, blob) for rank, blob in enumerate(blobs))
            connection.executemany("INSERT INTO bare VALUES (?, ?, ?)", held)
    query = "SELECT payload FROM bare WHERE label = ? AND rank = ?"
    bare_read = seconds(lambda: [connection.execute(query, place).fetchone() for place in where])
    rows = [(CLASSES + label, rank, payload) for label in range(10) for rank, payload in enumerate(more)]

    def insert() -> None:
        with connection:
            connection.executemany("INSERT INTO bare VALUES (?, ?, ?)", rows)

    bare_add = seconds(insert)
    connection.close()
    return {
        "exemplars": exemplars,
        "open_s": opened,
        "read_10000_s": read,
        "add_100000_s": added,
        "read_over_bare": read / bare_read,
        "add_over_bare": added / bare_add,
        "file_over_budgeted_bytes": path.stat().st_size / ((exemplars + ADDED) * (BYTES + 2)),
    }


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        result = bench_memory(Path(folder))
    print(table([result]))
    save("memory", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
