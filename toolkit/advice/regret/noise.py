"""The part of a regret that is seed noise: the best of many means is partly the best by chance.

A mean over a few seeds has an error. Regret counts this error against every rule, because it compares with the choice
whose measured mean is the highest. This file computes the regret that no rule could avoid, and a comparison that is
free of it.
"""

from __future__ import annotations

import numpy as np
from scipy.stats import rankdata

from toolkit.advice.contents import WithinReach
from toolkit.advice.problem import Problem

_DRAWS = 10_000


def standard_error(by_seed: np.ndarray) -> float | None:
    """Standard error of a choice's mean over seeds, from accuracies (choices, seeds); None with one seed or one choice.

    A seed's class order is common to all choices, so the error is computed from the residuals after the choice's and
    the seed's means are removed.
    """
    choices, seeds = by_seed.shape
    if choices < 2 or seeds < 2:
        return None
    rest = by_seed - by_seed.mean(axis=1, keepdims=True) - by_seed.mean(axis=0) + by_seed.mean()
    return float(np.sqrt(np.square(rest).sum() / ((choices - 1) * (seeds - 1)) / seeds))


def standard_errors(problem: Problem) -> np.ndarray | None:
    """:func:`standard_error` of each choice, float64 (k,), None with one seed.

    Choices that mix coded and original images (lossy, not aligned) vary several times as much from seed to seed as the
    others, so each of the two groups has an error of its own if it has at least two choices.
    """
    pooled = standard_error(problem.by_seed)
    if pooled is None:
        return None
    errors = np.full(len(problem.accuracy), pooled)
    for group in (problem.unaligned, ~problem.unaligned):
        own = standard_error(problem.by_seed[group])
        errors[group] = pooled if own is None else own
    return errors


def drawn_truths(means: np.ndarray, errors: np.ndarray, variance: float, normal: np.ndarray) -> np.ndarray:
    """True accuracies drawn from their distribution given measured ones, all assumed normal.

    Args:
        means, errors: measured accuracies (k,), and their standard errors.
        variance: of the true accuracies, above 0.
        normal: standard normal numbers, (k,) or (draws, k); the result has the same shape.
    """
    share = variance / (variance + errors**2)
    centre = np.average(means, weights=share)
    return np.asarray(centre + share * (means - centre) + np.sqrt(share) * errors * normal)


def within_reach(problem: Problem) -> WithinReach:
    """The regret of an oracle that knows the true accuracies, evaluated on the measured ones.

    The variance between the choices' means is that of their true accuracies plus the mean square of their standard
    errors. True accuracies are drawn from their distribution given the measured ones, all assumed normal: the mean
    shortfall of the truly best choice is its regret, and the mean rank correlation (Spearman) of the draws with the
    measured accuracies is the best that a rule could have.
    """
    means, errors = problem.accuracy, standard_errors(problem)
    facts: WithinReach = {
        "problem": problem.name,
        "choices": len(means),
        "lowest": float(means.min()),
        "highest": float(means.max()),
        "standard_error": None,
        "standard_error_unaligned": None,
        "correlation": None,
        "regret": None,
    }
    if errors is None:
        return facts
    free = problem.unaligned
    if not free.all():
        facts["standard_error"] = float(errors[~free].mean())
    if free.any():
        facts["standard_error_unaligned"] = float(errors[free].mean())
    true_variance = max(0.0, float(np.var(means, ddof=1) - np.mean(errors**2)))
    if not true_variance:  # all choices are equally good
        return {**facts, "correlation": 0.0, "regret": 100 * float(means.max() - means.mean())}
    truth = drawn_truths(means, errors, true_variance, np.random.default_rng(0).normal(size=(_DRAWS, len(means))))
    regret = 100 * float(means.max() - means[truth.argmax(axis=1)].mean())
    ranks, measured = rankdata(truth, axis=1), rankdata(means)
    ranks, measured = ranks - ranks.mean(axis=1, keepdims=True), measured - measured.mean()
    lengths = np.linalg.norm(ranks, axis=1) * np.linalg.norm(measured)
    return {**facts, "correlation": float(np.mean(ranks @ measured / lengths)), "regret": regret}


def behind_pilots(problem: Problem, chosen: int) -> float | None:
    """Points by which pilots of all seeds but one choose better than a rule, evaluated on the left-out seed.

    The left-out seed does not influence the choice, so the comparison is unbiased; negative if the rule's choice is
    better. None with one seed.
    """
    seeds = problem.by_seed.shape[1]
    if seeds < 2:
        return None
    lacks = []
    for left_out in range(seeds):
        best = np.delete(problem.by_seed, left_out, axis=1).mean(axis=1).argmax()
        lacks.append(problem.by_seed[best, left_out] - problem.by_seed[chosen, left_out])
    return 100 * float(np.mean(lacks))
