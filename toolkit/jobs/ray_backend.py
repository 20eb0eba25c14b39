"""A sweep's runs on a Ray cluster: one task a run, around the worker that runs them on one machine as well.

The runs folder lies on storage that every node mounts at the same path. A task whose node dies is started again on
another one and goes on from the run's last checkpoint; the run's lock sees to it that no two nodes run it at once.

The driver (:func:`drive`) has to live as long as the sweep: from outside a cluster :func:`start_on_ray` hands it to
Ray Jobs, so that it outlives whoever has started it.
"""

from __future__ import annotations

import os
import shlex
import socket
from collections import Counter
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from toolkit.foundation import ray_cluster
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.threads import set_threads
from toolkit.jobs import sweep as sweeping
from toolkit.jobs import worker
from toolkit.jobs.start import pending_of
from toolkit.pilots.sweep_file import Sweep
from toolkit.runs.folder import SLOT_VARIABLE, RunFolder
from toolkit.runs.locks import holding
from toolkit.runs.queue import Ticket, enqueue

MAX_RETRIES = 3
"""How often a run is started again after its worker or node died."""
PYTHON = "python"
"""What starts Python on a cluster's nodes."""


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
    """Have the sweep's runs carried out on a cluster.

    Args:
        sweep: the sweep.
        file: where it was read from; on a cluster that is driven from outside, at the same path on its head node.
        runs_dir: a folder that every node mounts.
        address: ``http://HOST:8265``, the cluster's dashboard: the driver is submitted there through Ray Jobs. ``auto``
            or ``HOST:6379``, from one of its nodes: this process is the driver. None: Ray is started on this machine.
        threads: CPU threads of each run; 0 for one.
        gpus: GPUs of each run.
        in_background: whether the caller is about to leave; only a submitted driver can do without it.

    Returns:
        The folders of all runs, and what :func:`toolkit.jobs.sweep.follow` needs to look after them.

    Raises:
        UsageError: no folder that can be mounted, another kind of address, or Ray is not installed.
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
            "--detach needs a driver that outlives this command: give the cluster's dashboard, --address "
            "http://HOST:8265, and it is submitted through Ray Jobs"
        )
    runs = sweeping.folders(sweep, runs_dir)
    drive(runs, runs_dir, address=address, threads=threads, gpus=gpus)
    return runs, lambda states: None


def drive(
    runs: list[RunFolder], runs_dir: Path, *, address: str | None = None, threads: int = 0, gpus: float = 0
) -> None:
    """Carry out those of ``runs`` that are neither done nor under way; returns when all have ended.

    Raises:
        Taken: the folder has a supervisor, or another driver.
        WorkError: nothing answers at the address.
    """
    threads = threads or 1
    taken = f"{runs_dir} has a supervisor or another driver"
    with ray_cluster.connect(address), holding(Path(runs_dir) / ".supervisor", taken):
        enqueue(pending_of(runs), runs_dir)
        waiting = [run for run in runs if run.status() == "queued"]  # those of an earlier driver included
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
    """On a node: carry out the run folder at a path with so many threads; the worker's exit status."""
    path, threads = item
    # Ray has already decided how many run at once here; slots of a runs folder are for machines without it
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
            WorkError: the dashboard at the address refuses.
        """
        words = [PYTHON, "-m", "toolkit.cli", "sweep", str(file.resolve()), "--backend", "ray", "--address", "auto"]
        words += ["--runs-dir", str(runs_dir), "--threads", str(threads), "--gpus", f"{gpus:g}"]
        try:
            from ray.job_submission import JobSubmissionClient

            client = JobSubmissionClient(address)
            name = client.submit_job(entrypoint=shlex.join(words))
        except Exception as error:  # requests', Ray's and bare RuntimeErrors
            raise WorkError(f"the Ray cluster at {address} takes no job: {one_line(error)}") from error
        return cls(client, name, address)

    def look_after(self, states: Counter[str]) -> None:
        """Raise WorkError once the driver has ended with runs left to do."""
        try:
            status = str(self._client.get_job_status(self._name).value)
        except Exception as error:
            raise WorkError(f"the Ray cluster at {self._address} no longer answers: {one_line(error)}") from error
        if status in ("FAILED", "STOPPED", "SUCCEEDED") and states["running"] == 0:
            shown = f"`ray job logs --address {self._address} {self._name}`"
            raise WorkError(f"the driver has ended as {status} with runs left to do: {shown} says why")


def require_answer(address: str) -> None:
    """Refuse a dashboard's address at which nothing listens.

    Raises:
        UsageError: it is no address.
        WorkError: nothing answers within :data:`~toolkit.foundation.ray_cluster.CONNECT_SECONDS`.
    """
    parts = urlsplit(address)
    try:
        where = (parts.hostname or "", parts.port or (443 if parts.scheme == "https" else 80))
    except ValueError:
        raise UsageError(f"a Ray dashboard is http://HOST:PORT, got {address!r}") from None
    try:
        socket.create_connection(where, timeout=ray_cluster.CONNECT_SECONDS).close()
    except OSError as error:
        raise WorkError(f"no Ray cluster answers at {address}: {error.strerror or error}") from error
