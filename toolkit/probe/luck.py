"""What part of a regret is the pilots' own luck: the best mean of many choices is the best partly by chance.

A few seeds measure a choice's accuracy with an error. Regret counts it against every rule, since the choice that all
are held against is the luckiest of the good ones. Here is how much of it nobody could avoid, and the comparison that
is free of it.
"""

from __future__ import annotations

from typing import Any

import numpy as np

from toolkit.probe.measured import Problem

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


def within_reach(problem: Problem) -> dict[str, Any]:
    """What a rule that knew the true accuracies could reach, held against the measured ones.

    The variance between the choices' means is that of their true accuracies plus the square of the standard error. The
    root of the true share is the highest correlation to expect. True accuracies are then drawn from what the measured
    ones leave open, both taken as normal, and the regret is what the truly best choice lacks on average.

    Returns:
        problem, choices, lowest and highest accuracy, standard_error, correlation, and regret in points; the last three
        None where it has one seed.
    """
    means, error = problem.accuracy, standard_error(problem.by_seed)
    facts = {
        "problem": problem.name, "choices": len(means), "lowest": float(means.min()), "highest": float(means.max())
    }  # fmt: skip
    if error is None:
        return {**facts, "standard_error": None, "correlation": None, "regret": None}
    spread = float(np.var(means, ddof=1))
    share = max(0.0, 1 - error**2 / spread) if spread > 0 else 0.0
    draws = np.random.default_rng(0).normal(size=(_DRAWS, len(means)))
    truth = means.mean() + share * (means - means.mean()) + np.sqrt(share) * error * draws
    expected = means[truth.argmax(axis=1)].mean() if share else means.mean()  # any choice, where none is truly better
    regret = 100 * float(means.max() - expected)
    return {**facts, "standard_error": error, "correlation": float(np.sqrt(share)), "regret": regret}


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
