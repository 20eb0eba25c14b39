"""The order in which a class's images become exemplars."""

from __future__ import annotations

import numpy as np

from toolkit.foundation.errors import UsageError

SELECTIONS = ("herding", "random")


def herding_order(features: np.ndarray, count: int | None = None, mean: np.ndarray | None = None) -> np.ndarray:
    """Order images so that the mean of every prefix stays close to the class mean.

    The distance form of Welling's herding as described by iCaRL (Rebuffi et al., CVPR 2017, algorithm 4), without
    repeats: each pick minimises the distance between the class mean and the mean of the images picked so far. (The
    widespread dot-product loop picks images twice and stalls.)

    Args:
        features: float array (N, D) of one class's images as decoded from the memory.
        count: how many to pick; None means all.
        mean: float array (D,), the target mean of the picks; None means the mean of the normalised ``features``.

    Returns:
        int64 array (count,) of distinct row indices.
    """
    features = normalised(features)
    images = len(features)
    count = images if count is None else min(count, images)
    mean = features.mean(axis=0) if mean is None else np.asarray(mean, dtype=np.float64)
    squared = np.einsum("nd,nd->n", features, features)
    running = np.zeros_like(mean)
    available = np.ones(images, dtype=bool)
    order = np.empty(count, dtype=np.int64)
    for pick in range(count):
        # |mean - (running + f) / (pick + 1)|^2 times (pick + 1)^2, without the terms constant in f
        score = squared - 2 * (features @ ((pick + 1) * mean - running))
        score[~available] = np.inf
        chosen = int(np.argmin(score))
        order[pick] = chosen
        available[chosen] = False
        running += features[chosen]
    return order


def normalised(features: np.ndarray) -> np.ndarray:
    """Rows of float (N, D) scaled to unit length, as float64; zero rows stay zero."""
    features = np.asarray(features, dtype=np.float64)
    return features / np.maximum(np.linalg.norm(features, axis=1, keepdims=True), 1e-12)


def random_order(images: int, rng: np.random.Generator) -> np.ndarray:
    """A random order of ``images`` indices, int64."""
    return rng.permutation(images)


def require_selection(name: str) -> str:
    """``name`` if it is a known selection.

    Raises:
        UsageError: unknown selection.
    """
    if name not in SELECTIONS:
        raise UsageError(f"unknown selection {name!r}: choose one of {', '.join(SELECTIONS)}")
    return name
