"""Spending a class's bytes on exemplars at settings of their own."""

from __future__ import annotations

import itertools

import numpy as np
import pytest

from toolkit.foundation.errors import UsageError
from toolkit.memory.mixed import spend


def brute_force(sizes: np.ndarray, gains: np.ndarray, budget: int) -> float:
    """The most that any choice of settings, -1 for not kept, gains within the budget."""
    best = 0.0
    for choice in itertools.product(range(-1, sizes.shape[1]), repeat=len(sizes)):
        kept = [(image, setting) for image, setting in enumerate(choice) if setting >= 0]
        if sum(int(sizes[one]) for one in kept) <= budget:
            best = max(best, sum(float(gains[one]) for one in kept))
    return best


def curves(seed: int, images: int = 6, settings: int = 3) -> tuple[np.ndarray, np.ndarray]:
    rng = np.random.default_rng(seed)
    sizes = np.sort(rng.integers(20, 300, (images, settings)), axis=1)
    distortion = -np.sort(-rng.uniform(0, 1, (images, settings)), axis=1)
    return sizes, distortion


@pytest.mark.parametrize("seed", range(12))
@pytest.mark.parametrize("share", [0.1, 0.4, 0.8, 2.0])
def test_the_gain_is_within_one_exemplar_of_the_best_and_the_budget_is_kept(seed: int, share: float) -> None:
    sizes, distortion = curves(seed)
    budget = int(share * sizes[:, -1].sum())
    found = spend(sizes, distortion, budget)
    best = brute_force(sizes, 1 - distortion, budget)
    kept = found.setting >= 0
    assert found.bytes == sizes[kept, found.setting[kept]].sum() <= budget
    assert found.gain == pytest.approx((1 - distortion)[kept, found.setting[kept]].sum())
    assert found.exemplars == kept.sum()
    assert best - (1 - distortion).max() < found.gain <= best + 1e-9


@pytest.mark.parametrize("seed", range(12))
def test_what_a_slope_buys_is_the_best_for_its_bytes(seed: int) -> None:
    """Everett's theorem: the budget that a slope uses up to the byte is used as well as can be."""
    sizes, distortion = curves(seed)
    for slope in (0.0005, 0.002, 0.006):
        price = np.concatenate([np.zeros((6, 1)), 1 - distortion - slope * sizes], axis=1)
        chosen = price.argmax(axis=1) - 1
        kept = chosen >= 0
        budget = int(sizes[kept, chosen[kept]].sum())
        assert spend(sizes, distortion, budget).gain == pytest.approx(brute_force(sizes, 1 - distortion, budget))


def test_at_the_slope_found_each_image_pays_for_itself() -> None:
    sizes, distortion = curves(3, 200, 5)
    found = spend(sizes, distortion, 9000)
    lagrangian = np.concatenate([np.zeros((200, 1)), 1 - distortion - found.slope * sizes], axis=1)
    taken = lagrangian[np.arange(200), found.setting + 1]
    assert (lagrangian.max(axis=1) - taken > 1e-9).sum() <= 3, "but for what used up the last bytes"
    assert found.bytes > 0.98 * 9000


def test_a_budget_for_everything_takes_the_best_of_everything() -> None:
    sizes, distortion = curves(1, 50, 4)
    found = spend(sizes, distortion, 10**9)
    assert (found.setting == distortion.argmin(axis=1)).all()
    assert found.slope == 0


def test_no_budget_and_no_value_keep_nothing() -> None:
    sizes, distortion = curves(2)
    assert spend(sizes, distortion, 0).exemplars == 0
    assert spend(sizes, distortion, 10**9, value=-1.0).exemplars == 0


def test_later_exemplars_may_be_worth_less() -> None:
    sizes, distortion = np.full((10, 1), 100), np.zeros((10, 1))
    found = spend(sizes, distortion, 350, value=1 / np.arange(1, 11))
    assert np.flatnonzero(found.setting >= 0).tolist() == [0, 1, 2]


def test_a_dearer_exemplar_means_more_and_coarser_ones() -> None:
    sizes, distortion = np.tile([50, 200], (40, 1)), np.tile([0.6, 0.1], (40, 1))
    coarse, fine = spend(sizes, distortion, 2000, value=2.0), spend(sizes, distortion, 2000, value=0.7)
    assert (coarse.exemplars, fine.exemplars) == (40, 10)


@pytest.mark.parametrize(
    ("sizes", "distortion"),
    [(np.ones((2, 3)), np.ones((3, 2))), (np.ones(3), np.ones(3)), (np.zeros((2, 2)), np.ones((2, 2)))],
)
def test_curves_that_do_not_agree_are_refused(sizes: np.ndarray, distortion: np.ndarray) -> None:
    with pytest.raises(UsageError, match="sizes"):
        spend(sizes, distortion, 10)
