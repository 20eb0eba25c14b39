"""Which exemplars of a class to keep and at which setting each, within the class's bytes: pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from toolkit.foundation.errors import UsageError

_BISECTIONS = 60


@dataclass(frozen=True)
class Spending:
    """How a class's bytes are spent.

    Attributes:
        setting: int64 (N,), the setting each image is kept at, -1 where it is not kept.
        bytes: in all.
        gain: sum of value - distortion over what is kept.
        slope: the Lagrange multiplier, in distortion a byte: what ``adaptive:slope`` takes. 0 where the budget does not
            bind.
    """

    setting: np.ndarray
    bytes: int
    gain: float
    slope: float

    @property
    def exemplars(self) -> int:
        """How many are kept."""
        return int((self.setting >= 0).sum())


def spend(sizes: np.ndarray, distortion: np.ndarray, budget: int, value: float | np.ndarray = 1.0) -> Spending:
    """Keep what has the largest sum of value - distortion within the budget.

    At a slope s every image takes the setting with the least distortion + s x bytes and is kept if that is below its
    value: the best that can be had with the bytes this takes (Everett, Operations Research 11, 1963). The slope is
    found by bisection; what is left of the budget then goes, step by step, where a byte gains most. The result is less
    than the gain of one step away from the best.

    Args:
        sizes: int (N, K), bytes of each image at each setting, labels included.
        distortion: float (N, K).
        budget: bytes.
        value: of an exemplar without distortion, one for all or float (N,), as where later exemplars are worth less.

    Raises:
        UsageError: shapes that do not agree, or sizes below one byte.
    """
    sizes, distortion = np.asarray(sizes), np.asarray(distortion, np.float64)
    if sizes.ndim != 2 or sizes.shape != distortion.shape or sizes.size == 0:
        raise UsageError(f"sizes and distortion must both be (N, K), got {sizes.shape} and {distortion.shape}")
    if sizes.min() < 1:
        raise UsageError(f"sizes must be at least 1 byte, got {sizes.min()}")
    gains = np.broadcast_to(np.asarray(value, np.float64), len(sizes))[:, None] - distortion
    # not keeping an image is one more setting, of no bytes and no gain
    costs = np.concatenate([np.zeros((len(sizes), 1), np.int64), sizes.astype(np.int64)], axis=1)
    gains = np.concatenate([np.zeros((len(sizes), 1)), gains], axis=1)
    images = np.arange(len(sizes))
    low, high = 0.0, float(np.max(gains[:, 1:] / sizes, initial=0.0)) + 1.0
    chosen = _best(costs, gains, low)
    slope = 0.0
    if costs[images, chosen].sum() > budget:
        for _ in range(_BISECTIONS):
            slope = (low + high) / 2
            too_much = costs[images, _best(costs, gains, slope)].sum() > budget
            low, high = (slope, high) if too_much else (low, slope)
        slope = high
        chosen = _best(costs, gains, slope)
        _use_up(chosen, costs, gains, budget)
    return Spending(chosen - 1, int(costs[images, chosen].sum()), float(gains[images, chosen].sum()), slope)


def _best(costs: np.ndarray, gains: np.ndarray, slope: float) -> np.ndarray:
    return np.argmax(gains - slope * costs, axis=1)


def _use_up(chosen: np.ndarray, costs: np.ndarray, gains: np.ndarray, budget: int) -> None:
    """Change ``chosen`` in place while any image's other setting gains and fits, the most a byte first."""
    images = np.arange(len(chosen))
    while True:
        dearer = costs - costs[images, chosen][:, None]
        better = gains - gains[images, chosen][:, None]
        left = budget - int(costs[images, chosen].sum())
        able = (better > 0) & (dearer <= left)
        if not able.any():
            return
        rate = np.where(able, better / np.maximum(dearer, 1e-9), -1.0)
        image, setting = np.unravel_index(int(np.argmax(rate)), rate.shape)
        chosen[image] = setting
