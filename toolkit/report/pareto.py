"""The Pareto frontier of a trade-off."""

from __future__ import annotations

from collections.abc import Sequence


def frontier(costs: Sequence[float], values: Sequence[float]) -> list[int]:
    """Indices of the points that no other dominates, cheapest first; of equal points the first.

    A point dominates another if it costs no more and is worth more, or costs less and is worth no less.
    """
    order = sorted(range(len(costs)), key=lambda n: (costs[n], -values[n]))
    best: list[int] = []
    for n in order:
        if not best or values[n] > values[best[-1]]:
            best.append(n)
    return best
