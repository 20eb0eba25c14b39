"""Run a sweep on a Ray cluster: one task per run, which starts the same worker as on a single machine.

The runs folder is on storage that every node mounts at the same path. If a node dies, its task is restarted on another
node and continues from the run's last checkpoint. The run's lock prevents two nodes from running it at once.

The driver (:func:`drive`) must live as long as the sweep. From outside a cluster, :func:`start_on_ray` submits it to
Ray Jobs, so that it outlives the process that started it.
"""

from __future__ import annotations

import os
import shlex
import socket
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from toolkit.foundation import ray_cluster
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.threads import set_threads
from toolkit.jobs import sweep as sweeping
from toolkit.jobs import worker
from toolkit.pilots.sweep_file import Sweep
from toolkit.runs.folder import SLOT_VARIABLE, RunFolder
from toolkit.runs.locks import holding
from toolkit.runs.queue import Ticket, enqueue
from toolkit.runs.start import pending_of

MAX_RETRIES = 3
"""Number of restarts of a run whose worker or node died."""
PYTHON = "python"
"""Command that starts Python on the nodes of a cluster."""


def start_on_ray(
    sweep: Sweep,
    file: Path,
    runs_dir: Path,
    *,
    address: str | None = None,
    threads: int = 0,
    gpus: float = 0,
    in_background: bool = False,
) -> tuple[list[RunFolder], Callable[[Counter[str]], None]]:
    """Start the runs of a sweep on a cluster.

    Args:
        sweep: the sweep.
        file: the sweep file; a cluster driven from outside needs it at the same path on its head node.
        runs_dir: a folder that every node mounts.
        address: ``http://HOST:8265``, the cluster's dashboard, submits the driver there through Ray Jobs. ``auto`` or
            ``HOST:6379``, on one of its nodes, makes this process the driver. None starts Ray on this machine.
        threads: CPU threads per run; 0 for one.
        gpus: GPUs per run.
        in_background: whether the caller is about to exit, which needs a submitted driver.

    Returns:
        The folders of all runs, and the ``look_after`` argument of :func:`toolkit.runs.follow.follow`.

    Raises:
        UsageError: the folder cannot be shared, the address is of another kind, or Ray is not installed.
        WorkError: nothing answers at the address.
    """
    ray_cluster.require_shared(runs_dir)
    ray_cluster.load_ray()
    if address is not None and address.startswith(("http://", "https://")):
        require_answer(address)
        runs = sweeping.folders(sweep, runs_dir)
        enqueue(pending_of(runs), runs_dir)  # now, since the driver takes a while to start
        return runs, _Job.submit(address, file, runs_dir, threads, gpus).look_after
    if in_background:
        raise UsageError(
            "--detach needs a driver that outlives this command: give the cluster's dashboard as --address "
            "http://HOST:8265 to submit one through Ray Jobs"
        )
    runs = sweeping.folders(sweep, runs_dir)
    drive(runs, runs_dir, address=address, threads=threads, gpus=gpus)
    return runs, lambda states: None


def drive(
    runs: Sequence[RunFolder], runs_dir: Path, *, address: str | None = None, threads: int = 0, gpus: float = 0
) -> None:
    """Carry out the ``runs`` that are neither done nor running, and return when all have ended.

    Raises:
        Taken: the folder has a supervisor or another driver.
        WorkError: nothing answers at the address.
    """
    threads = threads or 1
    taken = f"{runs_dir} has a supervisor or another driver"
    with ray_cluster.connect(address), holding(Path(runs_dir) / ".supervisor", taken):
        enqueue(pending_of(runs), runs_dir)
        waiting = [run for run in runs if run.status() == "queued"]  # including those of an earlier driver
        items = [(str(run.path), threads) for run in waiting]
        outcomes = ray_cluster.map_tasks_on_ray(
            run_task, items, num_cpus=threads, num_gpus=gpus, max_retries=MAX_RETRIES
        )
        for outcome in outcomes:
            run = waiting[outcome.index]
            if outcome.error is not None and run.result is None:
                run.log("failed", reason=outcome.error)
            if outcome.error is not None or outcome.value != worker.TAKEN:
                Ticket(run, 0).remove()


def run_task(item: tuple[str, int]) -> int:
    """Carry out a run folder on a node with so many threads, and return the worker's exit status."""
    path, threads = item
    # Ray has already decided how many runs share this node; slots of a runs folder are for machines without Ray
    os.environ[SLOT_VARIABLE] = f"ray-{socket.gethostname()}-{os.getpid()}"
    set_threads(threads)
    return worker.work_on(RunFolder(Path(path)))


class _Job:
    """A driver that Ray Jobs runs on the cluster's head node."""

    def __init__(self, client: Any, name: str, address: str) -> None:
        self._client = client
        self._name = name
        self._address = address

    @classmethod
    def submit(cls, address: str, file: Path, runs_dir: Path, threads: int, gpus: float) -> _Job:
        """Submit the driver of a sweep.

        Raises:
            WorkError: the dashboard at the address refuses it.
        """
        words = [PYTHON, "-m", "toolkit.cli", "sweep", str(file.resolve()), "--backend", "ray", "--address", "auto"]
        words += ["--runs-dir", str(runs_dir), "--threads", str(threads), "--gpus", f"{gpus:g}"]
        try:
            from ray.job_submission import JobSubmissionClient

            client = JobSubmissionClient(address)
            name = client.submit_job(entrypoint=shlex.join(words))
        except Exception as error:  # requests', Ray's and bare RuntimeErrors
            raise WorkError(f"the Ray cluster at {address} does not accept the job: {one_line(error)}") from error
        return cls(client, name, address)

    def look_after(self, states: Counter[str]) -> None:
        """Raise WorkError if the driver has ended while runs are left."""
        try:
            status = str(self._client.get_job_status(self._name).value)
        except Exception as error:
            raise WorkError(f"the Ray cluster at {self._address} no longer answers: {one_line(error)}") from error
        if status in ("FAILED", "STOPPED", "SUCCEEDED") and states["running"] == 0:
            shown = f"`ray job logs --address {self._address} {self._name}`"
            raise WorkError(f"the driver ended as {status} with runs left to do: see {shown}")


def require_answer(address: str) -> None:
    """Refuse a dashboard address at which nothing listens.

    Raises:
        UsageError: it is not an address.
        WorkError: nothing answers within :data:`~toolkit.foundation.ray_cluster.CONNECT_SECONDS`.
    """
    parts = urlsplit(address)
    try:
        where = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    except ValueError:
        raise UsageError(f"a Ray dashboard must be http://HOST:PORT, got {address!r}") from None
    try:
        socket.create_connection(where, timeout=ray_cluster.CONNECT_SECONDS).close()
    except OSError as error:
        raise WorkError(f"no Ray cluster answers at {address}: {error.strerror or error}") from error
