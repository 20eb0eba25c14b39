"""Control charts of a stream of images: weighted means of a few scores, and a kernel two-sample distance.

Each score of an image becomes a normal score by its rank in the baseline. One chart per score follows its
exponentially weighted moving average (Roberts, Technometrics 1959) at two speeds: fast for large changes, slow for
small ones. Another chart follows the distance between the average embedding of recent images and that of the baseline,
with random Fourier features of a Gaussian kernel: the streaming maximum mean discrepancy of the two samples (Keriven,
Garreau and Poli, "NEWMA", 2020). Thresholds come from streams simulated from one half of the baseline and tested
against the other half, so they include the estimation error.

numpy only; this file does not know what the scores mean.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field

import numpy as np
from scipy.special import ndtri

from toolkit.foundation.errors import UsageError

WEIGHTS = (0.05, 0.01)
"""Weight of the newest image in the fast and the slow average."""
FALSE_ALARMS = 1e-4
"""Expected false alarms per image: one in 10,000."""
RAREST = 1e-5
"""Lowest false-alarm rate per image that the simulated streams can resolve."""
LEAST = 50
"""Minimum number of baseline images; fewer say too little about the tails."""
EMBEDDED = 128
_SPLITS, _STREAMS, _BLOCK, _BLOCKS = 32, 4, 1000, 3
KERNEL = "features"


@dataclass
class Charts:
    """Baseline, thresholds and current averages.

    Attributes:
        names: of the K scores.
        baseline: float64 (K, M), sorted values of each score on accepted images.
        mean: float64 (D,), mean embedding of the baseline.
        thresholds: float64 (2, K + 1), of the K score charts and the kernel chart at each speed.
        averages: float64 (2, K), averages of the normal scores.
        recent: float64 (2, D), average embeddings.
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
        """Charts with accepted images as their baseline.

        Args:
            names: of the scores.
            scores: float64 (M, K) of accepted images.
            embeddings: float64 (M, D) of the same images.
            false_alarms: expected alarms per image while nothing changes.
            seed: seed of the simulated streams.

        Raises:
            UsageError: fewer than :data:`LEAST` images, scores that are not finite, or a rate out of range.
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
        """Restart the stream."""
        self.averages = np.zeros((len(WEIGHTS), len(self.names)))
        self.recent = np.tile(self.mean, (len(WEIGHTS), 1))
        self.seen = 0

    def take(self, scores: np.ndarray, embedding: np.ndarray) -> dict[str, float]:
        """Add the next image.

        Args:
            scores: float64 (K,).
            embedding: float64 (D,).

        Returns:
            Height of each chart as a fraction of its threshold, the larger of both speeds; above 1 is an alarm.
        """
        normal = np.array([_normal_score(known, value) for known, value in zip(self.baseline, scores, strict=True)])
        weights = np.array(WEIGHTS)[:, None]
        self.averages += weights * (normal - self.averages)
        self.recent += weights * (embedding - self.recent)
        self.seen += 1
        heights = _heights(self.averages, self.recent - self.mean) / self.thresholds
        return dict(zip((*self.names, KERNEL), heights.max(axis=0).tolist(), strict=True))

    def arrays(self) -> dict[str, np.ndarray]:
        """The whole state as arrays, for a file."""
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
    def from_arrays(cls, found: Mapping[str, np.ndarray]) -> Charts:
        """Charts from the result of :meth:`arrays`."""
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
    """Chart heights (..., K + 1) from averages (..., K) and centred embeddings (..., D)."""
    return np.concatenate([np.abs(averages), np.square(apart).sum(axis=-1, keepdims=True)], axis=-1)


def _normal_score(known: np.ndarray, value: float) -> float:
    """Normal quantile of a value's rank in sorted baseline values; ties count half."""
    low, high = np.searchsorted(known, value, "left"), np.searchsorted(known, value, "right")
    return float(ndtri(((low + high) / 2 + 0.5) / (len(known) + 1)))


def _thresholds(
    scores: np.ndarray, embeddings: np.ndarray, false_alarms: float, rng: np.random.Generator
) -> np.ndarray:
    """Heights that the charts together exceed ``false_alarms`` times per image while nothing changes.

    Streams are drawn from one half of the baseline and tested against the other. The maximum of each chart in each
    block of a stream gives the probability of an alarm in a block; all charts share one quantile.
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
    for _ in range(40):  # bisect for the quantile at which a block has the wanted probability of an alarm
        middle = (low + high) / 2
        chance = (maxima > np.quantile(maxima, middle, axis=0)).any(axis=1).mean()
        low, high = (middle, high) if chance > wanted else (low, middle)
    return np.maximum(np.quantile(maxima, high, axis=0), 1e-12).reshape(len(WEIGHTS), -1)


def _block_maxima(normal: np.ndarray, apart: np.ndarray, draws: np.ndarray) -> np.ndarray:
    """Maximum of each chart in each block of each stream, float64 (blocks x streams, charts).

    Args:
        normal, apart: normal scores float64 (N, K) and centred embeddings float64 (N, D).
        draws: int (images, streams), the images of each stream.
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
    return np.concatenate(found[1:])  # the first block is the warm-up of the averages


@dataclass(frozen=True)
class Embedding:
    """Random Fourier features of a Gaussian kernel on standardised features (Rahimi and Recht, NeurIPS 2007).

    Attributes:
        centre, scale: float64 (F,), mean and standard deviation for standardising features.
        frequencies: float64 (F, D / 2).
    """

    centre: np.ndarray
    scale: np.ndarray
    frequencies: np.ndarray

    @classmethod
    def of(cls, features: np.ndarray, seed: int = 0) -> Embedding:
        """An embedding for features like these, float (M, F); the kernel width is their median distance."""
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
