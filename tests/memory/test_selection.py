"""Herding against a brute-force greedy search."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.foundation.errors import UsageError
from toolkit.memory.selection import herding_order, random_order, require_selection


def brute_force(features: np.ndarray, count: int) -> list[int]:
    normalised = features / np.linalg.norm(features, axis=1, keepdims=True)
    mean = normalised.mean(axis=0)
    picked: list[int] = []
    for _ in range(count):
        rest = [i for i in range(len(features)) if i not in picked]
        distances = [np.linalg.norm(mean - normalised[[*picked, i]].mean(axis=0)) for i in rest]
        picked.append(rest[int(np.argmin(distances))])
    return picked


@pytest.mark.parametrize("seed", range(5))
def test_herding_keeps_the_mean_of_every_prefix_as_near_as_any_greedy_choice(seed: int) -> None:
    features = np.random.default_rng(seed).normal(1.0, 1.0, (40, 7))
    assert herding_order(features, 25).tolist() == brute_force(features, 25)


def test_herding_never_repeats_and_can_order_everything() -> None:
    features = np.random.default_rng(0).normal(size=(500, 16)).astype(np.float32)
    assert sorted(herding_order(features)) == list(range(500))


def test_herding_returns_at_most_all_images() -> None:
    assert len(herding_order(np.eye(3), 10)) == 3


def test_images_without_features_are_still_ordered() -> None:
    assert sorted(herding_order(np.zeros((4, 3)))) == [0, 1, 2, 3]


def test_random_order_is_a_seeded_permutation() -> None:
    first, second = (random_order(20, np.random.default_rng(4)) for _ in range(2))
    assert first.tolist() == second.tolist()
    assert sorted(first) == list(range(20))


def test_unknown_selection_lists_the_known_ones() -> None:
    with pytest.raises(UsageError, match="herding, random"):
        require_selection("best")
