"""How many exemplars each class keeps: pure arithmetic on payload sizes."""

from __future__ import annotations

import heapq
from bisect import bisect_right
from collections.abc import Mapping, Sequence
from itertools import accumulate

from toolkit.foundation.errors import UsageError


class BudgetTooSmall(UsageError):
    """The budget cannot hold one exemplar per class; ``smallest`` is the smallest budget that can, in bytes."""

    def __init__(self, budget: int, smallest: int, classes: int) -> None:
        super().__init__(
            f"a budget of {budget} bytes cannot hold one exemplar of each of {classes} classes: "
            f"the smallest that works is {smallest} bytes"
        )
        self.smallest = smallest


def allocate(sizes: Mapping[int, Sequence[int]], budget: int, shared: int) -> dict[int, int]:
    """The number of candidates each class keeps, always a prefix of its selection order.

    Every class gets an equal share of ``budget - shared`` and keeps the longest prefix that fits. A class whose
    first exemplar alone exceeds the share keeps only that one, and the others share the rest. Leftover bytes then go,
    one exemplar at a time, to the class that uses the fewest bytes among those that still have candidates.

    Args:
        sizes: for each class, the bytes of its candidates in selection order, labels included; no class is empty.
        budget: total bytes.
        shared: bytes charged once (headers, tables).

    Returns:
        The number kept for each class, at least 1; their total cost is at most ``budget - shared``.

    Raises:
        BudgetTooSmall: one exemplar per class does not fit.
    """
    if not sizes:
        return {}
    firsts = {label: candidates[0] for label, candidates in sizes.items()}
    smallest = shared + sum(firsts.values())
    if smallest > budget:
        raise BudgetTooSmall(budget, smallest, len(sizes))
    totals = {label: list(accumulate(candidates)) for label, candidates in sizes.items()}
    kept = _equal_shares(totals, firsts, budget - shared)
    left = budget - shared - sum(totals[label][count - 1] for label, count in kept.items())
    _distribute(left, kept, sizes, totals)
    return kept


def _equal_shares(totals: Mapping[int, list[int]], firsts: Mapping[int, int], available: int) -> dict[int, int]:
    oversized: set[int] = set()
    while len(oversized) < len(totals):
        share = (available - sum(firsts[label] for label in oversized)) // (len(totals) - len(oversized))
        over = {label for label in totals if label not in oversized and firsts[label] > share}
        if not over:
            break
        oversized |= over
    return {label: 1 if label in oversized else bisect_right(total, share) for label, total in totals.items()}


def _distribute(
    left: int, kept: dict[int, int], sizes: Mapping[int, Sequence[int]], totals: Mapping[int, list[int]]
) -> None:
    """Increase ``kept`` in place while any class's next candidate fits into ``left`` bytes."""
    queue = [(totals[label][count - 1], label) for label, count in kept.items()]
    heapq.heapify(queue)
    while queue:
        used, label = heapq.heappop(queue)
        count = kept[label]
        if count == len(sizes[label]) or sizes[label][count] > left:
            continue  # out of candidates, or the next one will never fit: `left` only shrinks
        left -= sizes[label][count]
        kept[label] = count + 1
        heapq.heappush(queue, (used + sizes[label][count], label))
