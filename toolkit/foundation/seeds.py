"""Parse seeds, and derive independent random streams from one seed."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.foundation.errors import UsageError, quoted

LARGEST = 2**63 - 1
"""The largest seed that an index of runs can store."""


def derive(seed: int, *path: int) -> int:
    """A 63-bit seed for the random stream identified by ``path``; the same on every platform and Python version."""
    state = np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def parse_seeds(text: str) -> list[int]:
    """Parse ``0,1,2``; empty text gives an empty list.

    Raises:
        UsageError: not whole numbers from 0 to :data:`LARGEST`.
    """
    try:
        seeds = [int(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"seeds must be whole numbers such as 0,1,2, got {quoted(text)}") from None
    if any(not 0 <= seed <= LARGEST for seed in seeds):
        raise UsageError(f"seeds must be at least 0 and at most {LARGEST}, got {quoted(text)}")
    return seeds


def require_distinct(seeds: Sequence[int]) -> None:
    """Require at least one seed and no duplicates.

    Raises:
        UsageError: there are no seeds, or duplicates.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise UsageError(f"seeds must be distinct, with at least one, got {quoted(list(seeds))}")
