"""Independent tasks with failures as values, on processes and on Ray. The module shares one Ray cluster."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from toolkit.foundation import ray_cluster
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.processes import map_tasks
from toolkit.foundation.sizes import parse_size
from toolkit.production.build_sharded import build_sharded_memory

SIZES = ["1kB", "nonsense", "3B"]


def sorted_outcomes(outcomes: Any) -> list[tuple[Any, str]]:
    return [(found.value, found.error or "") for found in sorted(outcomes, key=lambda found: found.index)]


@pytest.mark.parametrize("workers", [1, 2])
def test_a_failure_is_a_value_and_the_other_items_are_done(workers: int) -> None:
    done = sorted_outcomes(map_tasks(parse_size, SIZES, workers=workers))
    assert [value for value, _ in done] == [1000, None, 3]
    assert done[1][1].startswith("a size must be written as")
    assert sorted_outcomes(map_tasks(parse_size, [], workers=workers)) == []


def test_a_dead_worker_process_is_reported() -> None:
    with pytest.raises(WorkError, match="a worker process died"):
        list(map_tasks(os._exit, [3], workers=2))


@pytest.mark.parametrize("path", ["s3://bucket/runs", "gs://bucket", "https://host/x", Path("s3://bucket/runs")])
def test_only_mounted_folders_can_be_shared(path: object, tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="is not a folder; mount the storage"):
        ray_cluster.require_shared(path)
    ray_cluster.require_shared(tmp_path)
    ray_cluster.require_shared("C:/runs")
    ray_cluster.require_shared("torchvision:CIFAR10")


@pytest.mark.parametrize(
    ("address", "said"),
    [
        ("http://127.0.0.1:8265", "submit the command with `ray job submit"),
        ("ray://127.0.0.1:10001", "submit the command with `ray job submit"),
        ("somewhere", "HOST:PORT or auto"),
    ],
)
def test_addresses_of_another_form_are_refused(address: str, said: str) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.raises(UsageError, match=said), ray_cluster.connect(address):
        pass


@pytest.mark.ray
def test_addresses_where_no_ray_answers_fail_in_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    pytest.importorskip("ray", reason="Ray is not installed")
    with pytest.raises(WorkError, match=r"127\.0\.0\.1:1: Connection refused"), ray_cluster.connect("127.0.0.1:1"):
        pass
    assert ray_cluster.CONNECT_SECONDS + ray_cluster.HEALTH_SECONDS < 10
    monkeypatch.setattr(ray_cluster, "HEALTH_SECONDS", 1)
    with socket.socket() as other:
        other.bind(("127.0.0.1", 0))
        other.listen()
        address = f"127.0.0.1:{other.getsockname()[1]}"
        with pytest.raises(WorkError, match="is not Ray"), ray_cluster.connect(address):
            pass


@pytest.fixture(scope="module")
def cluster() -> Iterator[str]:
    """The address of two one-CPU nodes on this machine, with a connection to them."""
    pytest.importorskip("ray", reason="Ray is not installed")
    ray_cluster.load_ray()
    from ray.cluster_utils import Cluster

    nodes = Cluster(initialize_head=True, head_node_args={"num_cpus": 1, "include_dashboard": False})
    nodes.add_node(num_cpus=1)
    try:
        with ray_cluster.connect(nodes.address):
            yield nodes.address
    finally:
        nodes.shutdown()


@pytest.mark.ray
def test_ray_and_processes_give_the_same_outcomes(cluster: str) -> None:
    on_ray = sorted_outcomes(ray_cluster.map_tasks_on_ray(parse_size, SIZES))
    assert on_ray == sorted_outcomes(map_tasks(parse_size, SIZES, workers=1))
    assert sorted_outcomes(ray_cluster.map_tasks_on_ray(parse_size, [])) == []


@pytest.mark.ray
def test_only_importable_functions_are_sent(cluster: str) -> None:
    with pytest.raises(UsageError, match="use a top-level function"):
        list(ray_cluster.map_tasks_on_ray(lambda item: item, [1]))


@pytest.mark.ray
def test_a_task_whose_worker_always_dies_is_a_value(cluster: str) -> None:
    (outcome,) = ray_cluster.map_tasks_on_ray(os._exit, [1], max_retries=1)
    assert outcome.value is None
    assert "lost by Ray" in (outcome.error or "")


@pytest.mark.ray
def test_a_memory_built_on_ray_equals_one_built_locally(cluster: str, tmp_path: Path) -> None:
    request: dict[str, Any] = {"codec": "jpeg:quality=50", "budget": "40kB", "size": 16, "extractor": "stage0"}
    for backend in ("local", "ray"):
        out = tmp_path / backend
        build_sharded_memory("demo", out, **request, shards=3, workers=1, backend=backend)
    made = [{path.name: path.read_bytes() for path in (tmp_path / name).iterdir()} for name in ("local", "ray")]
    assert len(made[0]) == 4
    assert made[0] == made[1]
