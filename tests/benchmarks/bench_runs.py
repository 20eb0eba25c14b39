"""A folder of 2,000 finished pilots: its index made anew, a warm query, and the same rows read from the folders.

``python tests/benchmarks/bench_runs.py``. Every run has the log of a pilot of 200 progress events. The peer is what a
list without an index would do: check and read every folder, each time.
"""

from __future__ import annotations

import json
import sys
import tempfile
import time
from collections.abc import Callable
from pathlib import Path

from reporting import save, table

from toolkit.foundation.files import write_json
from toolkit.jobs.kinds import check
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.request import PilotRequest
from toolkit.runs.contents import problem_of
from toolkit.runs.folder import RunFolder, run_folders
from toolkit.runs.index import index_row, query

RUNS = 2000
EVENTS = 200


def finished_pilot(runs_dir: Path, seed: int, events: int) -> RunFolder:
    """A finished pilot of two stages with a log of ``events`` progress events."""
    config = make_pilot_config(dataset="demo", size=32, codec="jpeg:quality=50", budget="20img", initial=5, increment=5)
    run = PilotRequest(config, seed).folder(runs_dir)
    started = {"time": 1.7e9, "event": "started", "device": "cpu"}
    steps = [
        {"time": 1.7e9 + n, "event": "progress", "what": "stage 1 of 2", "done": n, "total": events, "loss": 1.0}
        for n in range(events)
    ]
    finished = {"time": 1.7e9 + events, "event": "finished", "last_accuracy": 0.5, "seconds": float(events)}
    (run.path / "events.jsonl").write_text("".join(json.dumps(event) + "\n" for event in (started, *steps, finished)))
    write_json(run.result_path, _result(seed))
    return run


def _result(seed: int) -> dict[str, object]:
    matrix = [[0.9], [0.4, 0.6]]
    return {
        "seed": seed,
        "class_order": list(range(10)),
        "stage_classes": [5, 5],
        "tested_on": "original",
        "accuracy_matrix": matrix,
        "average_incremental_accuracy": 0.7,
        "last_accuracy": 0.5,
        "forgetting": 0.5,
        "backward_transfer": -0.5,
        "accuracy_on_original": 0.5,
        "accuracy_on_coded": 0.4,
        "exemplars_per_class": 100.0,
        "memory_bytes": 600_000,
        "budget_bytes": 614_400,
        "network": "resnet8",
        "optimizer_steps": 400,
        "seconds": 200.0,
        "head": "network",
        "heads": {"network": {"last_accuracy": 0.5}},
    }


def bench_runs(runs_dir: Path, runs: int = RUNS, events: int = EVENTS) -> dict[str, float]:
    """Wall and processor seconds of each way, and the ratio of the warm query to reading the folders."""
    for seed in range(runs):
        finished_pilot(runs_dir, seed, events)
    anew, anew_cpu = _timed(lambda: query(runs_dir, check=check))
    warm, warm_cpu = min(_timed(lambda: query(runs_dir, check=check)) for _ in range(3))
    problem_of.cache_clear()  # a new process remembers no checks
    folders, folders_cpu = _timed(lambda: [index_row(run, check) for run in run_folders(runs_dir)])
    assert len(query(runs_dir, check=check)) == runs
    return {
        "runs": runs,
        "events": events,
        "index_anew_seconds": anew,
        "index_anew_cpu_seconds": anew_cpu,
        "warm_query_seconds": warm,
        "warm_query_cpu_seconds": warm_cpu,
        "from_folders_seconds": folders,
        "from_folders_cpu_seconds": folders_cpu,
        "warm_over_folders": warm_cpu / folders_cpu,
    }


def _timed(work: Callable[[], object]) -> tuple[float, float]:
    """Wall and processor seconds of a call."""
    wall, processor = time.perf_counter(), time.process_time()
    work()
    return time.perf_counter() - wall, time.process_time() - processor


def main() -> int:
    with tempfile.TemporaryDirectory() as folder:
        result = bench_runs(Path(folder))
    print(table([{"figure": name, "value": value} for name, value in result.items()]))
    save("runs", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
