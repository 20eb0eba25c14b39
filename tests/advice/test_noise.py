"""The part of a regret that is seed noise, against hand-computed cases and simulation."""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import pytest
from scipy.stats import spearmanr

from toolkit.advice.problem import Problem
from toolkit.advice.regret.noise import behind_pilots, standard_error, standard_errors, within_reach


def problem_of(by_seed: np.ndarray) -> Problem:
    count = len(by_seed)
    codecs = ("raw", *(f"jpeg:quality={k}" for k in range(1, count)))
    return Problem("a", "a", codecs, ("none",) * count, by_seed, exemplars=np.arange(1.0, count + 1))


def test_pilots_choose_on_the_other_seeds_and_are_evaluated_on_the_left_out_seed() -> None:
    problem = problem_of(np.array([[0.50, 0.20, 0.20], [0.30, 0.45, 0.30], [0.35, 0.30, 0.40]]))
    # without the first seed the second choice is best (0.375), without the second the third (0.375), without the third
    # the second (0.375)
    assert behind_pilots(problem, 0) == pytest.approx(100 * ((0.30 - 0.50) + (0.30 - 0.20) + (0.30 - 0.20)) / 3)
    assert behind_pilots(problem, 1) == pytest.approx(100 * (0 + (0.30 - 0.45) + 0) / 3)


def test_one_seed_gives_no_estimate_of_noise() -> None:
    problem = problem_of(np.array([[0.5], [0.3]]))
    assert behind_pilots(problem, 0) is None
    assert standard_error(problem.by_seed) is None
    assert within_reach(problem)["regret"] is None


def test_the_standard_error_comes_from_the_residuals_of_choices_and_seeds() -> None:
    # choice and seed effects alone leave nothing
    assert standard_error(np.add.outer([0.1, 0.3, 0.5], [0.0, 0.05])) == pytest.approx(0)
    rng = np.random.default_rng(0)
    noisy = np.add.outer(rng.uniform(size=400), [0.0, 0.1, -0.1]) + 0.02 * rng.normal(size=(400, 3))
    assert standard_error(noisy) == pytest.approx(0.02 / np.sqrt(3), rel=0.05)


def test_within_reach_agrees_with_a_simulated_oracle() -> None:
    rng = np.random.default_rng(1)
    truth = rng.normal(0.4, 0.03, (2000, 20))
    measured = truth[:, :, None] + 0.03 * rng.normal(size=(2000, 20, 3))
    means = measured.mean(axis=2)
    regrets = 100 * (means.max(axis=1) - means[np.arange(2000), truth.argmax(axis=1)])
    correlations = [spearmanr(true, mean).statistic for true, mean in zip(truth, means, strict=True)]
    told = [within_reach(problem_of(one)) for one in measured[:100]]
    assert np.mean([one["regret"] for one in told]) == pytest.approx(regrets.mean(), rel=0.25)
    assert np.mean([one["correlation"] for one in told]) == pytest.approx(np.mean(correlations), abs=0.04)


def test_unaligned_choices_have_their_own_standard_error() -> None:
    rng = np.random.default_rng(2)
    unaligned = np.arange(200) % 2 > 0
    noise = np.where(unaligned, 0.05, 0.01)[:, None] * rng.normal(size=(200, 3))
    problem = problem_of(rng.normal(0.4, 0.03, 200)[:, None] + noise)
    problem = replace(problem, quantities={"shift_if_none": 0.2 * unaligned})
    errors = standard_errors(problem)
    assert errors is not None
    assert errors[~unaligned] == pytest.approx(0.01 / np.sqrt(3), rel=0.15)
    assert errors[unaligned] == pytest.approx(0.05 / np.sqrt(3), rel=0.15)
    found = within_reach(problem)
    assert (found["standard_error"], found["standard_error_unaligned"]) == pytest.approx((errors[0], errors[1]))


def test_choices_that_differ_only_by_noise_cannot_be_ranked() -> None:
    same = np.array([[0.4, 0.5], [0.5, 0.4], [0.45, 0.45]])
    found = within_reach(problem_of(same))
    assert found["correlation"] == 0
    assert found["regret"] == pytest.approx(0)
    assert (found["lowest"], found["highest"]) == (pytest.approx(0.45), pytest.approx(0.45))
