"""A sweep whose processes are killed again and again: every run must end once, as if nothing had happened.

``python tests/benchmarks/kill_runs.py [--kills 50] [--slots 2]``: 24 tiny pilots on the demo set; SIGKILL to a random
worker or to the supervisor at random moments. A killed supervisor is replaced, as the sweep's follower does it. A run
may lose its process any number of times here (``attempts``), since chance can strike the same one before it has saved
its first checkpoint.
"""

from __future__ import annotations

import argparse
import random
import signal
import sys
import tempfile
import threading
import time
from collections import Counter
from pathlib import Path
from typing import Any

from reporting import save, table

from toolkit.foundation.parallel import set_threads
from toolkit.pilots import supervisor, sweep
from toolkit.pilots.results import reproducible
from toolkit.pilots.sweep_file import Sweep, read_sweep
from toolkit.runs.folder import RunFolder
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
    from toolkit.pilots.pilot import run_pilot

    return {planned.name: run_pilot(planned.config, planned.seed, folder) for planned in asked.planned}


def workers(runs: list[RunFolder]) -> list[ProcessName]:
    """Worker processes that live."""
    names = [ProcessName.read(run.path / ".worker") for run in runs if held(run.path / ".claim")]
    return [name for name in names if name is not None and name.alive()]


def kill_at_random(runs: list[RunFolder], runs_dir: Path, settings: supervisor.Settings, kills: int) -> Counter[str]:
    """Kill processes while the runs go on, evenly over the sweep; how many of each kind."""
    killed: Counter[str] = Counter()
    pause = threading.Event()
    while killed.total() < kills and any(run.result is None for run in runs):
        pause.wait(random.uniform(0, LONGEST_PAUSE) * random.random())
        supervisor.ensure(runs_dir, settings)
        done = sum(run.result is not None for run in runs)
        if killed.total() >= kills * (done + 4) / len(runs):
            continue
        targets = [("worker", name) for name in workers(runs)]
        boss = ProcessName.read(runs_dir / ".supervisor.json")
        if boss is not None and boss.alive() and supervisor.lives(runs_dir):
            targets.append(("supervisor", boss))
        if targets:
            kind, name = random.choice(targets)
            name.send(signal.SIGKILL)
            killed[kind] += 1
    return killed


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


def bench_kills(folder: Path, kills: int, slots: int, seed: int) -> dict[str, Any]:
    """The sweep with kills, compared with the undisturbed runs."""
    random.seed(seed)
    set_threads(1)
    (folder / "sweep.yaml").write_text(SWEEP)
    asked = read_sweep(folder / "sweep.yaml")
    expected = reference(asked, folder / "reference")
    settings = supervisor.Settings(slots=slots, threads=1, attempts=1000, backoff=0.1)
    begun = time.monotonic()
    runs_dir = folder / "killed"
    runs = sweep.start(asked, runs_dir, settings)
    killed = kill_at_random(runs, runs_dir, settings, kills)
    sweep.follow(runs, runs_dir, settings)
    seconds = time.monotonic() - begun
    rows = [check(run, expected[run.name]) for run in runs]
    wrong = [row["run"] for row in rows if not (row["result"] and row["same"] and row["finished"] == 1)]
    log = (runs_dir / "supervisor.log").read_text()
    return {
        "runs": len(runs), "slots": slots, "seed": seed, "killed_workers": killed["worker"],
        "killed_supervisors": killed["supervisor"], "adopted_workers": log.count(": adopted"),
        "attempts": sum(row["attempts"] for row in rows), "wrong": len(wrong), "wrong_runs": wrong,
        "seconds": round(seconds, 1), "rows": rows,
    }  # fmt: skip


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--kills", type=int, default=50)
    parser.add_argument("--slots", type=int, default=2)
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--folder", type=Path, help="kept for a look afterwards; a temporary one by default")
    options = parser.parse_args()
    with tempfile.TemporaryDirectory() as temporary:
        folder = options.folder or Path(temporary)
        folder.mkdir(parents=True, exist_ok=True)
        result = bench_kills(folder, options.kills, options.slots, options.seed)
    rows = result.pop("rows")
    print(table(rows))
    print(table([{name: value for name, value in result.items() if name != "wrong_runs"}]))
    save("kill_runs", result)
    enough = result["killed_workers"] + result["killed_supervisors"] >= options.kills
    return 0 if enough and not result["wrong"] else 1


if __name__ == "__main__":
    sys.exit(main())
