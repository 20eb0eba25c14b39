"""One number per channel: means and standard deviations of pixels."""

from __future__ import annotations

import math
from collections.abc import Iterable

from toolkit.foundation.errors import UsageError


def by_channel(name: str, values: Iterable[float], *, positive: bool = False) -> tuple[float, ...]:
    """Three finite numbers, or one for all channels.

    Raises:
        UsageError: any other count, a number that is not finite, or, with ``positive``, a number of 0 or less.
    """
    try:
        numbers = tuple(float(value) for value in values)
    except (TypeError, ValueError):
        numbers = ()
    lowest = 0.0 if positive else -math.inf
    if len(numbers) not in (1, 3) or not all(lowest < number < math.inf for number in numbers):
        kind = "positive" if positive else "finite"
        raise UsageError(f"{name} must be 3 {kind} numbers, one per channel, or 1 for all, got {values!r}")
    return numbers
