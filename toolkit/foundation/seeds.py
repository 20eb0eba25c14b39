"""Seeds as people write them, and independent streams of randomness from one of them."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np

from toolkit.foundation.errors import UsageError, quoted

LARGEST = 2**63 - 1
"""What an index of runs can hold."""


def derive(seed: int, *path: int) -> int:
    """A 63-bit seed for the stream named by ``path``; the same on every platform and Python version."""
    state = np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))


def parse_seeds(text: str) -> list[int]:
    """``0,1,2`` to a list; empty text to an empty one.

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
    """Refuse no seeds, and the same one twice.

    Raises:
        UsageError: it is so.
    """
    if not seeds or len(set(seeds)) != len(seeds):
        raise UsageError(f"seeds must be distinct and at least one, got {quoted(list(seeds))}")
