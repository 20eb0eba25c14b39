"""A sweep whose processes are killed again and again: every run must end once, as if nothing had happened.

``python tests/benchmarks/kill_runs.py [--kills 200] [--slots 2]``: 24 tiny pilots on the demo set; SIGKILL to a random
worker or to the supervisor at random moments. A killed supervisor is replaced, as the sweep's follower does it. A run
may lose its process any number of times here (``attempts``), since chance can strike the same one before it has saved
its first checkpoint.

With ``--folder F --minutes M`` it stops after M minutes, its processes killed, and the same command goes on.
``test_kill_runs.py`` runs the same code with a few kills.
"""

from __future__ import annotations

import argparse
import math
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import psutil
from reporting import save, table

from toolkit.foundation.files import read_json, write_json
from toolkit.foundation.threads import set_threads
from toolkit.jobs import sweep
from toolkit.pilots.results import reproducible
from toolkit.pilots.sweep_file import Sweep, read_sweep
from toolkit.runs import supervision
from toolkit.runs.folder import RunFolder
from toolkit.runs.follow import follow, supervised
from toolkit.runs.locks import ProcessName, held

SWEEP = """
dataset: demo
size: 16
network: resnet8
initial: 5
increment: 5
codecs: jpeg:quality={10,30,50}
aligns: [none, both]
budgets: 3img
seeds: [0, 1, 2, 3]
steps: 8
batch_size: 16
checkpoint_every: 2
"""
LONGEST_PAUSE = 8.0
"""Seconds between two kills at most; most pauses are shorter."""


def reference(asked: Sweep, folder: Path) -> dict[str, Any]:
    """Results of the same runs, undisturbed, in this process."""
    from toolkit.pilots.foreground import run_pilot

    return {planned.run_name(): run_pilot(planned.config, planned.seed, folder) for planned in asked.planned}


def workers(runs: list[RunFolder]) -> list[ProcessName]:
    """Worker processes that live."""
    names = [ProcessName.read(run.path / ".worker") for run in runs if held(run.path / ".claim")]
    return [name for name in names if name is not None and name.alive()]


@dataclass
class Kills:
    """What has been killed so far, kept in a file so that a benchmark in pieces counts on.

    Attributes:
        path: the file.
        seconds: spent on the sweep.
        killed: processes, by kind.
    """

    path: Path
    seconds: float = 0.0
    killed: Counter[str] = field(default_factory=Counter)

    @classmethod
    def kept(cls, path: Path) -> Kills:
        """As :meth:`keep` left them; none where there is no file."""
        saved = read_json(path) if path.exists() else {"seconds": 0.0, "killed": {}}
        return cls(path, saved["seconds"], Counter(saved["killed"]))

    def keep(self) -> None:
        write_json(self.path, {"seconds": self.seconds, "killed": dict(self.killed)})

    def kill(self, kind: str, name: ProcessName) -> None:
        name.send(signal.SIGKILL)
        self.killed[kind] += 1
        self.keep()


def targets(runs: list[RunFolder], runs_dir: Path) -> list[tuple[str, ProcessName]]:
    """What lives: workers, and the supervisor."""
    found = [("worker", name) for name in workers(runs)]
    boss = ProcessName.read(runs_dir / ".supervisor.json")
    if boss is not None and boss.alive() and supervision.lives(runs_dir):
        found.append(("supervisor", boss))
    return found


def kill_at_random(
    runs: list[RunFolder], runs_dir: Path, settings: supervision.Settings, kills: int, so_far: Kills, until: float
) -> None:
    """Kill processes while the runs go on, evenly over the sweep, until a moment of the monotonic clock."""
    pause = threading.Event()
    while so_far.killed.total() < kills and any(run.result is None for run in runs) and time.monotonic() < until:
        pause.wait(random.uniform(0, LONGEST_PAUSE) * random.random())
        supervision.ensure(runs_dir, settings)
        done = sum(run.result is not None for run in runs)
        if so_far.killed.total() < kills * (done + 4) / len(runs) and (found := targets(runs, runs_dir)):
            so_far.kill(*random.choice(found))


def stop(runs: list[RunFolder], runs_dir: Path, so_far: Kills) -> None:
    """Kill all there is: supervisors before their workers, those that have not yet said who they are included."""
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):
            if kinds := {"supervisor", "worker"} & {word.rpartition(".")[2] for word in process.cmdline()}:
                so_far.kill(kinds.pop(), ProcessName.of(process.pid))
                process.wait()
    for kind, name in targets(runs, runs_dir):  # adopted from supervisors that were killed before
        so_far.kill(kind, name)


def check(run: RunFolder, expected: dict[str, Any]) -> dict[str, Any]:
    """What there is to say against a run after the sweep."""
    events = Counter(event["event"] for event in run.events())
    return {
        "run": run.name,
        "attempts": events["started"],
        "finished": events["finished"],
        "result": run.result_path.exists(),
        "same": reproducible(run.result or {}) == reproducible(expected),
    }


def bench_kills(
    folder: Path, kills: int, slots: int, seed: int, sweep_text: str = SWEEP, minutes: float = math.inf
) -> dict[str, Any] | None:
    """The sweep with kills, compared with the undisturbed runs; None where the time was not enough."""
    until = time.monotonic() + 60 * minutes
    so_far = Kills.kept(folder / "kills.json")
    random.seed(seed + so_far.killed.total())
    set_threads(1)
    (folder / "sweep.yaml").write_text(sweep_text)
    asked = read_sweep(folder / "sweep.yaml")
    expected = reference(asked, folder / "reference")
    settings = supervision.Settings(slots=slots, threads=1, attempts=1000, backoff=0.1)
    begun = time.monotonic()
    runs_dir = folder / "killed"
    runs = sweep.start_sweep(asked, runs_dir, settings)
    try:
        kill_at_random(runs, runs_dir, settings, kills, so_far, until)
        if so_far.killed.total() >= kills or all(run.result is not None for run in runs):
            follow(runs, supervised(runs_dir, settings))
        else:
            stop(runs, runs_dir, so_far)
            return None
    finally:
        so_far.seconds += time.monotonic() - begun
        so_far.keep()
    rows = [check(run, expected[run.name]) for run in runs]
    wrong = [row["run"] for row in rows if not (row["result"] and row["same"] and row["finished"] == 1)]
    log = (runs_dir / "supervisor.log").read_text()
    return {
        "runs": len(runs),
        "slots": slots,
        "seed": seed,
        "killed_workers": so_far.killed["worker"],
        "killed_supervisors": so_far.killed["supervisor"],
        "adopted_workers": log.count(": adopted"),
        "attempts": sum(row["attempts"] for row in rows),
        "wrong": len(wrong),
        "wrong_runs": wrong,
        "seconds": round(so_far.seconds, 1),
        "rows": rows,
    }


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=200)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="kept, and gone on with; a temporary one by default")
    parser.add_argument("--minutes", type=float, default=math.inf, help="stop after so many")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = bench_kills(folder, options.kills, options.slots, options.seed, minutes=options.minutes)
    if result is None:
        print(f"{Kills.kept(folder / 'kills.json').killed.total()} of {options.kills} kills: the same command goes on")
        return 3
    rows = result.pop("rows")
    print(table(rows))
    print(table([{name: value for name, value in result.items() if name != "wrong_runs"}]))
    save("kill_runs", result)
    enough = result["killed_workers"] + result["killed_supervisors"] >= options.kills
    return 0 if enough and not result["wrong"] else 1


if __name__ == "__main__":
    sys.exit(main())
