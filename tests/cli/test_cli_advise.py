"""``advise`` and ``regret`` as used by scripts."""

from __future__ import annotations

import csv
import json
from pathlib import Path
from typing import Any

import pytest
from cli_samples import call
from run_samples import pilot_result

from toolkit.advice.rules.fitted import PARAMETRIC
from toolkit.advice.rules.registry import RULES
from toolkit.foundation.files import write_json
from toolkit.jobs.listing import list_runs
from toolkit.pilots.as_problems import measure_problem, problems_in, tell_apart
from toolkit.pilots.config import make_pilot_config
from toolkit.runs.folder import RunFolder

ADVISE = (
    "advise",
    "demo",
    "--size",
    16,
    "--codecs",
    "png;jpeg:quality={20,80}",
    "--budget",
    "3img",
    "--images",
    150,
    "--extractor",
    "random",
    "--threads",
    1,
)


def test_advise_prints_the_recommendation_and_writes_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = call(capsys, *ADVISE, "--json", tmp_path / "a.json", "--csv", tmp_path / "a.csv")
    assert status == 0
    found = json.loads((tmp_path / "a.json").read_text())
    assert f"Recommended: {found['recommended']['codec']}, align {found['recommended']['align']}" in out
    assert "Smallest budget within 1 point of" in out
    for reason in found["recommended"]["reasons"]:
        assert reason in out
    assert found["images"] == 150
    assert {"settings", "budget_bytes", "rules", "recommended", "budgets", "excluded", "notes"} <= set(found)
    with open(tmp_path / "a.csv") as file:
        assert [row["rule"] for row in csv.DictReader(file)] == list(RULES)


def test_advise_to_standard_output_is_only_json(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, *ADVISE, "--json", "-", "--aligns", "none", "--rule", "most-exemplars")
    assert status == 0
    assert json.loads(out)["recommended"]["rule"] == "most-exemplars"
    assert "Recommended:" in err


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        (("--rule", "best"), "unknown rule 'best'"),
        (("--aligns", "all"), "aligns must be one or more of none, train, both, got 'all'"),
        (("--budget", "99"), "a budget of 99 bytes is too small"),
        (("--codecs", "jpeg:quality=0"), "jpeg: quality must be 1..100"),
        (("--initial", "11"), "initial must be 1..10"),
        (("--within", "inf"), "within must be a finite number of points >= 0, got inf"),
        (("--within", "-1"), "--within"),
    ],
)
def test_errors_are_one_line(capsys: pytest.CaptureFixture[str], wrong: tuple[str, str], message: str) -> None:
    status, _, err = call(capsys, *ADVISE, *wrong)
    assert status in (1, 2)
    assert message in err
    assert "Traceback" not in err
    assert len(err.strip().splitlines()) == 1


def test_regret_shows_the_packages_study(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = call(capsys, "regret", "--json", tmp_path / "r.json", "--csv", tmp_path / "r.csv")
    assert status == 0
    found = json.loads((tmp_path / "r.json").read_text())
    assert {row["rule"] for row in found["regret"]} == set(RULES)
    assert "predicted-gain" in out
    assert "problem: " in out
    with open(tmp_path / "r.csv") as file:
        assert {"rule", "mean_regret", "worst_regret", "spearman"} <= set(next(csv.DictReader(file)))


@pytest.mark.parametrize(("option", "value"), [("--seed", 1), ("--images", 50), ("--extractor", "self")])
def test_options_for_own_pilots_need_runs_dir(capsys: pytest.CaptureFixture[str], option: str, value: object) -> None:
    status, out, err = call(capsys, "regret", option, value)
    assert (status, out) == (2, "")
    assert option in err
    assert "needs --runs-dir" in " ".join(err.split())


def finished(runs_dir: Path, codec: str, align: str, seed: int, last: float, **values: Any) -> None:
    """A finished pilot on the demo set with this accuracy."""
    shared = {"dataset": "demo", "size": 16, "initial": 5, "increment": 5, "budget": "3img", "steps": 5}
    config = make_pilot_config(**{**shared, "codec": codec, "align": align, **values})
    request = {"seed": seed, "config": config.model_dump(mode="json")}
    run = RunFolder.create(runs_dir / config.run_name(seed), "pilot", request)
    budget = int(config.budget.removesuffix("img")) * 10 * (3 * 16 * 16 + 2) + 4
    write_json(run.result_path, pilot_result(seed, last, budget_bytes=budget, seconds=50.0))


@pytest.fixture
def pilots(tmp_path: Path) -> Path:
    for seed in (0, 1):
        finished(tmp_path, "raw", "none", seed, 0.30 + 0.02 * seed)
        finished(tmp_path, "jpeg:quality=80", "both", seed, 0.50)
        finished(tmp_path, "jpeg:quality=80", "none", seed, 0.44)
        finished(tmp_path, "jpeg:quality=20", "both", seed, 0.40)
    finished(tmp_path, "webp:quality=50", "both", 0, 0.99)  # one seed only
    finished(tmp_path, "raw", "both", 0, 0.99)  # lossless: the same choice again, with one seed only
    finished(tmp_path, "raw", "none", 0, 0.9, budget="5img")  # another budget is another problem, with too few choices
    return tmp_path


def test_pilots_are_sorted_into_problems(pilots: Path) -> None:
    (problem,) = problems_in(list_runs(pilots, "pilot"))
    assert sorted((pilot["codec"], pilot["align"]) for pilot in problem) == [
        ("jpeg:quality=20", "both"),
        ("jpeg:quality=80", "both"),
        ("jpeg:quality=80", "none"),
        ("raw", "none"),
    ]
    measured = measure_problem(problem, extractor="random", images=120)
    accuracy = dict(zip(zip(measured.codecs, measured.aligns, strict=True), measured.accuracy, strict=True))
    assert accuracy["raw", "none"] == pytest.approx(0.31)
    assert accuracy["jpeg:quality=80", "both"] == pytest.approx(0.50)
    assert measured.pilot_seconds == 8 * 50
    assert set(measured.seconds) == set(RULES) == set(measured.scores) | set(PARAMETRIC)


def test_regret_of_the_users_own_pilots(capsys: pytest.CaptureFixture[str], pilots: Path, tmp_path: Path) -> None:
    status, out, _ = call(
        capsys, "regret", "--runs-dir", pilots, "--extractor", "random", "--images", 120, "--json", tmp_path / "r.json"
    )
    assert status == 0
    assert "problem: demo, 16 px, 5 + 5 classes, 5 steps per stage, 3img, replay" in out
    rows = {row["rule"]: row for row in json.loads((tmp_path / "r.json").read_text())["regret"]}
    assert rows["most-exemplars"]["mean_regret"] == pytest.approx(10)  # quality 20, aligned, has 0.40
    assert rows["best-quality"]["mean_regret"] == pytest.approx(19)
    assert rows["random"]["mean_regret"] == pytest.approx(100 * (0.50 - (0.31 + 0.50 + 0.44 + 0.40) / 4))


def test_a_problem_without_its_images_is_left_out(capsys: pytest.CaptureFixture[str], pilots: Path) -> None:
    for seed in (0, 1):
        for codec, align in (("raw", "none"), ("jpeg:quality=80", "both"), ("jpeg:quality=20", "both")):
            finished(pilots, codec, align, seed, 0.5, dataset="/nowhere/images")
    status, out, err = call(capsys, "regret", "--runs-dir", pilots, "--extractor", "random", "--images", 120)
    assert status == 0, err
    assert "left out: images, 16 px" in out
    assert "predicted-gain: fitted on pilots of these images" in out


def test_problems_with_equal_names_are_distinguished_by_path() -> None:
    same = {"size": 16, "initial": 5, "increment": 5, "codec": "raw", "budget": "3img"}
    configs = [make_pilot_config(dataset=dataset, **same) for dataset in ("/a/x", "/b/x", "demo")]
    names = tell_apart([config.model_dump(mode="json") for config in configs])
    assert names[0].endswith("(/a/x)")
    assert names[1].endswith("(/b/x)")
    assert names[2].startswith("demo")
    assert not names[2].endswith(")")


def test_regret_without_pilots_names_what_it_needs(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, err = call(capsys, "regret", "--runs-dir", tmp_path)
    assert status == 2
    assert "needs finished pilots of raw and of at least 2 other choices" in err
