"""What part of a regret is the pilots' own luck: the best mean of many choices is the best partly by chance.

A few seeds measure a choice's accuracy with an error. Regret counts it against every rule, since the choice that all
are held against is the luckiest of the good ones. Here is how much of it nobody could avoid, and the comparison that
is free of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np
from scipy.stats import rankdata

from toolkit.advice.problem import Problem

_DRAWS = 10_000


def standard_error(by_seed: np.ndarray) -> float | None:
    """Of a choice's mean over seeds, from accuracies (choices, seeds); None with one seed or one choice.

    Seeds draw class orders that all choices share, so what counts is what is left of each run when its choice's and its
    seed's means are taken out.
    """
    choices, seeds = by_seed.shape
    if choices < 2 or seeds < 2:
        return None
    rest = by_seed - by_seed.mean(axis=1, keepdims=True) - by_seed.mean(axis=0) + by_seed.mean()
    return float(np.sqrt(np.square(rest).sum() / ((choices - 1) * (seeds - 1)) / seeds))


def standard_errors(problem: Problem) -> np.ndarray | None:
    """:func:`standard_error` of each choice, float64 (k,), None with one seed.

    Choices under which coded and original images meet (lossy, not aligned) vary several times as much from seed to seed
    as the others, so that each of both groups has an error of its own, where it has at least two choices.
    """
    pooled = standard_error(problem.by_seed)
    if pooled is None:
        return None
    errors = np.full(len(problem.accuracy), pooled)
    for group in (problem.unaligned, ~problem.unaligned):
        own = standard_error(problem.by_seed[group])
        errors[group] = pooled if own is None else own
    return errors


def within_reach(problem: Problem) -> dict[str, Any]:
    """What a rule that knew the true accuracies could reach, held against the measured ones.

    The variance between the choices' means is that of their true accuracies plus the mean square of their standard
    errors. True accuracies are then drawn from what the measured ones leave open, all taken as normal: what the truly
    best choice lacks on average, and how the draws' ranks correlate with the measured ones.

    Returns:
        problem, choices, lowest and highest accuracy, standard_error (of a choice that is aligned or lossless) and
        standard_error_unaligned (None where all are), correlation (Spearman's), and regret in points; the last four
        None where it has one seed.
    """
    means, errors = problem.accuracy, standard_errors(problem)
    facts = {
        "problem": problem.name,
        "choices": len(means),
        "lowest": float(means.min()),
        "highest": float(means.max()),
    }
    if errors is None:
        unknown = ("standard_error", "standard_error_unaligned", "correlation", "regret")
        return {**facts, **dict.fromkeys(unknown)}
    free = problem.unaligned
    facts["standard_error"] = float(errors[~free].mean()) if not free.all() else None
    facts["standard_error_unaligned"] = float(errors[free].mean()) if free.any() else None
    true_variance = max(0.0, float(np.var(means, ddof=1) - np.mean(errors**2)))
    if not true_variance:  # any choice is as good
        return {**facts, "correlation": 0.0, "regret": 100 * float(means.max() - means.mean())}
    share = true_variance / (true_variance + errors**2)
    centre = np.average(means, weights=share)
    noise = np.sqrt(share) * errors * np.random.default_rng(0).normal(size=(_DRAWS, len(means)))
    truth = centre + share * (means - centre) + noise
    regret = 100 * float(means.max() - means[truth.argmax(axis=1)].mean())
    ranks, measured = rankdata(truth, axis=1), rankdata(means)
    ranks, measured = ranks - ranks.mean(axis=1, keepdims=True), measured - measured.mean()
    lengths = np.linalg.norm(ranks, axis=1) * np.linalg.norm(measured)
    return {**facts, "correlation": float(np.mean(ranks @ measured / lengths)), "regret": regret}


def behind_pilots(problem: Problem, chosen: int) -> float | None:
    """Points by which pilots of all seeds but one choose better than a rule, judged by the seed that is left out.

    A seed that had no part in the choice judges both alike: negative where the rule's choice is the better one. None
    with one seed.
    """
    seeds = problem.by_seed.shape[1]
    if seeds < 2:
        return None
    lacks = []
    for left_out in range(seeds):
        best = np.delete(problem.by_seed, left_out, axis=1).mean(axis=1).argmax()
        lacks.append(problem.by_seed[best, left_out] - problem.by_seed[chosen, left_out])
    return 100 * float(np.mean(lacks))
