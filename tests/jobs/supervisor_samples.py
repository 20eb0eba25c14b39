"""A fake worker that does what its run's request says instead of training; this script runs it."""

from __future__ import annotations

import os
import signal
import sys
import threading
from collections.abc import Callable
from pathlib import Path

from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import write_json
from toolkit.jobs import worker
from toolkit.pilots.results import METRICS
from toolkit.runs.folder import RunFolder


def until(condition: Callable[[], object], seconds: float = 90) -> None:
    """Wait for a condition, long enough for a machine under load."""
    pause = threading.Event()
    for _ in range(int(seconds / 0.05)):
        if condition():
            return
        pause.wait(0.05)
    raise AssertionError("it did not happen")


def fake_run(runs_dir: Path, name: str, kind: str = "pilot", **request: object) -> RunFolder:
    """A run that finishes, or does what ``do`` says: ``fail``, ``refuse``, ``wait`` for a file ``go``, or ``die``.

    ``die`` dies ``deaths`` times by ``signal``, and each time writes a checkpoint first if ``saves`` is set.
    """
    return RunFolder.create(runs_dir / name, kind, {"seed": 0, "config": {}, "do": "finish", **request})


def execute(run: RunFolder) -> None:
    request = run.config
    with run.running(), run.failures_logged():
        run.log("started")
        attempt = sum(event["event"] == "started" for event in run.events())
        if request["do"] == "fail":
            raise FloatingPointError("the loss is nan")
        if request["do"] == "refuse":
            raise UsageError("no such codec")
        if request["do"] == "wait":
            for number in (signal.SIGTERM, signal.SIGINT):
                signal.signal(number, signal.SIG_IGN)
            until((run.path / "go").exists, 300)
        if request["do"] == "die" and attempt <= request["deaths"]:
            if request.get("saves"):
                (run.path / "checkpoint.pt").write_text(str(attempt))
            os.kill(os.getpid(), request.get("signal", signal.SIGKILL))
        metrics = dict.fromkeys(METRICS, 0.5) | {"seed": request["seed"], "budget_bytes": 1, "optimizer_steps": 1}
        write_json(run.result_path, metrics | {"seconds": 1.0})
        run.log("finished")


if __name__ == "__main__":
    worker.request_of = lambda run: run  # type: ignore[assignment,return-value]
    worker.carry_out = lambda _, run: execute(run)  # type: ignore[assignment]
    sys.exit(worker.main(sys.argv[1:]))
