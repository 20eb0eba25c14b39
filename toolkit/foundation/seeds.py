"""Independent streams of randomness from one seed."""

from __future__ import annotations

import numpy as np


def derive(seed: int, *path: int) -> int:
    """A 63-bit seed for the stream named by ``path``; the same on every platform and Python version."""
    state = np.random.SeedSequence([seed, *path]).generate_state(1, np.uint64)
    return int(state[0] >> np.uint64(1))
