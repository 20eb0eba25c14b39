"""Whole studies, from the probe to the decision, with pilots whose accuracies are known."""

from __future__ import annotations

import json
import math
import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from study_samples import IMAGES, Starter, a_study, usual_accuracy

from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.files import write_json
from toolkit.learning.metrics import mean_and_ci95
from toolkit.runs.contents import require
from toolkit.runs.execution import carry_out
from toolkit.runs.reporting import RunReporter
from toolkit.study.conduct import conduct, spent
from toolkit.study.contents import StudyResult
from toolkit.study.line_up import Arm
from toolkit.study.plan import StudyChoices
from toolkit.study.race import Wanted
from toolkit.study.request import StudyRequest, make_study
from toolkit.study.sentences import all_sentences
from toolkit.study.so_far import disagreement, on_images
from toolkit.study.take_away import bundle_command, snippet


def carried_out(request: StudyRequest, runs_dir: Path, start: Starter) -> StudyResult:
    run = request.folder(runs_dir)
    return carry_out(request, run, work=lambda run, reporter: request.work(run, reporter, start))


def test_a_study_runs_few_pilots_and_decides_for_the_best_arm(tmp_path: Path) -> None:
    start = Starter()
    request = a_study()
    result = carried_out(request, tmp_path, start)
    require(StudyResult, result, request.folder(tmp_path).result_path)
    decision = result["decision"]
    assert (decision["codec"], decision["align"]) == ("jpeg:quality=90", "both")
    # quick: 4 arms with raw and png, then 2 of them, and once more the decision with both references
    assert decision["pilots"] == 6 + 4
    assert len(start.started) == 1 + 6 + 4 + 3
    assert [len(one["pilots"]) for one in result["rounds"]] == [6, 4]
    assert decision["probability_within_eps"] > 0.75, "arms that never ran might be better still"
    assert decision["gain_over_raw"] == pytest.approx(20, abs=2), "0.5 against 0.3, seed by seed"
    low, high = decision["gain_ci95"] or [math.nan] * 2
    assert low < 20 < high
    assert decision["gain_over_lossless"] == pytest.approx(15, abs=2)
    rows = {(row["codec"], row["align"]): row for row in result["arms"]}
    assert rows["jpeg:quality=90", "both"]["last_accuracy"] == pytest.approx((0.5 + 0.4) / 2)
    assert rows["jpeg:quality=90", "both"]["ci95"] == mean_and_ci95([0.5, 0.4])[1]
    assert not any("held-out training images it had" in str(one) for one in all_sentences(result))
    assert rows["raw", "none"]["seeds"] == 2, "references stay to the end"
    assert rows["raw", "none"]["reference"]
    assert rows["webp:quality=50", "both"]["dropped_in_round"] == 1
    assert not rows["jpeg:quality=10", "none"]["started"]
    assert rows["jpeg:quality=90", "both"]["file_bytes"] == pytest.approx(100_000 / 400)


def test_the_test_images_are_opened_once_with_a_seed_that_had_no_part(tmp_path: Path) -> None:
    opened: list[tuple[str, str, int]] = []
    start = Starter()
    written = start.pilot

    def pilot(request: Any, run: Any) -> None:
        if not request.config.held_out:
            opened.append((request.config.codec, request.config.align, request.seed))
        written(request, run)

    start.pilot = pilot  # type: ignore[method-assign]
    result = carried_out(a_study(), tmp_path, start)
    assert opened == [("jpeg:quality=90", "both", 2), ("raw", "none", 2), ("png", "none", 2)]
    test = result["test"]
    assert test is not None
    assert (test["seed"], test["images"]) == (2, 400)
    assert test["arms"][1]["gain"] == pytest.approx(20)
    # 80 of 400 images are right with the decision only, none with raw pixels only
    deviation = 100 * np.std(np.repeat([1, 0], [80, 320]), ddof=1)
    low, high = test["arms"][1]["gain_ci95"]
    assert (high - low) / 2 == pytest.approx(1.966 * deviation / 20, rel=1e-3)
    assert "bundle export" in (bundle_command(result) or "")
    assert test["arms"][0]["run"] in (bundle_command(result) or "")


@pytest.mark.parametrize("killed_after", [0, 1, 3, 7, 9, 11, 13])
def test_a_study_killed_anywhere_goes_on_and_decides_the_same(tmp_path: Path, killed_after: int) -> None:
    whole = carried_out(a_study(), tmp_path / "whole", Starter())
    start = Starter()
    start.die_after = killed_after
    with pytest.raises(KeyboardInterrupt):
        carried_out(a_study(), tmp_path / "killed", start)
    start.die_after = None
    result = carried_out(a_study(), tmp_path / "killed", start)
    assert len(start.started) == len(set(start.started)), "nothing runs twice"
    for one in (whole, result):
        one.pop("seconds")  # type: ignore[misc]
        one.pop("run_dir")
    assert result == whole


def test_a_more_thorough_study_uses_the_pilots_of_a_quick_one(tmp_path: Path) -> None:
    carried_out(a_study(), tmp_path, Starter())
    start = Starter()
    carried_out(a_study(effort="usual"), tmp_path, start)
    alone = Starter()
    carried_out(a_study(effort="usual"), tmp_path / "alone", alone)
    assert len(alone.started) - len(start.started) >= 10


def test_arms_that_tie_exactly_are_alike_and_the_easiest_is_taken(tmp_path: Path) -> None:
    result = carried_out(a_study(), tmp_path, Starter(lambda codec, align, seed: 0.4))
    decision = result["decision"]
    assert len(decision["alike"]) == 4, "the two contenders that are left and both references"
    assert (decision["codec"], decision["align"]) in {("raw", "none"), ("png", "none")}, "coded nowhere"
    assert decision["to_settle"] is None, "nothing can tell them apart"
    by_bytes = carried_out(a_study(prefer="accuracy"), tmp_path, Starter(lambda codec, align, seed: 0.4))["decision"]
    assert {**by_bytes["leader"]} == {name: by_bytes[name] for name in ("codec", "align")}  # type: ignore[literal-required]


def test_one_arm_is_decided_without_rivals(tmp_path: Path) -> None:
    result = carried_out(a_study("raw"), tmp_path, Starter())
    decision = result["decision"]
    assert (decision["codec"], decision["runner_up"], decision["gains"]) == ("raw", None, [])
    assert decision["probability_within_eps"] == 1
    assert decision["pilots"] == 2


def test_failed_pilots_are_out_and_the_next_arm_takes_their_place(tmp_path: Path) -> None:
    def accuracy(codec: str, align: str, seed: int) -> float | None:
        return None if codec == "jpeg:quality=90" else usual_accuracy(codec, align, seed)

    result = carried_out(a_study(), tmp_path, Starter(accuracy))
    assert result["decision"]["codec"] == "jpeg:quality=50"
    failed = [row for row in result["arms"] if row["error"]]
    assert {row["codec"] for row in failed} == {"jpeg:quality=90"}
    assert all(row["error"] == "the loss is not finite" and row["within_eps"] == 0 for row in failed)


def test_a_study_whose_pilots_all_fail_says_why(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match=r"no decision.*a pilot failed: the loss is not finite"):
        carried_out(a_study(), tmp_path, Starter(lambda codec, align, seed: None))


def test_a_failed_reference_leaves_its_gain_open(tmp_path: Path) -> None:
    def accuracy(codec: str, align: str, seed: int) -> float | None:
        return None if codec == "raw" else usual_accuracy(codec, align, seed)

    result = carried_out(a_study(), tmp_path, Starter(accuracy))
    assert result["decision"]["gain_over_raw"] is None
    assert result["test"] is not None
    assert [one["codec"] for one in result["test"]["arms"]] == ["jpeg:quality=90", "png"]


def test_time_used_up_in_the_first_round_is_one_line(tmp_path: Path) -> None:
    request = a_study(hours=1e-9)
    with pytest.raises(WorkError, match=r"no decision.*1e-09 h were used up with 6 pilots of round 1 left"):
        carried_out(request, tmp_path, Starter())


def test_time_used_up_later_decides_from_what_is_known(tmp_path: Path) -> None:
    carried_out(a_study(), tmp_path, Starter())
    start = Starter()
    result = carried_out(a_study(effort="thorough", hours=1e-9), tmp_path, start)
    assert result["stopped"] is not None
    assert result["test"] is None
    assert bundle_command(result) is None


def test_a_budget_that_holds_everything_without_loss_needs_no_lossy_pilot(tmp_path: Path) -> None:
    start = Starter(exemplars={"raw": 800, "png": 1600})
    result = carried_out(a_study(budget="500img"), tmp_path, start)
    assert (result["decision"]["codec"], result["decision"]["fits"]) == ("png", True)
    assert not any("jpeg" in name or "webp" in name for name in start.started if name.startswith("pilot"))


def test_settings_that_do_not_fit_are_named(tmp_path: Path) -> None:
    result = carried_out(a_study(), tmp_path, Starter(excluded=["raw", "jpeg:quality=90"]))
    assert [one["codec"] for one in result["not_tried"]] == ["raw", "jpeg:quality=90"]
    assert result["decision"]["codec"] == "jpeg:quality=50"
    assert result["decision"]["gain_over_raw"] is None


def test_another_grid_or_dataset_is_another_study(tmp_path: Path) -> None:
    usual = a_study()
    assert usual.run_name() == a_study(codecs=usual.choices.codecs.replace("{10,50,90}", "{ 10, 50, 90 }")).run_name()
    assert usual.run_name() != a_study(codecs="raw;jpeg:quality=50").run_name()
    assert usual.run_name() != a_study(budget="5img").run_name()
    assert usual.run_name() != a_study(eps=1.0).run_name()
    assert StudyRequest.of(usual.folder(tmp_path)) == usual


def test_two_studies_share_their_pilots(tmp_path: Path) -> None:
    first, second = Starter(), Starter()
    carried_out(a_study(), tmp_path, first)
    result = carried_out(a_study(eps=1.0), tmp_path, second)
    assert second.started == []
    assert result["decision"]["eps"] == 1.0


@pytest.mark.parametrize(
    ("choices", "reason"),
    [
        ({"effort": "lazy"}, "effort must be one of quick, usual, thorough, got 'lazy'"),
        ({"eps": -1}, "eps must be 0 to 100 points, got -1"),
        ({"hours": 0}, "hours must be more than 0, got 0"),
        ({"aligns": "some"}, "aligns must be one or more of"),
        ({"prefer": "speed"}, "prefer takes accuracy"),
        ({"codecs": "gif"}, "unknown codec"),
    ],
)
def test_wrong_choices_are_refused_in_one_line(choices: dict[str, Any], reason: str) -> None:
    with pytest.raises(UsageError, match=reason):
        a_study(**choices)


def test_a_method_without_exemplars_is_refused() -> None:
    with pytest.raises(UsageError, match="simplecil keeps none"):
        make_study("demo", 32, "4img", method="simplecil")


def test_the_defaults_follow_the_images() -> None:
    request = make_study("demo")
    assert request.config.size == 64
    assert request.config.network.startswith("timm:")
    assert (request.config.tune, request.config.held_out, request.config.budget) == ("head", True, "1img")
    assert make_study("demo", 32).config.network == "auto"
    assert "--held-out" not in request.command()
    assert request.command().startswith("recallrate study demo --size 64 --budget 1img")


def test_disagreement_is_the_variance_between_images_without_the_noise_of_seeds() -> None:
    random = np.random.default_rng(0)
    images, seeds = 4000, 6
    first, second = random.beta(2, 2, images), random.beta(2, 2, images)
    right = {
        Wanted(arm, seed): random.random(images) < chance
        for arm, chance in enumerate((first, second))
        for seed in range(seeds)
    }
    assert disagreement(right) == pytest.approx(np.var(first - second), rel=0.1)
    assert disagreement({key: images for key, images in right.items() if key.seed == 0}) == 0.1, "one seed says nothing"


def test_gains_on_test_images_need_their_single_results() -> None:
    result: Any = {"last_accuracy": 0.5}
    assert "gain" not in on_images({Arm("png", "none"): ("a", result), Arm("raw", "none"): ("b", result)})[1]


def test_time_of_earlier_attempts_counts_and_time_between_does_not(tmp_path: Path) -> None:
    run = a_study().folder(tmp_path)
    moments = [(100, "queued"), (110, "started"), (150, "progress"), (900, "queued"), (1000, "started")]
    with open(run.path / "events.jsonl", "a") as log:
        for moment, event in moments:
            log.write(json.dumps({"time": moment, "event": event, "what": "x", "done": 1, "total": 2}) + "\n")
    assert spent(run) == 40


def test_a_cancelled_pilot_stops_the_study_in_one_line(tmp_path: Path) -> None:
    request = a_study()
    run = request.folder(tmp_path)
    probe = Starter()

    def start(runs: Any, runs_dir: Path) -> None:
        if runs[0].config["kind"] == "advise":
            probe(runs, runs_dir)
        else:
            runs[0].request_cancel()

    with pytest.raises(WorkError, match="is cancelled: the same command goes on"):
        conduct(request.plan, run, RunReporter(run), start)


def test_the_snippet_names_the_setting_and_codes_what_the_alignment_asks(tmp_path: Path) -> None:
    result = carried_out(a_study(), tmp_path, Starter())
    text = snippet(result)
    compile(text, "snippet", "exec")
    assert "codec='jpeg:quality=90'" in text
    assert "at inference" in text
    scope: dict[str, Any] = {"images": np.zeros((64, 32, 32, 3), np.uint8), "labels": np.arange(64) % 4}
    scope["images"] += np.random.default_rng(0).integers(0, 255, scope["images"].shape, np.uint8)
    exec(text.replace("replay.recall", str(tmp_path / "replay.recall")), scope)
    assert scope["coded"].shape == scope["images"].shape


def test_a_test_set_of_twenty_images_says_that_it_cannot_tell(tmp_path: Path) -> None:
    start = Starter(lambda codec, align, seed: 0.4 + 0.05 * (codec == "jpeg:quality=90"))
    written = start.pilot

    def pilot(request: Any, run: Any) -> None:
        written(request, run)
        if (result := run.result) is not None:
            right = np.arange(20) < round(20 * result["last_accuracy"])
            write_json(run.result_path, {**result, "test_images": 20, "correct": np.packbits(right).tobytes().hex()})

    start.pilot = pilot  # type: ignore[method-assign]
    decision = carried_out(a_study(), tmp_path, start)["decision"]
    assert decision["probability_within_eps"] < 0.9
    assert IMAGES > 20


def test_test_images_that_are_harder_than_held_out_ones_are_told(tmp_path: Path) -> None:
    start = Starter(lambda codec, align, seed: 0.2 if seed == 2 else 0.5)
    result = carried_out(a_study(), tmp_path, start)
    assert "On held-out training images it had 50.0 %" in " ".join(map(str, all_sentences(result)))


def test_a_lossless_codec_with_fewer_exemplars_of_the_same_pixels_does_not_start(tmp_path: Path) -> None:
    start = Starter(exemplars={"raw": 40, "png": 80, "webp:lossless=yes": 90, "jxl:lossless=yes": 90})
    result = carried_out(a_study("raw;png;webp:lossless=yes;jxl:lossless=yes;jpeg:quality=50"), tmp_path, start)
    assert [one["codec"] for one in result["not_tried"]] == ["png", "webp:lossless=yes"], "equal, in more bytes"
    assert {row["codec"] for row in result["arms"]} == {"raw", "jxl:lossless=yes", "jpeg:quality=50"}


def test_pilots_that_failed_before_are_tried_once_more(tmp_path: Path) -> None:
    broken = Starter(lambda codec, align, seed: None)
    with pytest.raises(WorkError):
        carried_out(a_study(), tmp_path, broken)
    result = carried_out(a_study(), tmp_path, Starter())
    assert result["decision"]["codec"] == "jpeg:quality=90"
    assert not any(row["error"] for row in result["arms"])


def test_a_failed_test_of_the_decision_is_no_result(tmp_path: Path) -> None:
    def accuracy(codec: str, align: str, seed: int) -> float | None:
        return None if seed == 2 and codec == "jpeg:quality=90" else usual_accuracy(codec, align, seed)

    with pytest.raises(WorkError, match="which tests the decision, is failed: the loss is not finite"):
        carried_out(a_study(), tmp_path, Starter(accuracy))
    assert carried_out(a_study(), tmp_path, Starter())["test"] is not None


def test_whole_images_without_loss_are_one_reference_each(tmp_path: Path) -> None:
    grid = "raw;store:side=64|raw;store:side=64|png;jpeg:quality=50"
    exemplars = {"raw": 40, "store:side=64|raw": 10, "store:side=64|png": 20}
    result = carried_out(a_study(grid), tmp_path, Starter(exemplars=exemplars))
    exact = [(row["codec"], row["align"]) for row in result["arms"] if "jpeg" not in row["codec"]]
    assert sorted(exact) == [("raw", "none"), ("store:side=64|png", "none")]


def test_too_many_settings_are_refused() -> None:
    with pytest.raises(UsageError, match="at most 60 settings, got 99"):
        a_study(codecs=f"jpeg:quality={{{','.join(map(str, range(1, 100)))}}}")


@pytest.mark.parametrize("more", [{"tune": "all"}, {"tune": "last-block", "steps": 200}, {"lr": 0.05}])
def test_its_command_is_the_same_study(more: dict[str, Any], monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    from toolkit.cli import run as run_command
    from toolkit.study import request as module

    asked = make_study("demo", 64, "1img", choices=StudyChoices(codecs="raw;jpeg:quality=50"), **more)
    made: list[str] = []
    usual = module.make_study

    def noted(*words: Any, **values: Any) -> StudyRequest:
        request = usual(*words, **values)
        made.append(request.run_name())
        raise UsageError("enough")

    monkeypatch.setattr(module, "make_study", noted)
    run_command(shlex.split(asked.command())[1:])
    assert made == [asked.run_name()]
