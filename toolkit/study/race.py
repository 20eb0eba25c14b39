"""Which pilots a race runs next: sequential halving over seeds (Karnin, Koren & Somekh, ICML 2013).

Every round runs one more seed of each arm that is left, the same seed for all, and the better part stays. References
run in every round, so that gains over them are always paired. What runs next is a function of the finished runs alone,
so a stopped race goes on where it was.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import replace
from typing import NamedTuple

import numpy as np

from toolkit.study.decision import Accuracies, expected_worth

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

    An arm with a run that failed is out. In the first round the next in order takes its place.

    Args:
        found: the accuracies so far, with a column for each round or more; the column is the seed.
        order: arms other than references, the most promising first.
        references: arms that run in every round.
        arms: number of arms in each round, one of :data:`EFFORTS`; fewer if there are not as many.
    """
    rounds: list[list[int]] = []
    dropped: list[int | None] = [None] * len(found.by_seed)
    known = np.full_like(found.by_seed, np.nan)  # of the rounds so far, so that no other run changes what they decided
    left, kept = list(order), list(references)
    for number, count in enumerate(arms):
        if number:
            mean = expected_worth(replace(found, by_seed=known))
            left = sorted(left, key=lambda arm: -mean[arm])
            for arm in left[count:]:
                dropped[arm] = number
            left = left[:count]
        else:
            for arm in left:
                if np.isneginf(found.by_seed[arm, 0]):
                    dropped[arm] = 1
            left = [arm for arm in left if dropped[arm] is None][:count]
        rounds.append([*left, *kept])
        known[rounds[-1], number] = found.by_seed[rounds[-1], number]
        wanted = [Wanted(arm, number) for arm in rounds[-1] if np.isnan(found.by_seed[arm, number])]
        for arm in rounds[-1]:
            if np.isneginf(found.by_seed[arm, number]):
                dropped[arm] = number + 1
        left, kept = ([arm for arm in some if dropped[arm] is None] for some in (left, kept))
        if wanted:
            return Standing(rounds, dropped, wanted)
    return Standing(rounds, dropped, [])
