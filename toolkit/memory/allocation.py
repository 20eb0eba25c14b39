"""How many exemplars each class keeps: pure arithmetic on what they cost."""

from __future__ import annotations

import heapq
from collections.abc import Mapping

import numpy as np

from toolkit.foundation.errors import UsageError


class BudgetTooSmall(UsageError):
    """The budget cannot hold one exemplar per class; ``smallest`` is the smallest budget that can, in bytes."""

    def __init__(self, budget: int, smallest: int, classes: int) -> None:
        super().__init__(
            f"a budget of {budget} bytes cannot hold one exemplar of each of {classes} classes: "
            f"the smallest that works is {smallest} bytes"
        )
        self.smallest = smallest


def allocate(totals: Mapping[int, np.ndarray], budget: int, fixed: int) -> dict[int, int]:
    """The number of candidates each class keeps, always a prefix of its selection order.

    Every class gets an equal share of ``budget - fixed`` and keeps the longest prefix that fits. A class whose
    first exemplar alone exceeds the share keeps only that one, and the others share the rest. Leftover bytes then go,
    one exemplar at a time, to the class that uses the fewest bytes among those that still have candidates.

    Args:
        totals: for each class, the bytes of its first candidate, its first two, and so on, int64 (N,); no class is
            empty.
        budget: total bytes.
        fixed: bytes charged once (headers, tables).

    Returns:
        The number kept for each class, at least 1; their total cost is at most ``budget - fixed``.

    Raises:
        BudgetTooSmall: one exemplar per class does not fit.
    """
    if not totals:
        return {}
    firsts = {label: int(total[0]) for label, total in totals.items()}
    smallest = fixed + sum(firsts.values())
    if smallest > budget:
        raise BudgetTooSmall(budget, smallest, len(totals))
    kept = _equal_shares(totals, firsts, budget - fixed)
    left = budget - fixed - sum(int(totals[label][count - 1]) for label, count in kept.items())
    _distribute(left, kept, totals)
    return kept


def _equal_shares(totals: Mapping[int, np.ndarray], firsts: Mapping[int, int], available: int) -> dict[int, int]:
    oversized: set[int] = set()
    while len(oversized) < len(totals):
        share = (available - sum(firsts[label] for label in oversized)) // (len(totals) - len(oversized))
        over = {label for label in totals if label not in oversized and firsts[label] > share}
        if not over:
            break
        oversized |= over
    return {
        label: 1 if label in oversized else int(np.searchsorted(total, share, side="right"))
        for label, total in totals.items()
    }


def _distribute(left: int, kept: dict[int, int], totals: Mapping[int, np.ndarray]) -> None:
    """Increase ``kept`` in place while any class's next candidate fits into ``left`` bytes."""
    queue = [(int(totals[label][count - 1]), label) for label, count in kept.items()]
    heapq.heapify(queue)
    while queue:
        used, label = heapq.heappop(queue)
        count, total = kept[label], totals[label]
        if count == len(total) or (grown := int(total[count])) - used > left:
            continue  # out of candidates, or the next one will never fit: `left` only shrinks
        left -= grown - used
        kept[label] = count + 1
        heapq.heappush(queue, (grown, label))
