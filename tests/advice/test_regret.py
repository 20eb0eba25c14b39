"""Regret, parameters fitted with a problem left out, and budgets, against hand-computed cases."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from advice_samples import CLASSES, PER_CLASS, RAW_BYTES, held_by_a_memory, make_evidence

from toolkit.advice.budgets import BudgetPlan, everything
from toolkit.advice.calibration import calibration
from toolkit.advice.problem import Problem
from toolkit.advice.regret.table import calibrate_rules, left_out_scores, regret_table
from toolkit.advice.rules.fitted import PARAMETRIC, fit_gain, fit_threshold, predicted_gain
from toolkit.advice.rules.registry import RULES
from toolkit.memory.disk import uniform_bytes
from toolkit.memory.store import BudgetTooSmall

RNG = np.random.default_rng(5)
WEIGHTS = {
    "growth": 20.0,
    "feature_distortion": 50.0,
    "structure_loss": 10.0,
    "shift_if_none": 30.0,
    "shift_if_train": 15.0,
}


def make_problem(name: str, scores: dict[str, list[float]], accuracy: list[float], noise: float = 0.0) -> Problem:
    """Six choices, the first raw, the last two not aligned, with gains from WEIGHTS.

    With ``accuracy``, as many choices, all but raw aligned.
    """
    count = len(accuracy) or 6
    aligns = ["none", *["both"] * (count - 1)] if accuracy else ["none", "both", "both", "both", "none", "train"]
    quantities = {key: np.array([0.0, *RNG.uniform(0, 0.3, count - 1)]) for key in WEIGHTS}
    for align in ("none", "train"):
        quantities[f"shift_if_{align}"] *= [k > 0 and one == align for k, one in enumerate(aligns)]
    quantities |= {"volume_ratio": np.linspace(0, 0.3, count), "exemplars": np.arange(1.0, count + 1)}
    law = 0.3 + predicted_gain(quantities, WEIGHTS) / 100 + noise * RNG.normal(size=count)
    return Problem(
        name=name,
        dataset=name[0],
        codecs=("raw", *(f"jpeg:quality={10 * k}" for k in range(1, count))),
        aligns=tuple(aligns),
        by_seed=np.array(accuracy or law)[:, None],
        scores={rule: np.array(one) for rule, one in scores.items()} or {"predicted-gain": np.zeros(count)},
        seconds=dict.fromkeys(scores or ["predicted-gain"], 1.0),
        quantities=quantities,
        exemplars=np.arange(1.0, count + 1),
        probe_seconds=9.0,
        pilot_seconds=1000.0,
    )


def test_regret_is_the_best_choice_minus_the_pick() -> None:
    problems = [
        make_problem("a", {"psnr": [0, 3, 2, 1], "random": [0, 0, 0, 0]}, [0.30, 0.40, 0.45, 0.35]),
        make_problem("b", {"psnr": [0, 1, 2, 3], "random": [0, 0, 0, 0]}, [0.20, 0.30, 0.40, 0.50]),
    ]
    table = {row["rule"]: row for row in regret_table(problems)}
    psnr = table["psnr"]
    assert [one["regret"] for one in psnr["problems"]] == pytest.approx([5, 0])
    assert (psnr["mean_regret"], psnr["worst_regret"]) == (pytest.approx(2.5), pytest.approx(5))
    assert [one["spearman"] for one in psnr["problems"]] == pytest.approx([0.8, 1.0])  # 1 - 6 * 2 / (4 * 15)
    assert psnr["problems"][0]["codec"] == "jpeg:quality=10"
    assert psnr["time_share"] == pytest.approx(10 / 1000)
    # the expectation of a random pick is the mean over all choices
    assert table["random"]["problems"][0]["regret"] == pytest.approx(100 * (0.45 - 0.375))
    assert [row["rule"] for row in regret_table(problems)] == ["psnr", "random"]


def test_the_rank_correlation_of_constants_is_none() -> None:
    row = regret_table([make_problem("a", {"psnr": [1, 1, 1, 1]}, [0.3, 0.4, 0.5, 0.6])])[0]
    assert row["spearman"] is None
    assert row["mean_regret"] == pytest.approx(0)  # of equal scores, more exemplars
    json.dumps(row, allow_nan=False)


def test_the_weights_of_the_gain_are_recovered_and_non_negative() -> None:
    problems = [make_problem(name, {}, []) for name in "abc"]
    assert fit_gain(problems) == pytest.approx(WEIGHTS, abs=1e-6)
    harmful = [replace(one, by_seed=one.by_seed - 0.5 * one.quantities["growth"][:, None]) for one in problems]
    fitted = fit_gain(harmful)
    assert min(fitted.values()) >= 0
    assert fitted["growth"] == pytest.approx(0)


def test_an_alignment_without_pilots_is_assumed_no_better_than_none() -> None:
    problem = make_problem("a", {}, [])
    unseen = {**problem.quantities, "shift_if_train": np.zeros(6)}
    harmless = problem.by_seed + WEIGHTS["shift_if_train"] * problem.quantities["shift_if_train"][:, None] / 100
    fitted = fit_gain([replace(problem, quantities=unseen, by_seed=harmless)])
    assert fitted["shift_if_train"] == fitted["shift_if_none"] == pytest.approx(WEIGHTS["shift_if_none"])


def test_unaligned_pilots_do_not_influence_the_other_weights() -> None:
    problem = make_problem("a", {}, [])
    odd = problem.by_seed + np.array([0, 0, 0, 0, 0.4, -0.3])[:, None]
    fitted = fit_gain([replace(problem, by_seed=odd)])
    for name in ("growth", "feature_distortion", "structure_loss"):
        assert fitted[name] == pytest.approx(WEIGHTS[name])


def test_the_cost_of_alignment_comes_from_settings_piloted_both_ways() -> None:
    problem = make_problem("a", {}, [0.3, 0.5, 0.42, 0.38, 0.9, 0.7])
    shifts = np.array([0, 0, 0.2, 0.4, 0, 0.1])
    problem = replace(
        problem,
        codecs=("raw", "webp", "webp", "webp", "avif", "jpeg2000"),
        aligns=("none", "both", "none", "train", "both", "none"),
        quantities=problem.quantities
        | {"shift_if_none": shifts * [1, 1, 1, 0, 1, 1], "shift_if_train": shifts * [0, 0, 0, 1, 0, 0]},
    )
    fitted = fit_gain([problem])
    assert fitted["shift_if_none"] == pytest.approx(8 / 0.2)  # jpeg2000 has no aligned pilot to compare with
    assert fitted["shift_if_train"] == pytest.approx(12 / 0.4)


def test_settings_piloted_under_train_and_both_count_once_per_problem() -> None:
    def pair(name: str, both: float, train: float) -> Problem:
        problem = make_problem(name, {}, [0.3, both, train])
        return replace(problem, codecs=("raw", "webp", "webp"), aligns=("none", "both", "train"))

    problems = [pair("a", 0.5, 0.6), pair("a", 0.5, 0.6), pair("b", 0.5, 0.4), pair("c", 0.5, 0.5)]
    found = calibrate_rules(problems)
    assert (found["train_pairs"], found["train_held"]) == (3, 2)
    assert calibrate_rules([make_problem(name, {}, []) for name in "ab"])["train_pairs"] == 0


def test_parameters_are_fitted_without_the_problems_own_dataset() -> None:
    problems = [make_problem(name, {}, [], noise=0.02) for name in ("a", "a, larger", "b")]
    mine = left_out_scores("predicted-gain", problems[0], problems)
    other = fit_gain([problems[2]])
    np.testing.assert_allclose(mine, predicted_gain(problems[0].quantities, other))
    scrambled = [replace(one, by_seed=one.by_seed[::-1]) if one.dataset == "a" else one for one in problems]
    np.testing.assert_allclose(left_out_scores("predicted-gain", scrambled[0], scrambled), mine)


def test_rules_fitted_on_the_evaluated_dataset_are_marked_in_sample() -> None:
    alone, others = [make_problem("a", {}, [])], [make_problem(name, {}, []) for name in "ab"]
    assert regret_table(alone)[0]["in_sample"]
    assert not regret_table(others)[0]["in_sample"]


def test_shipped_parameters_are_evaluated_unchanged(monkeypatch: pytest.MonkeyPatch) -> None:
    problems = [make_problem(name, {}, []) for name in "ab"]
    shipped = replace(calibration(), parameters={"predicted-gain": WEIGHTS | {"growth": 0.0}}, datasets=["c"])
    row = regret_table(problems, shipped)[0]
    wanted = [predicted_gain(one.quantities, shipped.parameters["predicted-gain"]).max() for one in problems]
    assert [one["expected_gain"] for one in row["problems"]] == pytest.approx(wanted)
    assert not row["in_sample"]
    assert regret_table(problems, replace(shipped, datasets=["a"]))[0]["in_sample"]


def test_measured_and_expected_gains_are_reported() -> None:
    problems = [make_problem("a", {"psnr": [0, 3, 2, 1]}, [0.30, 0.40, 0.45, 0.35]), make_problem("b", {}, [])]
    one = regret_table(problems[:1])[0]["problems"][0]
    assert one["gain"] == pytest.approx(10)


def test_the_threshold_is_the_smallest_with_the_least_regret() -> None:
    problem = make_problem("a", {}, [0.1, 0.2, 0.3, 0.25])  # ratios 0, 0.1, 0.2, 0.3: 0.2 admits the third
    assert fit_threshold([problem]) == {"threshold": 0.2}


def test_the_calibration_has_the_best_rule_and_the_widest_datasets_95_percent_error() -> None:
    problems = [make_problem(name, {}, [], noise=noise) for name, noise in zip("abc", (0.01, 0.01, 0.1), strict=True)]
    found = calibrate_rules(problems)
    assert found["default_rule"] == "predicted-gain"
    errors = [abs(left_out_scores("predicted-gain", one, problems) - one.gains)[1:] for one in problems]
    assert found["interval"] == pytest.approx(max(np.quantile(one, 0.95) for one in errors))
    assert found["most_growth"] == max(one.quantities["growth"].max() for one in problems)
    assert calibrate_rules(problems[:1])["interval"] is None
    json.dumps(found, allow_nan=False)


def test_a_problem_survives_a_json_round_trip() -> None:
    problem = make_problem("a", {"psnr": [0, 3, 2, 1]}, [0.30, 0.40, 0.45, 0.35])
    again = Problem.from_dict(json.loads(json.dumps(problem.as_dict())))
    assert regret_table([again]) == regret_table([problem])
    np.testing.assert_array_equal(again.gains, problem.gains)


def test_the_packages_calibration_is_complete() -> None:
    known = calibration()
    assert known.default_rule in RULES
    assert set(known.parameters) == set(PARAMETRIC)
    assert {row["rule"] for row in known.regret} == set(RULES)
    measured = known.regret_of(known.default_rule)
    assert measured is not None
    assert measured["mean_regret"] == min(row["mean_regret"] for row in known.regret if row["rule"] != "random")


def test_the_docs_show_this_calibration() -> None:
    text = (Path(__file__).parents[2] / "docs" / "advice.md").read_text()
    for row in calibration().regret:
        rho = "-" if row["rule"] == "random" else f"{row['spearman']:.2f}"
        behind = "-" if row["behind_pilots"] is None else f"{row['behind_pilots']:.1f}"
        cells = f"{row['mean_regret']:.1f} | {row['worst_regret']:.1f} | {rho} | {behind}"
        assert f"| `{row['rule']}` | {cells} |" in text


LOSSY = [
    ("jpeg:quality=50", 100, {"fmse_relative": 0.01, "ssim": 0.9}),
    ("jpeg:quality=10", 40, {"fmse_relative": 0.04, "ssim": 0.7}),
]


def gain_by_hand(held: float, distortion: float, loss: float) -> float:
    return 20 * more_kept(held) - 50 * distortion - 10 * loss


def more_kept(held: float) -> float:
    """Growth over two exemplars: of two stages with half of the classes each, only the first can be forgotten."""
    return float(np.exp(-((4 / held) ** 6)) - np.exp(-((4 / 2) ** 6))) / 2


def test_the_best_choice_at_a_budget_agrees_with_a_hand_calculation(tmp_path: Path) -> None:
    evidence = make_evidence(LOSSY, raw_exemplars=2)
    plan = BudgetPlan.of(evidence, WEIGHTS)
    four_without_raw = uniform_bytes(100, 4, CLASSES, shared=0)
    for budget, held in (
        (four_without_raw, {"jpeg:quality=50": 4, "jpeg:quality=10": 9.5}),
        (evidence.budget, {"raw": 2, "jpeg:quality=50": 20, "jpeg:quality=10": PER_CLASS}),
        (20 * evidence.budget, dict.fromkeys(["raw", "jpeg:quality=50", "jpeg:quality=10"], PER_CLASS)),
    ):
        for codec, count in held.items():
            payload = {"raw": RAW_BYTES, "jpeg:quality=50": 100, "jpeg:quality=10": 40}[codec]
            assert held_by_a_memory(tmp_path / f"{codec} {budget}", budget, payload) == count
        losses = {"raw": (0, 0), "jpeg:quality=50": (0.1, 0.1), "jpeg:quality=10": (0.2, 0.3)}
        gains = {codec: gain_by_hand(count, *losses[codec]) for codec, count in held.items()}
        row = plan.at(budget)
        assert row is not None
        assert row["codec"] == max(gains, key=lambda codec: gains[codec])
        assert row["expected_gain"] == pytest.approx(max(gains.values()))
        assert row["raw_gain"] == (pytest.approx(gains["raw"]) if "raw" in gains else None)
    with pytest.raises(BudgetTooSmall):
        held_by_a_memory(tmp_path / "raw", four_without_raw, RAW_BYTES)
    assert plan.at(100) is None


def test_the_curve_doubles_up_to_all_images_raw() -> None:
    evidence = make_evidence(LOSSY, raw_exemplars=2)
    curve = BudgetPlan.of(evidence, WEIGHTS).curve(evidence.budget)
    sizes = [row["budget_bytes"] for row in curve]
    assert evidence.budget in sizes
    assert sizes == sorted(sizes)
    assert sizes[-2] < everything(evidence) <= sizes[-1]
    gains = [row["expected_gain"] for row in curve]
    assert gains == sorted(gains)


def test_the_smallest_budget_is_exact_to_the_byte() -> None:
    evidence = make_evidence(LOSSY, raw_exemplars=2)
    plan = BudgetPlan.of(evidence, WEIGHTS)
    assert plan.ceiling == pytest.approx(20 * more_kept(PER_CLASS))
    found = plan.smallest(within=7.0)
    assert found["expected_gain"] >= plan.ceiling - 7
    below = plan.at(found["budget_bytes"] - 1)
    assert below is not None
    assert below["expected_gain"] < plan.ceiling - 7
    assert plan.smallest(within=0.0)["codec"] == "raw"
