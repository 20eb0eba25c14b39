"""Runs on Ray: two nodes on this machine, one killed mid-run; a driver that outlives its client."""

from __future__ import annotations

import sys
import threading
from collections.abc import Iterator
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from supervisor_samples import until

from toolkit.foundation import ray_cluster
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.threads import set_threads
from toolkit.jobs import ray_backend
from toolkit.jobs import sweep as sweeping
from toolkit.pilots.foreground import run_pilot
from toolkit.pilots.results import reproducible
from toolkit.pilots.sweep_file import Sweep, read_sweep
from toolkit.runs.execution import carry_out
from toolkit.runs.folder import RunFolder, run_folders
from toolkit.runs.follow import follow
from toolkit.study.plan import StudyChoices
from toolkit.study.request import make_study

SWEEP = """
name: on-ray
dataset: demo
size: 16
initial: 4
increment: 3
codecs: jpeg:quality={20,60}
budgets: [4img]
seeds: [0, 1]
steps: 200
batch_size: 16
checkpoint_every: 20
"""
"""A few seconds per run, so that a node is still training when the signal to kill it arrives."""


@pytest.fixture(autouse=True)
def one_thread() -> Iterator[None]:
    """One thread, as for the runs on Ray, since sums of floats depend on it."""
    set_threads(1)
    yield
    set_threads(0)


@pytest.fixture
def sweep(tmp_path: Path) -> tuple[Path, Sweep]:
    file = tmp_path / "on-ray.yaml"
    file.write_text(SWEEP)
    return file, read_sweep(file)


def require_complete(sweep: Sweep, runs: list[RunFolder], elsewhere: Path) -> None:
    """Every run is done, finished once, and has the same result as without Ray."""
    for planned, run in zip(sweep.planned, runs, strict=True):
        assert run.status() == "done", run.error()
        assert [event["event"] for event in run.events()].count("finished") == 1
        assert reproducible(run.result or {}) == reproducible(run_pilot(planned.config, planned.seed, elsewhere))


@pytest.fixture(scope="module")
def nodes() -> Iterator[Any]:
    """Two one-CPU nodes on this machine; the head has the dashboard, which Ray Jobs needs."""
    pytest.importorskip("ray", reason="Ray is not installed")
    ray_cluster.load_ray()
    from ray.cluster_utils import Cluster

    cluster = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": True})
    try:
        yield cluster
    finally:
        cluster.shutdown()


@pytest.mark.ray
def test_a_node_killed_mid_run_loses_nothing(nodes: Any, tmp_path: Path, sweep: tuple[Path, Sweep]) -> None:
    file, asked = sweep
    doomed = nodes.add_node(num_cpus=1)
    runs_dir = tmp_path / "runs"
    runs = sweeping.folders(asked, runs_dir)

    def both_train() -> bool:
        return sum((run.path / "checkpoint.pt").exists() and run.result is None for run in runs) >= 2

    def kill_when_both_train() -> None:
        until(both_train, seconds=240)
        nodes.remove_node(doomed, allow_graceful=False)

    killer = threading.Thread(target=kill_when_both_train)
    killer.start()
    ray_backend.start_on_ray(asked, file, runs_dir, address=nodes.address)
    killer.join()
    require_complete(asked, runs, tmp_path / "local")
    starts = [[event["event"] for event in run.events()].count("started") for run in runs]
    assert max(starts) == 2, "the run of the killed node was taken up by the other"


@pytest.mark.ray
def test_a_submitted_driver_outlives_its_client(
    nodes: Any, tmp_path: Path, sweep: tuple[Path, Sweep], monkeypatch: pytest.MonkeyPatch
) -> None:
    file, asked = sweep
    monkeypatch.setattr(ray_backend, "PYTHON", sys.executable)
    dashboard = f"http://{nodes.head_node.webui_url}"
    runs, look_after = ray_backend.start_on_ray(asked, file, tmp_path / "runs", address=dashboard, in_background=True)
    assert {run.status() for run in runs} <= {"queued", "running"}
    follow(runs, look_after)
    require_complete(asked, runs, tmp_path / "local")


@pytest.mark.ray
def test_a_study_races_on_a_cluster(nodes: Any, tmp_path: Path) -> None:
    choices = StudyChoices(codecs="raw;jpeg:quality=50", aligns="both", images=60)
    request = make_study("demo", 16, "4img", choices=choices, steps=2, initial=5)
    on_ray = partial(ray_backend.drive, address=nodes.address)
    result = carry_out(
        request, request.folder(tmp_path), work=lambda run, reporter: request.work(run, reporter, on_ray)
    )
    assert result["decision"]["pilots"] == 4
    assert result["test"] is not None
    assert {event["event"] for run in run_folders(tmp_path) for event in run.events()} >= {"started", "finished"}


def test_requests_that_ray_cannot_run_are_refused(tmp_path: Path, sweep: tuple[Path, Sweep]) -> None:
    file, asked = sweep
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.raises(UsageError, match="mount the storage at the same path"):
        ray_backend.start_on_ray(asked, file, Path("s3://bucket/runs"))
    with pytest.raises(UsageError, match="http://HOST:8265"):
        ray_backend.start_on_ray(asked, file, tmp_path / "runs", in_background=True)
    with pytest.raises(WorkError, match=r"http://127\.0\.0\.1:1: Connection refused"):
        ray_backend.start_on_ray(asked, file, tmp_path / "runs", address="http://127.0.0.1:1")
    with pytest.raises(WorkError, match=r"127\.0\.0\.1:1: Connection refused"):
        ray_backend.start_on_ray(asked, file, tmp_path / "runs", address="127.0.0.1:1")
    assert not any((tmp_path / "runs").glob("*/.queue"))
