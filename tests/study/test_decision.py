"""The model of a race's accuracies: its algebra, its calibration, and what it says in defined cases."""

from __future__ import annotations

import math

import numpy as np
import pytest
from scipy.stats import multivariate_normal

from toolkit.study import decision
from toolkit.study.decision import Accuracies, Group, decide, difference, expected_worth, worth

NAN, FAILED = math.nan, -math.inf


def accuracies(*rows: list[float], expected: list[float] | None = None, **more: object) -> Accuracies:
    by_seed = np.array(rows)
    given = np.zeros(len(rows)) if expected is None else np.array(expected)
    return Accuracies(by_seed, np.zeros(len(rows), int), given, **more)  # type: ignore[arg-type]


def test_for_given_deviations_it_is_the_conditional_of_a_joint_normal() -> None:
    random = np.random.default_rng(0)
    expected, mixed = np.array([1.0, -1.0, 0.0]), np.array([False, True, False])
    rows, columns = np.array([0, 1, 2, 0, 1]), np.array([0, 0, 0, 1, 1])
    values = random.normal(0, 3, 5)
    spread, noise, ratio = 2.0, 1.5, 2.0
    setting = np.array([0, 1, 0])  # of each arm
    design = np.zeros((5, 3 + 3 + 2 + 2))
    design[np.arange(5), 0], design[np.arange(5), 3 + rows], design[np.arange(5), 8 + columns] = expected[rows], 1, 1
    design[np.arange(5), 6 + setting[rows]] = 1
    design[:, 1], design[:, 2] = rows == 2, mixed[rows]
    given = decision._given(design, values, np.where(mixed, 3.0, 0.0), 2, mixed[rows], spread, noise, ratio)
    # the same by the joint distribution of unknowns and values
    own, common = 0.7 * spread**2, 0.3 * spread**2
    before = np.diag([(0.3 * spread) ** 2, 64, 64, own, own + 9, own, common, common, *[1e4] * 2])
    mean = np.array([0, 0, -5 * math.sqrt(2 / math.pi), *[0] * 7])
    joint = design @ before @ design.T + np.diag(np.where(mixed[rows], ratio * noise, noise) ** 2)
    pull = before @ design.T @ np.linalg.inv(joint)
    np.testing.assert_allclose(given.mean, mean + pull @ (values - design @ mean), rtol=1e-6, atol=1e-6)
    np.testing.assert_allclose(
        np.linalg.inv(given.factor @ given.factor.T), before - pull @ design @ before, rtol=1e-5, atol=1e-5
    )
    log_density = multivariate_normal(design @ mean, joint).logpdf(values)
    assert given.log_evidence == pytest.approx(log_density + 2.5 * math.log(2 * math.pi), rel=1e-6)


def test_what_is_said_is_true_as_often_as_said() -> None:
    random = np.random.default_rng(3)
    said, true, covered, short = [], [], [], []
    for _ in range(250):
        spread, noise = np.exp(random.normal(np.log([1.8, 1.8]), [0.6, 0.8]))
        ratio = random.choice([1.0, 2.0, 4.0], p=[0.45, 0.3, 0.25])
        group, expected = random.choice(3, 8, p=[0.6, 0.2, 0.2]), random.standard_normal(8)
        offset = np.where(group == Group.LOSSLESS, random.normal(0, 8), 0)
        own = spread * random.standard_normal(8)
        own += np.where(group == Group.LOSSLESS, 6 * random.standard_normal(8), 0)
        own -= np.where(group == Group.MIXED, 5 * np.abs(random.standard_normal(8)), 0)
        truth = offset + random.normal(0, 0.3) * spread * expected + own
        noises = np.where(group == Group.MIXED, ratio * noise, noise)[:, None] * random.standard_normal((8, 2))
        by_seed = truth[:, None] + 5 * random.standard_normal(2) + noises
        by_seed[3:, 1] = NAN
        found = Accuracies(by_seed, group, expected)
        made = decide(found)
        assert made.leader is not None
        assert made.runner_up is not None
        said.append(made.probability)
        true.append(truth.max() - truth[made.leader] <= 2)
        short.append((made.shortfall, truth.max() - truth[made.leader]))
        _, low, high = difference(worth(found), made.leader, made.runner_up)
        covered.append(low <= truth[made.leader] - truth[made.runner_up] <= high)
    for low, high in ((0, 0.5), (0.5, 0.8), (0.8, 1.01)):
        own = [(one, other) for one, other in zip(said, true, strict=True) if low <= one < high]
        expected_share, share = np.mean(np.array(own, float), axis=0)
        error = math.sqrt(0.25 / len(own))
        assert share == pytest.approx(expected_share, abs=2.5 * error), (low, len(own))
    assert np.mean(covered) == pytest.approx(0.95, abs=0.035)
    assert np.mean(short, axis=0)[0] == pytest.approx(np.mean(short, axis=0)[1], rel=0.2)


def test_seeds_are_common_to_all_arms() -> None:
    """A seed that is harder for everyone says nothing against an arm that ran it."""
    found = accuracies([50, 30, 29], [48, 28, 27], [49, NAN, NAN])
    draws = worth(found)
    assert draws.mean(axis=0)[0] - draws.mean(axis=0)[2] == pytest.approx(0.7, abs=0.7)
    shifted = worth(accuracies([50, 80, 29], [48, 78, 27], [49, NAN, NAN]))
    np.testing.assert_allclose(shifted.mean(axis=0) - shifted.mean(), draws.mean(axis=0) - draws.mean(), atol=0.2)


def test_the_leader_has_two_seeds_and_those_alike_are_named() -> None:
    made = decide(accuracies([40, 41], [39.5, 41.2], [45, NAN], [20, 21]))
    assert made.leader in (0, 1)
    assert made.runner_up == 2
    assert made.alike[0] == made.leader
    assert 2 in made.alike
    assert 3 not in made.alike
    early = decide(accuracies([40, NAN], [39, NAN]))
    assert (early.leader, early.probability, early.runner_up, early.alike, early.to_settle) == (
        None,
        0.0,
        None,
        [],
        None,
    )
    alone = decide(accuracies([40, 41]))
    assert (alone.leader, alone.probability, alone.runner_up, alone.to_settle) == (0, 1.0, None, 0)


def test_an_arm_that_failed_is_out() -> None:
    made = decide(accuracies([40, 41], [60, FAILED], [38, 39]))
    assert (made.leader, made.runner_up) == (0, 2)
    assert 1 not in made.alike


def test_arms_that_tie_exactly_give_a_decision() -> None:
    made = decide(accuracies([40, 40], [40, 40], [40, 40]))
    assert made.leader is not None
    assert made.probability > 0.9
    assert len(made.alike) == 3
    assert made == decide(accuracies([40, 40], [40, 40], [40, 40]))


def test_few_test_images_are_an_error_that_seeds_do_not_remove() -> None:
    rows = ([40, 40.4, 39.8, 40.1], [39, 39.5, 38.9, 39.2])
    many, few = decide(accuracies(*rows, images=100_000)), decide(accuracies(*rows, images=20))
    assert many.probability > 0.95
    assert few.probability < 0.75
    assert few.to_settle is None
    assert many.to_settle == 0
    noisy = decide(accuracies([40, 46], [39, 44], images=100_000))
    assert noisy.to_settle is not None
    assert noisy.to_settle > 0


def test_expectations_count_as_far_as_pilots_agree_with_them() -> None:
    """The slope is learned: where the order of arms agrees with what was expected, an arm that has not run gains."""
    x = [2.0, 1.0, 0.0, -1.0, -2.0, 1.5, -1.5]
    ran = [[40 + 3 * one, 40 + 3 * one] for one in x[:5]]
    agreeing = worth(accuracies(*ran, [NAN, NAN], [NAN, NAN], expected=x)).mean(axis=0)
    assert agreeing[5] > agreeing[6] + 1
    nothing = worth(accuracies([NAN, NAN], [NAN, NAN], expected=[1.0, -1.0])).mean(axis=0)
    assert nothing[0] == pytest.approx(nothing[1], abs=0.15)


def test_the_expected_worth_is_the_mean_of_the_draws() -> None:
    found = accuracies([40, 41], [36, NAN], [30, 35], [NAN, NAN], expected=[0.5, -0.5, 1.0, -1.0])
    np.testing.assert_allclose(expected_worth(found), worth(found).mean(axis=0), atol=0.25)


def test_a_sign_that_is_known_is_settled_whichever_it_is() -> None:
    made = decide(accuracies([40, 40.2, NAN], [80, NAN, NAN], images=10**6))
    assert (made.leader, made.runner_up, made.to_settle) == (0, 1, 0)


@pytest.mark.parametrize(
    "wrong",
    [{"expected": [NAN, 0.0]}, {"images": 0}, {"disagreement": 1.5}, {"expected": [0.0]}],
)
def test_impossible_numbers_are_refused(wrong: dict[str, object]) -> None:
    with pytest.raises(ValueError, match="must"):
        accuracies([40, 41], [39, 38], **wrong)


def test_what_raw_pixels_lose_says_nothing_about_the_others() -> None:
    """Raw pixels 20 points behind the source files do not make lossy settings that never ran better by much."""
    group = np.array([Group.ALIKE, Group.ALIKE, Group.LOSSLESS, Group.LOSSLESS, *[Group.ALIKE] * 20])
    by_seed = np.full((24, 2), NAN)
    by_seed[:4] = [[56.8, 56.6], [56.9, 56.1], [55.4, 54.4], [55.7, 55.1]]
    near = decide(Accuracies(by_seed, group, np.zeros(24)))
    by_seed[2] -= 20
    far = decide(Accuracies(by_seed, group, np.zeros(24)))
    assert far.shortfall == pytest.approx(near.shortfall, abs=0.5)
    assert far.probability == pytest.approx(near.probability, abs=0.1)


def test_no_arm_is_right_about_more_than_all_images() -> None:
    found = accuracies([99.5, 99.0], [97, 90], [NAN, NAN])
    draws = worth(found)
    assert (draws[:, 2] - draws[:, 0]).max() <= 0.75 + 1e-9, "the first is at 99.25 %"
