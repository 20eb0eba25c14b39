"""What pilots say so far about arms, from a Bayesian two-way model of their accuracy.

The accuracy of arm a with seed s, in points, is modelled as::

    y[a, s] = worth[a] + seed[s] + noise[a, s]
    worth[a] = offset[group of a] + slope * expected[a] + common[setting of a] + own[a]

``seed`` has a flat prior: a seed draws the class order, which all arms share, so that only differences between arms
count. ``common + own`` is normal with standard deviation ``spread``; what a setting is worth is partly the same under
its alignments. Lossless arms have an offset and a further deviation of their own: what raw pixels cost says little
about differences between the others. Arms that mix coded and original images lose by it, from nothing to many points,
and have a larger ``noise``. The standard deviations are unknown. Their priors are wide around what the pilots of six
stored problems have (``notebooks/studies/regret.py``), and all is
integrated over a grid of their values, so that two seeds do not pass for certainty. There, aligned lossy settings
differed by 0 to 1.3 points beyond noise, and the probe's order was worth nothing among them, so ``slope`` has mean 0.

All arms are tested on the same images. What they would reach on others differs by an error that does not shrink with
more seeds: the variance over images of how much more often one arm is right than another, over many seeds.
"""

from __future__ import annotations

import itertools
import math
from dataclasses import dataclass
from enum import IntEnum
from typing import NamedTuple

import numpy as np

DRAWS = 4000
_SPREADS = np.geomspace(0.3, 20, 9)
_NOISES = np.geomspace(0.3, 8, 8)
_RATIOS = {1.0: 0.45, 2.0: 0.3, 4.0: 0.25}
"""Noise of mixed arms relative to the others, with prior probabilities."""
_SPREAD_PRIOR, _NOISE_PRIOR = (1.8, 0.6), (1.8, 0.8)
"""Median and standard deviation of the logarithm, of the prior of the spread and of the noise. They and the share in
common were chosen so that probabilities come out true in simulated races."""
_OFFSET, _APART, _LOSS = 8.0, 6.0, 5.0
"""Standard deviation of the offset of lossless arms, and of each of them around it; what mixing costs, as the deviation
of a half-normal number."""
_COMMON = 0.3
"""Share of the spread's variance that the alignments of a setting have in common."""
_SLOPE = 0.3
"""Standard deviation of the slope, in spreads."""
_FLAT = 1e4
"""Variance of seeds."""
LEAST_SEEDS = 2
"""An arm with fewer seeds is not chosen."""
_SURE = 0.9


class Group(IntEnum):
    """Kinds of arms that differ in what they cost and how they vary."""

    ALIKE = 0
    """All images are coded alike, or in a way that leaves no trace."""
    LOSSLESS = 1
    MIXED = 2
    """Coded exemplars beside original images."""


@dataclass(frozen=True)
class Accuracies:
    """Results of a race so far.

    Attributes:
        by_seed: float64 (arms, seeds), last accuracy in points; NaN where there is no run, minus infinity where it
            failed.
        group: int (arms,), the :class:`Group` of each arm.
        expected: float64 (arms,), what was expected before, with mean 0 and standard deviation 1; zeros if nothing.
        setting: int (arms,), equal for arms that differ in alignment only; None if all differ.
        images: number of test images.
        disagreement: variance over images of how much more often one arm is right than another, over many seeds.

    Raises:
        ValueError: shapes that do not fit, or numbers that are impossible.
    """

    by_seed: np.ndarray
    group: np.ndarray
    expected: np.ndarray
    setting: np.ndarray | None = None
    images: int = 10**9
    disagreement: float = 0.1

    def __post_init__(self) -> None:
        arms = self.by_seed.shape[:1]
        if self.by_seed.ndim != 2 or self.group.shape != arms or self.expected.shape != arms:
            raise ValueError("by_seed must be (arms, seeds), group and expected (arms,)")
        if not np.isfinite(self.expected).all() or np.isposinf(self.by_seed).any():
            raise ValueError("expected must be finite, and no accuracy infinite")
        if self.images < 1 or not 0 <= self.disagreement <= 1:
            raise ValueError("images must be at least 1, and disagreement from 0 to 1")


class Verdict(NamedTuple):
    """What the accuracies say.

    Attributes:
        leader: index of the arm with the highest expected worth among those with two seeds; None if there is none.
        probability: that its worth is within ``eps`` points of the best arm's, arms that have not run included.
        shortfall: expected points by which it is worse than the best arm.
        runner_up: the next arm that has run; None if there is none.
        alike: arms that have an even chance or better to be within ``eps`` of the best, the leader first.
        to_settle: further seeds of leader and runner-up that would make the sign of their difference 90 % sure; 0 if it
            is, None if the test images cannot tell them apart with any number of seeds.
    """

    leader: int | None
    probability: float
    shortfall: float
    runner_up: int | None
    alike: list[int]
    to_settle: int | None


class _Posterior(NamedTuple):
    """Posteriors for each point of the grid, their spreads and weights, and what of the unknowns makes arms' worth.

    ``common`` is the part of it that is common to the alignments of a setting.
    """

    points: list[_Given]
    spreads: list[float]
    weights: np.ndarray
    of_arms: np.ndarray
    common: np.ndarray


def expected_worth(found: Accuracies) -> np.ndarray:
    """The arms' expected worth given the accuracies, float64 (arms,), in points, up to a constant."""
    known = _posterior(found)
    means = np.array([one.mean[: known.of_arms.shape[1]] for one in known.points])
    return known.of_arms @ (known.weights @ means)


def worth(found: Accuracies, seed: int = 0) -> np.ndarray:
    """Draws of the arms' worth given the accuracies, float64 (:data:`DRAWS`, arms), in points, up to a constant.

    An arm is at most as far above the best one that ran as that is below 100 %.

    Args:
        found: the accuracies.
        seed: of the draws.
    """
    random = np.random.default_rng(seed)
    known = _posterior(found)
    drawn = []
    unknown = (found.group == Group.MIXED) & ~np.isfinite(found.by_seed).any(axis=1)
    for one, spread, count in zip(known.points, known.spreads, random.multinomial(DRAWS, known.weights), strict=True):
        if count:
            normal = random.standard_normal((count, len(one.mean)))
            unknowns = one.mean + np.linalg.solve(one.factor.T, normal.T).T
            values = unknowns[:, : known.of_arms.shape[1]] @ known.of_arms.T
            # mixing costs something: a normal number would let one of many arms that never ran be far the best
            own, loss = random.standard_normal((2, count, int(unknown.sum())))
            shared = unknowns[:, : known.of_arms.shape[1]] @ known.common[unknown].T
            own *= math.sqrt(1 - _COMMON) * spread
            values[:, unknown] = unknowns[:, :1] * found.expected[unknown] + shared + own - _LOSS * np.abs(loss)
            drawn.append(values)
    own = 100 * math.sqrt(found.disagreement / 2 / found.images)
    draws = random.permutation(np.concatenate(drawn)) + own * random.standard_normal((DRAWS, len(found.by_seed)))
    ran = np.flatnonzero(np.isfinite(found.by_seed).any(axis=1))
    if len(ran):
        level = np.nanmean(np.where(np.isfinite(found.by_seed[ran]), found.by_seed[ran], np.nan), axis=1)
        best = ran[level.argmax()]  # no arm is right about more than all images
        draws = np.minimum(draws, draws[:, [best]] + max(0.0, 100 - float(level.max())))
    return draws


def _posterior(found: Accuracies) -> _Posterior:
    arms, seeds = found.by_seed.shape
    rows, columns = np.nonzero(np.isfinite(found.by_seed))
    values = found.by_seed[rows, columns]
    values = values - (values.mean() if len(values) else 0.0)
    settings = np.unique(np.arange(arms) if found.setting is None else found.setting, return_inverse=True)[1]
    by_setting = np.eye(settings.max(initial=-1) + 1)[settings]
    of_arms = np.column_stack(
        [found.expected, found.group == Group.LOSSLESS, found.group == Group.MIXED, np.eye(arms), by_setting]
    ).astype(float)
    design = np.hstack([of_arms[rows], np.eye(seeds)[columns]])
    mixed = (found.group == Group.MIXED)[rows]
    ratios = _RATIOS if mixed.any() else {1.0: 1.0}
    grid = list(itertools.product(_SPREADS, _NOISES, ratios))
    apart = np.choose(found.group, [0.0, _APART, _LOSS * math.sqrt(1 - 2 / math.pi)])
    points = [_given(design, values, apart, by_setting.shape[1], mixed, *point) for point in grid]
    logs = np.array([one.log_evidence for one in points])
    logs += [_log_normal(spread, *_SPREAD_PRIOR) + _log_normal(noise, *_NOISE_PRIOR) for spread, noise, _ in grid]
    logs += [math.log(ratios[ratio]) for _, _, ratio in grid]
    weights = np.exp(logs - logs.max())
    common = np.zeros_like(of_arms)
    common[:, 3 + arms :] = by_setting
    spreads = [float(spread) for spread, _, _ in grid]
    return _Posterior(points, spreads, weights / weights.sum(), of_arms, common)


def decide(found: Accuracies, eps: float = 2.0, draws: np.ndarray | None = None) -> Verdict:
    """What the accuracies say about the best arm.

    Args:
        found: the accuracies.
        eps: points of accuracy that do not matter.
        draws: from :func:`worth`, if they are at hand.
    """
    draws = worth(found) if draws is None else draws.copy()
    failed = np.isneginf(found.by_seed).any(axis=1)
    draws[:, failed] = -np.inf
    mean, best = draws.mean(axis=0), draws.max(axis=1)
    seeds = np.isfinite(found.by_seed).sum(axis=1)
    ranked = [arm for arm in np.argsort(-mean, kind="stable").tolist() if not failed[arm]]
    able = [arm for arm in ranked if seeds[arm] >= LEAST_SEEDS]
    if not able:
        return Verdict(None, 0.0, math.nan, None, [], None)
    leader = able[0]
    others = [arm for arm in ranked if arm != leader]
    ran = [arm for arm in others if seeds[arm]]
    near = (best[:, None] - draws <= eps).mean(axis=0)
    return Verdict(
        leader,
        float(near[leader]),
        float((best - draws[:, leader]).mean()),
        ran[0] if ran else None,
        [leader, *(arm for arm in others if near[arm] >= 0.5)],
        seeds_to_settle(found, draws, leader, ran[0]) if ran else 0,
    )


def difference(draws: np.ndarray, arm: int, other: int) -> tuple[float, float, float]:
    """Expected difference in worth of two arms in points, and its 95 % interval."""
    apart = draws[:, arm] - draws[:, other]
    low, high = np.quantile(apart, [0.025, 0.975])
    return float(apart.mean()), float(low), float(high)


class _Given(NamedTuple):
    """The posterior of all unknowns for given deviations: mean, Cholesky factor of the precision, log evidence."""

    mean: np.ndarray
    factor: np.ndarray
    log_evidence: float


def _given(
    design: np.ndarray,
    values: np.ndarray,
    apart: np.ndarray,
    settings: int,
    mixed: np.ndarray,
    spread: float,
    noise: float,
    ratio: float,
) -> _Given:
    """Bayesian linear regression with known variances.

    Args:
        design: (values, unknowns): slope, two offsets, arms, settings, seeds.
        values: accuracies.
        apart: (arms,), what each arm's worth varies by beyond the spread.
        settings: number of settings.
        mixed: (values,), whether an accuracy is of a mixed arm.
        spread, noise, ratio: a point of the grid.
    """
    unknowns = design.shape[1]
    prior = np.zeros(unknowns)
    prior[2] = -_LOSS * math.sqrt(2 / math.pi)
    precision = np.full(unknowns, 1 / _FLAT)
    precision[0], precision[1:3] = 1 / (_SLOPE * spread) ** 2, 1 / _OFFSET**2
    precision[3 : 3 + len(apart)] = 1 / ((1 - _COMMON) * spread**2 + apart**2)
    precision[3 + len(apart) : 3 + len(apart) + settings] = 1 / (_COMMON * spread**2)
    weights = 1 / np.where(mixed, ratio * noise, noise) ** 2
    factor = np.linalg.cholesky(np.diag(precision) + (design.T * weights) @ design)
    rest = values - design @ prior
    pulled = np.linalg.solve(factor, design.T @ (weights * rest))
    mean = prior + np.linalg.solve(factor.T, pulled)
    log_evidence = 0.5 * (
        np.log(weights).sum()
        + np.log(precision).sum()
        - 2 * np.log(np.diag(factor)).sum()
        - (weights * rest**2).sum()
        + pulled @ pulled
    )
    return _Given(mean, factor, float(log_evidence))


def _log_normal(value: float, median: float, deviation: float) -> float:
    return -0.5 * (math.log(value / median) / deviation) ** 2


def seeds_to_settle(found: Accuracies, draws: np.ndarray, leader: int, other: int) -> int | None:
    """Further seeds of two arms that would make the sign of their difference 90 % sure, if the expected one is true.

    Args:
        found: the accuracies.
        draws: of what the arms are worth, from :func:`worth`.
        leader, other: the two arms.

    Returns:
        0 if the sign is, None if the test images cannot tell the arms apart with any number of seeds.
    """
    apart = draws[:, leader] - draws[:, other]
    positive = float((apart > 0).mean())
    if max(positive, 1 - positive) >= _SURE:
        return 0
    wanted = abs(float(apart.mean())) / 1.2816  # the deviation at which a normal difference is 90 % sure
    fixed = 1e4 * found.disagreement / found.images
    if wanted**2 <= fixed:
        return None
    seeds = np.isfinite(found.by_seed[[leader, other]]).sum(axis=1).min()
    each = max(0.0, float(apart.var()) - fixed) * max(1, int(seeds))
    return max(1, math.ceil(each / (wanted**2 - fixed)) - int(seeds))
