from __future__ import annotations

import shlex
from pathlib import Path

import pytest
from run_samples import pilot_result

from toolkit.foundation.errors import UsageError
from toolkit.jobs.listing import list_runs
from toolkit.pilots import estimate, plan
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.request import pilot_command
from toolkit.pilots.results import comparisons, result_rows
from toolkit.probe.request import ProbeRequest
from toolkit.runs import supervision
from toolkit.runs.folder import RunFolder
from toolkit.runs.queue import tickets
from toolkit.runs.start import start_requests

SHARED = {"dataset": "demo", "size": 32, "initial": 2, "increment": 2, "steps": 10}


def test_lossless_codecs_are_planned_once_without_alignment() -> None:
    planned = plan.plan(["raw", "jpeg:quality=50"], ["none", "both"], ["20img"], [0, 1], **SHARED)
    settings = [(run.config.codec, run.config.align, run.seed) for run in planned]
    assert settings == [
        ("raw", "none", 0),
        ("raw", "none", 1),
        ("jpeg:quality=50", "none", 0),
        ("jpeg:quality=50", "none", 1),
        ("jpeg:quality=50", "both", 0),
        ("jpeg:quality=50", "both", 1),
    ]


def test_the_same_setting_written_twice_is_planned_once() -> None:
    planned = plan.plan(["jpeg:quality=50", "jpeg:subsampling=auto,quality=50"], ["both"], ["20img"], [0], **SHARED)
    assert len(planned) == 1


@pytest.mark.parametrize("empty", range(4))
def test_a_plan_needs_at_least_one_value_of_each(empty: int) -> None:
    choices: list = [["raw"], ["both"], ["20img"], [0]]
    choices[empty] = []
    with pytest.raises(UsageError, match="choose at least one"):
        plan.plan(*choices, **SHARED)


@pytest.mark.parametrize(("classes", "initial", "increment", "stages"), [(10, 2, 2, 5), (10, 5, 2, 4), (10, 10, 1, 1)])
def test_stage_count(classes: int, initial: int, increment: int, stages: int) -> None:
    assert plan.stage_count(classes, initial, increment) == stages


def test_the_rough_estimate_grows_with_pixels_and_batch() -> None:
    planned = plan.plan(["raw"], ["none"], ["20img"], [0], **(SHARED | {"size": 64, "batch_size": 32}))
    (found,) = estimate.estimate_runs(planned, [], unknown_pace=estimate.rough_seconds_per_step).values()
    steps = 5 * 10 * estimate.ROUGH_SECONDS_PER_STEP * 4 / 2
    assert (found.seconds, found.from_runs) == (pytest.approx(estimate.START_SECONDS + steps), False)


@pytest.mark.parametrize(
    ("offered", "chosen"),
    [
        (["raw", "png", "jpeg:quality=10", "jpeg:quality=50", "jpeg:quality=90"], ["raw", "jpeg:quality=50"]),
        (["raw", "original", "jpeg:quality=50", "webp:quality=30"], ["raw", "original", "jpeg:quality=50"]),
        (["png", "webp:quality=30"], ["webp:quality=30"]),
        (["raw"], ["raw"]),
        (["downscale:factor=2|jpeg:quality=50"], ["downscale:factor=2|jpeg:quality=50"]),
    ],
)
def test_defaults_are_the_references_and_a_middle_jpeg(offered: list[str], chosen: list[str]) -> None:
    assert plan.default_settings(offered) == chosen


def test_enqueueing_skips_done_and_running_runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    started: list[Path] = []
    monkeypatch.setattr(supervision, "ensure", lambda runs_dir, settings: started.append(runs_dir))
    planned = plan.plan(["raw"], ["none"], ["20img"], [0, 1, 2], **SHARED)
    first = start_requests(planned[:1], tmp_path)
    assert [run.name for run in start_requests(planned, tmp_path)] == [run.run_name() for run in planned[1:]]
    assert [ticket.run.name for ticket in tickets(tmp_path)] == [run.run_name() for run in planned]
    first[0].request_cancel()
    assert [run.name for run in start_requests(planned, tmp_path)] == [planned[0].run_name()]
    assert start_requests(planned, tmp_path) == []
    assert started == [tmp_path] * 4, "while runs wait, somebody must be at work"


def test_the_pilot_command_parses_to_the_same_request(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    from toolkit.cli import run as run_command
    from toolkit.pilots import foreground

    asked: list = []

    def run_seeds(config: object, seeds: list[int], runs_dir: Path, progress: object, dataset: object) -> dict:
        asked.append((config, seeds))
        raise UsageError("far enough")

    monkeypatch.setattr(foreground, "run_seeds", run_seeds)
    config = make_pilot_config(
        **SHARED, codec="downscale:factor=2|jpeg:quality=50", budget="64KiB", align="both", lr=0.05, selection="random"
    )
    words = shlex.split(pilot_command(config, [0, 2]))
    assert words[0] == "recallrate"
    assert run_command(words[1:]) == 2
    assert asked == [(config, [0, 2])]


def test_the_probe_command_contains_only_non_default_options() -> None:
    request = ProbeRequest("/data/my pictures", 32, "raw;png", "20img", extractor="self", images=100, strict=True)
    assert request.command() == (
        "recallrate probe '/data/my pictures' --size 32 --codecs 'raw;png' --budget 20img --images 100 "
        "--extractor self --strict"
    )


def test_a_probes_name_changes_with_every_field_of_the_request() -> None:
    request = ProbeRequest("demo", 32, "raw", "20img")
    others = [
        ProbeRequest("demo", 64, "raw", "20img"),
        ProbeRequest("demo", 32, "png", "20img"),
        ProbeRequest("demo", 32, "raw", "20img", images=100),
    ]
    names = {request.run_name(), ProbeRequest("demo", 32, "raw", "20img").run_name(), *(o.run_name() for o in others)}
    assert len(names) == 4
    assert all(name.startswith("probe-demo-") for name in names)


def _finished(runs_dir: Path, seed: int, last: float, **values: object) -> None:
    from toolkit.foundation.files import write_json

    config = make_pilot_config(**(SHARED | {"codec": "raw", "budget": "20img"} | values))
    request = {"seed": seed, "config": config.model_dump(mode="json")}
    run = RunFolder.create(runs_dir / config.run_name(seed), "pilot", request)
    write_json(run.result_path, pilot_result(seed, last, optimizer_steps=50, seconds=5.0))


def test_only_pilots_of_the_same_recipe_are_compared(tmp_path: Path) -> None:
    for seed, last in ((0, 0.4), (1, 0.5), (2, 0.9)):
        _finished(tmp_path, seed, last)
    _finished(tmp_path, 0, 0.7, codec="png", budget="64KiB")
    _finished(tmp_path, 0, 0.7, steps=20)
    _finished(tmp_path, 0, 0.7, size=64)
    found = comparisons(list_runs(tmp_path, "pilot"), "demo", 32)
    assert sorted(len(comparison.runs) for comparison in found) == [1, 4]
    assert {comparison.label for comparison in found} == {
        "2 + 2 classes, 10 steps per stage",
        "2 + 2 classes, 20 steps per stage",
    }
    rows = result_rows(max(found, key=lambda comparison: len(comparison.runs)).pilots())
    assert [(row["codec"], row["seeds"]) for row in rows] == [("png", 1), ("raw", 3)]
    assert rows[0]["last_accuracy_ci95"] is None
    assert rows[1]["last_accuracy"] == pytest.approx(0.6)
    # t(0.975, 2) = 4.302653; s of (0.4, 0.5, 0.9) = 0.264575
    assert rows[1]["last_accuracy_ci95"] == pytest.approx(4.302653 * 0.264575 / 3**0.5, rel=1e-5)


def test_estimates_follow_finished_runs_of_the_same_kind(tmp_path: Path) -> None:
    _finished(tmp_path, 0, 0.4)
    runs = list_runs(tmp_path, "pilot")
    planned = plan.plan(["png"], ["none"], ["5img"], [0, 1], **SHARED)
    found = estimate.estimate_runs(planned, runs, unknown_pace=lambda config, progress: 99.0).values()
    assert all(one.from_runs for one in found), "codec, budget and seed do not change the time of a step"
    assert [one.seconds for one in found] == pytest.approx([estimate.START_SECONDS + 50 * 0.1] * 2)
    larger = plan.plan(["png"], ["none"], ["5img"], [0], **(SHARED | {"size": 64}))
    (other,) = estimate.estimate_runs(larger, runs, unknown_pace=lambda config, progress: 99.0).values()
    assert not other.from_runs
