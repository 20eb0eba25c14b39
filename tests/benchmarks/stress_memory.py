"""Processes that change and read one memory at once, killed at random: ``python tests/benchmarks/stress_memory.py``.

Every writer tells what it is about to do and what has been committed. At the end all that was acknowledged must be
there, byte for byte and within the budget. ``tests/benchmarks/test_stress_memory.py`` runs a short form.
"""

from __future__ import annotations

import random
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from reporting import save, table

from toolkit.foundation.errors import WorkError
from toolkit.memory.allocation import BudgetTooSmall
from toolkit.memory.store import ExemplarMemory

SIDE = 8
BUDGET = 60_000
MOST = 12
"""Candidates a class at most."""
CLASSES_OF_ONE = 100_000
"""Labels each writer has for itself."""


def offered(label: int) -> list[bytes]:
    """The candidates of a class: any process can say what they must be."""
    rng = np.random.default_rng(label)
    return [rng.bytes(3 * SIDE * SIDE) for _ in range(int(rng.integers(1, MOST + 1)))]


def write(path: Path, writer: int, first: int) -> None:
    """Add classes and forget own ones, telling before and after, until killed."""
    rng = random.Random(first)
    with ExemplarMemory(path, BUDGET, "raw") as memory:
        memory.codec.fit(np.zeros((1, SIDE, SIDE, 3), np.uint8))
        for label in range(writer * CLASSES_OF_ONE + first, (writer + 1) * CLASSES_OF_ONE):
            tell("adding", label)
            try:
                memory.add({label: offered(label)}, {label: f"class {label}"}, size=(SIDE, SIDE))
                tell("added", label)
            except BudgetTooSmall:
                tell("refused", label)
            own = [known for known in memory.class_counts if known // CLASSES_OF_ONE == writer]
            if own and rng.random() < 0.3:
                gone = rng.choice(own)
                tell("forgetting", gone)
                memory.forget(gone)
                tell("forgotten", gone)


def read(path: Path) -> None:
    """Read everything again and again: no reading may meet half a commit."""
    while not path.exists() or path.stat().st_size == 0:
        time.sleep(0.01)
    with ExemplarMemory(path, BUDGET, "raw") as memory:
        while True:
            images, labels, damaged = memory.decode_all()
            assert not damaged, damaged
            for label in np.unique(labels).tolist():
                mine = [image.tobytes() for image in images[labels == label]]
                assert mine == offered(label)[: len(mine)], f"class {label} holds other images"
            assert memory.nbytes <= BUDGET
            tell("read", len(images))


def tell(what: str, number: int) -> None:
    print(what, number, flush=True)


class Process:
    """A writer or reader, started anew when it is killed; its words are kept in one file."""

    def __init__(self, folder: Path, kind: str, number: int) -> None:
        self.folder, self.kind, self.number = folder, kind, number
        self.log = folder / f"{kind}-{number}.log"
        self.errors = folder / f"{kind}-{number}.err"
        self.running: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        first = len(self.words("adding"))
        command = [sys.executable, __file__, self.kind, str(self.folder / "m.recall"), str(self.number), str(first)]
        with open(self.log, "ab") as log, open(self.errors, "ab") as errors:
            self.running = subprocess.Popen(command, stdout=log, stderr=errors)

    def kill(self) -> None:
        assert self.running is not None
        if self.running.poll() is not None:
            raise AssertionError(f"{self.kind} {self.number} ended by itself: {self.errors.read_text()[-2000:]}")
        self.running.kill()
        self.running.wait()

    def words(self, what: str) -> list[int]:
        lines = self.log.read_text().splitlines() if self.log.exists() else []
        return [int(number) for said, _, number in (line.partition(" ") for line in lines) if said == what]


def stress(folder: Path, writers: int = 3, readers: int = 1, kills: int = 200, seed: int = 0) -> dict[str, Any]:
    """Let them work, kill one after the other at random, and check what is left.

    Raises:
        AssertionError: something acknowledged is not there, or anything else is wrong.
    """
    rng = random.Random(seed)
    processes = [Process(folder, "write", number) for number in range(writers)]
    processes += [Process(folder, "read", number) for number in range(readers)]
    for process in processes:
        process.start()
    try:
        for _ in range(kills):
            victim = rng.choice(processes)
            said = len(victim.log.read_bytes())
            while len(victim.log.read_bytes()) == said:  # it has done something since it was started
                if victim.running is not None and victim.running.poll() is not None:
                    break
                time.sleep(0.005)
            time.sleep(rng.random() * 0.1)
            victim.kill()
            victim.start()
    finally:
        for process in processes:
            if process.running is not None:
                process.running.kill()
                process.running.wait()
    return check(folder, processes, kills)


def check(folder: Path, processes: list[Process], kills: int) -> dict[str, Any]:
    """Compare the memory with what was acknowledged."""
    added = {label for process in processes for label in process.words("added")}
    forgetting = {label for process in processes for label in process.words("forgetting")}
    forgotten = {label for process in processes for label in process.words("forgotten")}
    begun = {label for process in processes for label in process.words("adding")}
    with ExemplarMemory(folder / "m.recall") as memory:
        there = memory.class_counts
        assert memory.verify() == []
        assert memory.nbytes <= BUDGET
        assert added - forgetting <= set(there) <= begun - forgotten
        assert len(added) <= memory.commits <= len(begun)
        for label, name in memory.class_names.items():
            assert name == f"class {label}"
            payloads, _ = memory.payloads(label)
            assert payloads == offered(label)[: len(payloads)]
    errors = "".join(process.errors.read_text() for process in processes)
    assert not errors, errors
    return {
        "kills": kills,
        "writers": sum(process.kind == "write" for process in processes),
        "readers": sum(process.kind == "read" for process in processes),
        "commits_acknowledged": len(added) + len(forgotten),
        "readings": sum(len(process.words("read")) for process in processes),
        "lost": 0,
    }


def main() -> int:
    if len(sys.argv) > 1:
        kind, path, number, first = sys.argv[1:]
        try:
            write(Path(path), int(number), int(first)) if kind == "write" else read(Path(path))
        except WorkError as error:
            print(error, file=sys.stderr)
            return 1
        return 0
    with tempfile.TemporaryDirectory() as folder:
        result = stress(Path(folder))
    print(table([result]))
    save("stress-memory", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
