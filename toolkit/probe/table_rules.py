"""Rules that need the probe's table only: bytes, distortion in pixels and in features, exemplars that fit."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np

from toolkit.probe.evidence import Evidence


def most_exemplars(evidence: Evidence) -> np.ndarray:
    """The number of exemplars a class."""
    return evidence.by_setting(evidence.exemplars_per_class)


def best_quality(evidence: Evidence) -> np.ndarray:
    """PSNR, and among lossless settings, whose PSNR is equal, the number of exemplars."""
    exemplars = [evidence.exemplars_per_class(index) for index in range(len(evidence.settings))]
    tie_breaker = 1e-6 / max(exemplars)
    return evidence.by_setting(
        lambda index: float(evidence.settings[index].row["psnr"]) + tie_breaker * exemplars[index]
    )


def at_random(evidence: Evidence) -> np.ndarray:
    """Scores drawn with a fixed seed."""
    return np.random.default_rng(0).random(len(evidence.choices))


def at_equal_rate(measure: str, lower_is_better: bool) -> Callable[[Evidence], np.ndarray]:
    """The codec that is best at the same bytes an image, then that codec's setting at the knee.

    The paper's choice of codec (2403.06288), by FMSE or, as a control, by PSNR or SSIM. Codecs are compared in the
    middle, on a logarithmic scale, of the range of bytes that all of them cover; a curve that does not reach there
    counts with its nearest end. Lossless settings come last.
    """

    def score(evidence: Evidence) -> np.ndarray:
        families: dict[str, list[int]] = {}
        for index, setting in enumerate(evidence.settings):
            if not setting.lossless:
                families.setdefault(family(setting.codec), []).append(index)
        knees = knee_scores(evidence)
        ranks = _ranks({name: _at_common_rate(evidence, families, name, measure) for name in families}, lower_is_better)
        rank_of = {index: ranks[name] for name, members in families.items() for index in members}
        worst = len(families) + 1
        return evidence.by_setting(lambda index: -rank_of.get(index, worst) + _below_one(knees[index]))

    return score


def family(spec: str) -> str:
    """The codec without its settings, wrappers included: ``downscale|jpeg``."""
    return "|".join(part.split(":")[0].strip() for part in spec.split("|"))


def _at_common_rate(evidence: Evidence, families: dict[str, list[int]], name: str, measure: str) -> float:
    def curve(members: list[int]) -> tuple[np.ndarray, np.ndarray]:
        rows = sorted((evidence.settings[index].row for index in members), key=lambda row: row["stored_bytes"])
        return np.log([row["stored_bytes"] for row in rows]), np.array([row[measure] for row in rows])

    rates = {other: curve(members)[0] for other, members in families.items()}
    middle = (max(rate[0] for rate in rates.values()) + min(rate[-1] for rate in rates.values())) / 2
    return float(np.interp(middle, *curve(families[name])))


def _ranks(values: dict[str, float], lower_is_better: bool) -> dict[str, int]:
    ordered = sorted(values, key=lambda name: values[name] if lower_is_better else -values[name])
    return {name: rank for rank, name in enumerate(ordered)}


def _below_one(value: float) -> float:
    """Any number to (-1, 1), in order."""
    return value / (1 + abs(value))


def fmse_knee(evidence: Evidence) -> np.ndarray:
    """The curvature of :func:`knee_scores`."""
    knees = knee_scores(evidence)
    return evidence.by_setting(knees.__getitem__)


def knee_scores(evidence: Evidence) -> list[float]:
    """Curvature of relative FMSE against the logarithm of exemplars, for every setting.

    The curve runs through the settings that no other beats in both; each axis is scaled to the curve's extent. Menger
    curvature, the inverse radius of the circle through a setting and its neighbours on the curve, counted where the
    curve turns upwards; 0 at the ends. Settings off the curve get minus their distance above it.
    """
    x = np.log([evidence.exemplars_per_class(index) for index in range(len(evidence.settings))])
    y = np.array([float(setting.row["fmse_relative"]) for setting in evidence.settings])
    front = [i for i in np.argsort(-x, kind="stable") if not any(_beats(x, y, j, i) for j in range(len(x)))]
    front = sorted(front, key=lambda i: x[i])
    x = (x - x[front[0]]) / max(float(np.ptp(x[front])), 1e-12)
    y = y / max(float(y[front].max()), 1e-12)
    scores = [float(np.interp(x[i], x[front], y[front]) - y[i]) for i in range(len(x))]
    for place, index in enumerate(front):
        inside = 0 < place < len(front) - 1
        around = [front[place - 1], index, front[place + 1]] if inside else []
        scores[index] = max(0.0, menger_curvature(x[around], y[around])) if inside else 0.0
    return scores


def _beats(x: np.ndarray, y: np.ndarray, one: int, other: int) -> bool:
    """Whether one setting stores as many and distorts as little, and one of both truly; of equals the first."""
    if (x[one], y[one]) == (x[other], y[other]):
        return one < other
    return bool(x[one] >= x[other] and y[one] <= y[other])


def menger_curvature(x: np.ndarray, y: np.ndarray) -> float:
    """Inverse radius of the circle through three points (3,), positive where the path turns left; 0 on a line."""
    a, b, c = (np.array([x[i], y[i]]) for i in range(3))
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    sides = np.linalg.norm(b - a) * np.linalg.norm(c - b) * np.linalg.norm(c - a)
    return float(2 * area / sides) if sides > 0 else 0.0
