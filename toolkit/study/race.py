"""Which pilots a race runs next: sequential halving over seeds (Karnin, Koren & Somekh, ICML 2013).

Every round runs one more seed of each arm that is left, the same seed for all, and the better part stays. References
run in every round, so that gains over them are always paired. What runs next is a function of the finished runs alone,
so a stopped race goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from toolkit.study.decision import Accuracies, worth

EFFORTS = {"quick": (4, 2), "usual": (6, 3, 2), "thorough": (8, 4, 2, 2)}
"""Arms in each round, without references."""


class Wanted(NamedTuple):
    """A run: the arm's index, and the seed's."""

    arm: int
    seed: int


class Standing(NamedTuple):
    """A race so far.

    Attributes:
        rounds: arms of each round that has begun, references last.
        dropped_after: for each arm the rounds it took part in; None while it is still in, or if it never started.
        wanted: runs of the current round that are missing; empty when the race is over.
    """

    rounds: list[list[int]]
    dropped_after: list[int | None]
    wanted: list[Wanted]


def standing(found: Accuracies, order: Sequence[int], references: Sequence[int], arms: Sequence[int]) -> Standing:
    """Where a race is.

    Args:
        found: the accuracies so far; a run that failed has accuracy minus infinity, and its arm is out.
        order: arms other than references, the most promising first.
        references: arms that run in every round.
        arms: number of arms in each round, one of :data:`EFFORTS`; fewer if there are not as many.
    """
    rounds: list[list[int]] = []
    dropped: list[int | None] = [None] * len(found.by_seed)
    left = list(order)
    for number, count in enumerate(arms):
        if number:
            left = _best(found.up_to(number), left)
        for arm in left[count:] if number else ():
            dropped[arm] = number
        left = left[:count]
        rounds.append([*left, *references])
        wanted = [Wanted(arm, number) for arm in rounds[-1] if np.isnan(found.by_seed[arm, number])]
        if wanted:
            return Standing(rounds, dropped, wanted)
    return Standing(rounds, dropped, [])


def _best(found: Accuracies, arms: Sequence[int]) -> list[int]:
    """Arms in order of their expected worth, those that failed last."""
    mean = worth(found).mean(axis=0)
    failed = np.isneginf(found.by_seed).any(axis=1)
    return sorted(arms, key=lambda arm: (bool(failed[arm]), -mean[arm]))
