"""One small but real pilot: its result, its memory, and resuming after a kill."""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from scipy import stats

from toolkit.data.catalog import load_dataset
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.threads import thread_count
from toolkit.learning import metrics
from toolkit.memory.store import BudgetTooSmall, ExemplarMemory
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.foreground import run_pilot, run_seeds
from toolkit.pilots.results import aggregate_pilots, reproducible
from toolkit.runs.folder import RunFolder


def config(**changes: Any) -> PilotConfig:
    values: dict[str, Any] = {
        "dataset": "demo",
        "size": 16,
        "initial": 4,
        "increment": 4,
        "codec": "jpeg:quality=40",
        "budget": "3img",
        "steps": 6,
        "batch_size": 16,
        "checkpoint_every": 2,
    }
    return make_pilot_config(**{**values, **changes})


@pytest.fixture(scope="module")
def finished(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, dict[str, Any]]:
    runs_dir = tmp_path_factory.mktemp("runs")
    return runs_dir, run_pilot(config(align="both"), 1, runs_dir)


def test_the_result_has_the_documented_keys(finished: tuple[Path, dict[str, Any]]) -> None:
    assert set(finished[1]) >= {
        "seed",
        "class_order",
        "stage_classes",
        "accuracy_matrix",
        "average_incremental_accuracy",
        "last_accuracy",
        "forgetting",
        "accuracy_on_original",
        "accuracy_on_coded",
        "exemplars_per_class",
        "memory_bytes",
        "optimizer_steps",
        "seconds",
        "run_dir",
    }
    assert finished[1]["stage_classes"] == [4, 4, 2]
    assert finished[1]["optimizer_steps"] == 18
    assert sorted(finished[1]["class_order"]) == list(range(10))
    assert [len(row) for row in finished[1]["accuracy_matrix"]] == [1, 2, 3]


def test_every_metric_follows_from_the_matrix(finished: tuple[Path, dict[str, Any]]) -> None:
    result = finished[1]
    for name, value in metrics.summarise(result["accuracy_matrix"], result["stage_classes"]).items():
        assert result[name] == pytest.approx(value)
    for name in ("original", "coded"):
        matrix = result[f"accuracy_matrix_on_{name}"]
        assert result[f"accuracy_on_{name}"] == pytest.approx(metrics.last_accuracy(matrix, result["stage_classes"]))
    assert result["accuracy_matrix"] == result["accuracy_matrix_on_coded"], "aligned: deployed on coded images"


def test_the_memory_file_agrees_with_the_report_and_fits_the_budget(finished: tuple[Path, dict[str, Any]]) -> None:
    runs_dir, result = finished
    with ExemplarMemory(runs_dir / result["run_dir"] / "memory.recall") as memory:
        assert memory.nbytes == result["memory_bytes"] <= memory.budget == result["budget_bytes"]
        assert [memory.class_counts[label] for label in result["class_order"]] == result["exemplars"]
        assert memory.verify() == []
        assert result["exemplars_per_class"] == pytest.approx(len(memory) / 10)
    assert all(stage["memory_bytes"] <= result["budget_bytes"] for stage in result["memory_by_stage"])


def test_exemplars_are_decoded_training_images_of_their_class(finished: tuple[Path, dict[str, Any]]) -> None:
    runs_dir, result = finished
    dataset = load_dataset("demo", 16)
    with ExemplarMemory(runs_dir / result["run_dir"] / "memory.recall") as memory:
        for label in (0, 9):
            pixels = np.asarray(dataset.train.images[dataset.train.labels == label])
            coded = {image.tobytes() for image in memory.codec.decode(memory.codec.encode(pixels))}
            assert {image.tobytes() for image in memory.decode(label)} <= coded


def test_a_finished_run_is_read_and_not_repeated(
    finished: tuple[Path, dict[str, Any]], monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*args: object, **kwargs: object) -> None:
        raise AssertionError("ran again")

    monkeypatch.setattr("toolkit.pilots.pilot.train", fail)
    assert run_pilot(config(align="both"), 1, finished[0]) == finished[1]


def test_the_run_folder_records_what_ran_where(finished: tuple[Path, dict[str, Any]]) -> None:
    run = RunFolder(finished[0] / finished[1]["run_dir"])
    assert run.status() == "done"
    assert run.config["config"]["codec"] == "jpeg:quality=40"
    events = [event["event"] for event in run.events()]
    assert events[0] == "started"
    assert events[-1] == "finished"
    assert events.count("stage") == 3
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["threads"] >= 1
    assert environment["libraries"]["torch"]
    assert not (run.path / "checkpoint.pt").exists()
    assert (run.path / "network.pt").exists()


KILLER = """
    import os, signal, sys
    from pathlib import Path
    from toolkit.pilots.foreground import run_pilot
    from toolkit.runs import execution
    from toolkit.foundation.threads import set_threads
    from toolkit.memory.store import ExemplarMemory
    from toolkit.pilots.checkpoint import Checkpoint
    from toolkit.pilots.config import make_pilot_config
    from toolkit.runs.folder import RunFolder

    runs_dir, values, where = Path(sys.argv[1]), eval(sys.argv[2]), sys.argv[3]
    set_threads(int(sys.argv[4]))  # the last bits of sums depend on it, and another test may have changed it
    calls = {"save": 0, "add": 0, "log": 0}

    def dies(owner, name, after, nth):
        real = getattr(owner, name)
        def call(*args, **kwargs):
            calls[name] = calls.get(name, 0) + 1
            if calls[name] == nth and not after:
                os.kill(os.getpid(), signal.SIGKILL)
            result = real(*args, **kwargs)
            if calls[name] == nth and after:
                os.kill(os.getpid(), signal.SIGKILL)
            return result
        setattr(owner, name, call)

    if where == "mid-stage":
        dies(Checkpoint, "save", True, 2)       # stage 0, step 4 of 6 saved
    elif where == "memory-committed":
        dies(ExemplarMemory, "add", True, 1)    # committed, but not in a checkpoint
    elif where == "before-commit":
        dies(ExemplarMemory, "add", False, 1)
    elif where == "last-stage":
        dies(Checkpoint, "save", False, 5)
    elif where == "result-pending":
        dies(execution, "write_json", False, 2)     # the first writes environment.json
    run_pilot(make_pilot_config(**values), 3, runs_dir)
"""


@pytest.mark.kills
def test_a_repeatedly_killed_run_has_the_same_result(tmp_path: Path) -> None:
    values = config(align="train").model_dump(mode="json")
    reference = run_pilot(config(align="train"), 3, tmp_path / "whole")

    def attempt(where: str) -> int:
        given = [str(tmp_path / "killed"), repr(values), where, str(thread_count())]
        return subprocess.run([sys.executable, "-c", textwrap.dedent(KILLER), *given]).returncode

    for where in ("mid-stage", "memory-committed", "before-commit", "last-stage", "result-pending"):
        assert attempt(where) == -9, f"was not killed at {where}"
        run = RunFolder(tmp_path / "killed" / config(align="train").run_name(3))
        assert run.status() == "lost"
    assert attempt("nowhere") == 0
    assert reproducible(json.loads((run.path / "result.json").read_text())) == reproducible(reference)


def test_a_seed_repeats_its_result_and_another_seed_changes_it(tmp_path: Path) -> None:
    first, again = (run_pilot(config(), 0, tmp_path / name) for name in ("a", "b"))
    other = run_pilot(config(), 5, tmp_path / "a")
    assert reproducible(first) == reproducible(again)
    assert first["class_order"] != other["class_order"]


def test_lossless_codecs_store_different_bytes_but_train_on_the_same_pixels(tmp_path: Path) -> None:
    raw, png = (run_pilot(config(codec=codec, budget="400img"), 0, tmp_path) for codec in ("raw", "png"))
    assert raw["accuracy_matrix"] == png["accuracy_matrix"], "everything fits, so the pixels decide"
    assert raw["accuracy_matrix_on_original"] == raw["accuracy_matrix_on_coded"]
    assert raw["memory_bytes"] != png["memory_bytes"]


def test_seeds_give_a_mean_and_a_t_interval(tmp_path: Path) -> None:
    report = run_seeds(config(steps=2), [0, 1, 2], tmp_path)
    values = [run["last_accuracy"] for run in report["runs"]]
    low, high = stats.t.interval(0.95, 2, np.mean(values), stats.sem(values))
    assert report["mean"]["last_accuracy"] == pytest.approx(np.mean(values))
    assert report["ci95"]["last_accuracy"] == pytest.approx((high - low) / 2)
    assert {"config", "codec", "method", "align", "budget_bytes", "runs", "mean", "ci95"} <= set(report)
    assert aggregate_pilots(config(), report["runs"][:1])["ci95"]["last_accuracy"] is None


def test_a_cancelled_run_stops_and_resumes(tmp_path: Path) -> None:
    setup = config(steps=40)
    run = RunFolder(tmp_path / setup.run_name(0))

    def cancel_soon(what: str, done: int, total: int) -> None:
        if what == "training" and done == 44:
            run.request_cancel()

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("toolkit.runs.reporting.RunReporter.EVERY_SECONDS", 0.0)
        with pytest.raises(WorkError, match="cancelled"):
            run_pilot(setup, 0, tmp_path, cancel_soon)
    assert run.status() == "cancelled"
    run.clear_cancel()
    assert reproducible(run_pilot(setup, 0, tmp_path)) == reproducible(run_pilot(setup, 0, tmp_path / "whole"))


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"initial": 11}, r"initial must be 1..10"),
        ({"codec": "jpg"}, "choose one of raw, png"),
        ({"align": "all"}, "none"),
        ({"method": "magic"}, "unknown method .*replay"),
        ({"network": "resnet9"}, "resnet8"),
        ({"budget": "lots"}, "20img"),
        ({"size": 4}, "8"),
        ({"steps": 0}, "steps"),
        ({"class_order": (0, 1)}, "names 2 classes"),
        ({"unheard_of": 1}, "unheard_of"),
    ],
)
def test_invalid_configurations_are_refused_before_anything_is_written(
    tmp_path: Path, changes: dict[str, Any], message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        run_seeds(config(**changes), [0], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()


def test_a_budget_too_small_names_a_sufficient_one(tmp_path: Path) -> None:
    with pytest.raises(BudgetTooSmall) as caught:
        run_seeds(config(budget="700"), [0], tmp_path / "runs")
    assert not (tmp_path / "runs").exists()
    result = run_seeds(config(budget=str(caught.value.smallest), steps=1), [0], tmp_path / "runs")["runs"][0]
    assert min(result["exemplars"]) >= 1


def test_a_full_disk_fails_in_one_line_and_the_run_can_be_resumed(tmp_path: Path) -> None:
    reference = run_pilot(config(), 0, tmp_path / "whole")
    with pytest.MonkeyPatch.context() as patch:

        def full(*args: object, **kwargs: object) -> None:
            raise OSError(28, "No space left on device")

        patch.setattr("toolkit.foundation.files.os.fsync", full)
        patch.setattr(
            "toolkit.runs.folder.write_json",
            lambda path, value: path.parent.mkdir(parents=True) or path.write_text(json.dumps(value)),
        )
        with pytest.raises(WorkError, match="No space left on device"):
            run_pilot(config(), 0, tmp_path / "runs")
    run = RunFolder(tmp_path / "runs" / config().run_name(0))
    assert run.status() == "failed"
    assert "No space left" in str(run.error())
    assert reproducible(run_pilot(config(), 0, tmp_path / "runs")) == reproducible(reference)
