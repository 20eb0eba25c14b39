"""Control charts of a stream of images: weighted means of a few scores, and a kernel two-sample distance.

Each score of an image is turned into a normal score by its place among the baseline's; a chart follows the
exponentially weighted moving average (Roberts, Technometrics 1959) of each, a quick one for large changes and a slow
one for small ones. Another follows the distance between the average embedding of recent images and the baseline's,
with random Fourier features of a Gaussian kernel: the maximum mean discrepancy between the two samples, streaming
(Keriven, Garreau and Poli, "NEWMA", 2020). Thresholds come from simulated streams of baseline images against the other
half of them, so that what estimation errs is counted in.

numpy only: what is watched is another module's business.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from scipy.special import ndtri

from toolkit.foundation.errors import UsageError

WEIGHTS = (0.05, 0.01)
"""Of the newest image in the quick and in the slow average."""
FALSE_ALARMS = 1e-4
"""An image: one in 10,000."""
RAREST = 1e-5
"""False alarms an image that the simulated streams can still tell from none."""
LEAST = 50
"""Baseline images: fewer tell too little of the tails."""
EMBEDDED = 128
_SPLITS, _STREAMS, _BLOCK, _BLOCKS = 32, 4, 1000, 3
KERNEL = "features"


@dataclass
class Charts:
    """A baseline, thresholds, and where the averages stand.

    Attributes:
        names: of the scores, K of them.
        baseline: float64 (K, M), each score's values on accepted images, sorted.
        mean: float64 (D,), the baseline's mean embedding.
        thresholds: of each score's chart and of the kernel's at each speed, float64 (2, K + 1).
        averages: of the normal scores, float64 (2, K).
        recent: average embeddings, float64 (2, D).
        seen: images so far.
    """

    names: tuple[str, ...]
    baseline: np.ndarray
    mean: np.ndarray
    thresholds: np.ndarray
    averages: np.ndarray = field(default_factory=lambda: np.zeros(0))
    recent: np.ndarray = field(default_factory=lambda: np.zeros(0))
    seen: int = 0

    def __post_init__(self) -> None:
        if self.averages.shape != (len(WEIGHTS), len(self.names)):
            self.start_over()

    @classmethod
    def of(
        cls,
        names: tuple[str, ...],
        scores: np.ndarray,
        embeddings: np.ndarray,
        *,
        false_alarms: float = FALSE_ALARMS,
        seed: int = 0,
    ) -> Charts:
        """Charts of accepted images.

        Args:
            names: of the scores.
            scores: float64 (M, K) of accepted images.
            embeddings: float64 (M, D) of the same images.
            false_alarms: expected alarms an image while nothing changes.
            seed: of the simulated streams.

        Raises:
            UsageError: fewer than :data:`LEAST` images, scores that are not finite, or an impossible rate.
        """
        if len(scores) < LEAST:
            raise UsageError(f"a baseline needs at least {LEAST} accepted images, got {len(scores)}")
        if not (np.isfinite(scores).all() and np.isfinite(embeddings).all()):
            raise UsageError("the accepted images have scores that are not finite")
        if not RAREST <= false_alarms < 0.1:
            raise UsageError(f"the false-alarm rate must be {RAREST:g} or more and below 0.1, got {false_alarms:g}")
        thresholds = _thresholds(scores, embeddings, false_alarms, np.random.default_rng(seed))
        return cls(names, np.sort(scores.T, axis=1), embeddings.mean(axis=0), thresholds)

    def start_over(self) -> None:
        """Forget the stream, as if the first image were still to come."""
        self.averages = np.zeros((len(WEIGHTS), len(self.names)))
        self.recent = np.tile(self.mean, (len(WEIGHTS), 1))
        self.seen = 0

    def take(self, scores: np.ndarray, embedding: np.ndarray) -> dict[str, float]:
        """The next image; each chart's height as a share of its threshold at the speed where it is higher: an alarm
        where it is above 1.

        Args:
            scores: float64 (K,).
            embedding: float64 (D,).
        """
        normal = np.array([_normal_score(known, value) for known, value in zip(self.baseline, scores, strict=True)])
        weights = np.array(WEIGHTS)[:, None]
        self.averages += weights * (normal - self.averages)
        self.recent += weights * (embedding - self.recent)
        self.seen += 1
        heights = _heights(self.averages, self.recent - self.mean) / self.thresholds
        return dict(zip((*self.names, KERNEL), heights.max(axis=0).tolist(), strict=True))

    def arrays(self) -> dict[str, np.ndarray]:
        """Everything as arrays, for a file."""
        return {
            "names": np.array(self.names),
            "baseline": self.baseline,
            "mean": self.mean,
            "thresholds": self.thresholds,
            "averages": self.averages,
            "recent": self.recent,
            "seen": np.array(self.seen),
        }

    @classmethod
    def from_arrays(cls, found: Mapping[str, Any]) -> Charts:
        """What :meth:`arrays` gave."""
        return cls(
            tuple(str(name) for name in found["names"]),
            found["baseline"],
            found["mean"],
            found["thresholds"],
            found["averages"],
            found["recent"],
            int(found["seen"]),
        )


def _heights(averages: np.ndarray, apart: np.ndarray) -> np.ndarray:
    """Of each score's chart and of the kernel's, (..., K + 1), from averages (..., K) and embeddings less the mean."""
    return np.concatenate([np.abs(averages), np.square(apart).sum(axis=-1, keepdims=True)], axis=-1)


def _normal_score(known: np.ndarray, value: float) -> float:
    """The normal quantile of a value's place among sorted ones; ties count half."""
    low, high = np.searchsorted(known, value, "left"), np.searchsorted(known, value, "right")
    return float(ndtri(((low + high) / 2 + 0.5) / (len(known) + 1)))


def _thresholds(
    scores: np.ndarray, embeddings: np.ndarray, false_alarms: float, rng: np.random.Generator
) -> np.ndarray:
    """Heights that all charts together pass ``false_alarms`` times an image while nothing changes.

    Streams are drawn from one half of the baseline and judged against the other. The highest point of each chart in
    each block of a stream gives the chance that a block has an alarm; all charts share one quantile.
    """
    normals, aparts, draws = [], [], []
    for split in range(_SPLITS):
        order = rng.permutation(len(scores))
        known, pool = order[: len(order) // 2], order[len(order) // 2 :]
        normal = np.stack(
            [
                [_normal_score(column, value) for value in scores[pool, k]]
                for k, column in enumerate(np.sort(scores[known].T, axis=1))
            ],
            axis=1,
        )
        normals.append(normal)
        aparts.append(embeddings[pool] - embeddings[known].mean(axis=0))
        draws.append(split * len(pool) + rng.integers(0, len(pool), ((_BLOCKS + 1) * _BLOCK, _STREAMS)))
    maxima = _block_maxima(np.concatenate(normals), np.concatenate(aparts), np.concatenate(draws, axis=1))
    wanted = -np.expm1(-false_alarms * _BLOCK)
    low, high = 0.5, 1.0
    for _ in range(40):  # the quantile of each chart at which a block of all of them has the wanted chance
        middle = (low + high) / 2
        chance = (maxima > np.quantile(maxima, middle, axis=0)).any(axis=1).mean()
        low, high = (middle, high) if chance > wanted else (low, middle)
    return np.maximum(np.quantile(maxima, high, axis=0), 1e-12).reshape(len(WEIGHTS), -1)


def _block_maxima(normal: np.ndarray, apart: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Highest point of each chart in each block of each stream, float64 (blocks x streams, charts).

    Args:
        normal, apart: normal scores float64 (N, K), and embeddings less the mean they are judged by, float64 (N, D).
        draws: int (images, streams), what each stream brings.
    """
    weights = np.array(WEIGHTS)[:, None]
    averages = np.zeros((draws.shape[1], len(WEIGHTS), normal.shape[1]))
    recent = np.zeros((draws.shape[1], len(WEIGHTS), apart.shape[1]))
    found = []
    for block in np.split(draws, _BLOCKS + 1):
        best = np.zeros((draws.shape[1], len(WEIGHTS), normal.shape[1] + 1))
        for drawn in block:
            averages += weights * (normal[drawn][:, None] - averages)
            recent += weights * (apart[drawn][:, None] - recent)
            np.maximum(best, _heights(averages, recent), out=best)
        found.append(best.reshape(len(best), -1))
    return np.concatenate(found[1:])  # the first block warms the averages up


@dataclass(frozen=True)
class Embedding:
    """Random Fourier features of a Gaussian kernel on standardised features (Rahimi and Recht, NeurIPS 2007).

    Attributes:
        centre, scale: float64 (F,), what features are standardised by.
        frequencies: float64 (F, D / 2).
    """

    centre: np.ndarray
    scale: np.ndarray
    frequencies: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, seed: int = 0) -> Embedding:
        """For features like these, float (M, F); the kernel is as wide as their median distance."""
        rng = np.random.default_rng(seed)
        centre, scale = features.mean(axis=0), np.maximum(features.std(axis=0), 1e-6)
        standard = (features - centre) / scale
        pairs = rng.integers(0, len(features), (2, 2000))
        width = np.median(np.linalg.norm(standard[pairs[0]] - standard[pairs[1]], axis=1)) or 1.0
        return cls(centre, scale, rng.standard_normal((features.shape[1], EMBEDDED // 2)) / width)

    def __call__(self, features: np.ndarray) -> np.ndarray:
        """Embeddings float64 (N, D) of features float (N, F)."""
        phases = ((features - self.centre) / self.scale) @ self.frequencies
        return np.concatenate([np.cos(phases), np.sin(phases)], axis=1) * np.sqrt(2 / EMBEDDED)
