"""Rules based on the probe's table only: bytes, distortion of pixels and features, exemplars that fit."""

from __future__ import annotations

from collections.abc import Callable, Iterable

import numpy as np

from toolkit.advice.evidence import Evidence
from toolkit.codecs.spec import codec_family
from toolkit.probe.contents import figure_of


def most_exemplars(evidence: Evidence) -> np.ndarray:
    """The number of exemplars per class; among settings with equal numbers, the lowest distortion of pixels."""
    return evidence.by_setting(lambda index: evidence.exemplars_per_class(index) + 1e-9 * _psnr(evidence, index))


def best_quality(evidence: Evidence) -> np.ndarray:
    """PSNR; among lossless settings, whose PSNR is equal, the number of exemplars."""
    exemplars = [evidence.exemplars_per_class(index) for index in range(len(evidence.settings))]
    tie_breaker = 1e-6 / max(exemplars)
    return evidence.by_setting(lambda index: _psnr(evidence, index) + tie_breaker * exemplars[index])


def _psnr(evidence: Evidence, index: int) -> float:
    """PSNR of a setting in dB; the probe caps that of lossless settings."""
    value = evidence.settings[index].row["psnr"]
    assert value is not None  # the probe measured it
    return value


def at_random(evidence: Evidence) -> np.ndarray:
    """Scores drawn with a fixed seed."""
    return np.random.default_rng(0).random(len(evidence.choices))


def at_equal_rate(measure: str, lower_is_better: bool) -> Callable[[Evidence], np.ndarray]:
    """The codec that is best at equal bytes per image, then that codec's setting at the knee of its own curve.

    This is the paper's choice of codec (2403.06288), by FMSE or, as a control, by PSNR or SSIM. Codecs are compared at
    the logarithmic middle of the range of bytes that all of them cover; a curve that does not reach it is extended from
    its nearest end. Lossless settings come last.
    """

    def score(evidence: Evidence) -> np.ndarray:
        families: dict[str, list[int]] = {}
        for index, setting in enumerate(evidence.settings):
            if not setting.lossless:
                families.setdefault(codec_family(setting.codec), []).append(index)
        values = {name: _at_common_rate(evidence, families, name, measure) for name in families}
        ranked = sorted(values, key=lambda name: values[name] if lower_is_better else -values[name])
        scores = dict.fromkeys(range(len(evidence.settings)), -float(len(families) + 1))
        for rank, name in enumerate(ranked):
            knees = knee_scores(evidence, families[name])
            scores |= {index: _to_unit(knee) - rank for index, knee in knees.items()}
        return evidence.by_setting(scores.__getitem__)

    return score


fmse_at_equal_rate = at_equal_rate("fmse_relative", True)
psnr_at_equal_rate = at_equal_rate("psnr", False)
ssim_at_equal_rate = at_equal_rate("ssim", False)


def _at_common_rate(evidence: Evidence, families: dict[str, list[int]], name: str, measure: str) -> float:
    def curve(members: list[int]) -> tuple[np.ndarray, np.ndarray]:
        rows = sorted((evidence.settings[index].row for index in members), key=lambda row: row["stored_bytes"])
        return np.log([row["stored_bytes"] for row in rows]), np.array(
            [figure_of(row, measure) for row in rows], dtype=np.float64
        )

    rates = {other: curve(members)[0] for other, members in families.items()}
    middle = (max(rate[0] for rate in rates.values()) + min(rate[-1] for rate in rates.values())) / 2
    return float(np.interp(middle, *curve(families[name])))


def _to_unit(value: float) -> float:
    """A monotonic map of all numbers to (0, 1)."""
    return (1 + value / (1 + abs(value))) / 2


def fmse_knee(evidence: Evidence) -> np.ndarray:
    """The curvature of :func:`knee_scores`, over all settings."""
    return evidence.by_setting(knee_scores(evidence, range(len(evidence.settings))).__getitem__)


def knee_scores(evidence: Evidence, members: Iterable[int]) -> dict[int, float]:
    """Curvature of relative FMSE against the logarithm of exemplars, for each of some settings.

    The curve starts at raw pixels and runs through the Pareto-optimal settings; each axis is scaled to the curve's
    extent. The score is the Menger curvature, the inverse radius of the circle through a setting and its neighbours on
    the curve, where the curve turns upwards, and 0 at the ends. A setting off the curve gets minus its distance above
    the curve.
    """
    indices = list(members)
    rows = [*(evidence.settings[index] for index in indices), evidence.raw]
    x = np.log([max(evidence.held(one), 1e-9) for one in rows])
    y = np.array([float(one.row["fmse_relative"]) for one in rows])
    front = [i for i in range(len(x)) if not any(_beats(x, y, j, i) for j in range(len(x)))]
    front = sorted(front, key=lambda i: x[i])
    x = (x - x[front[0]]) / max(float(np.ptp(x[front])), 1e-12)
    y = y / max(float(y[front].max()), 1e-12)
    scores = {}
    for place, index in enumerate(indices):
        scores[index] = float(np.interp(x[place], x[front], y[front]) - y[place])
        if place in front:
            at = front.index(place)
            around = front[at - 1 : at + 2] if at else []
            scores[index] = max(0.0, menger_curvature(x[around], y[around])) if len(around) == 3 else 0.0
    return scores


def _beats(x: np.ndarray, y: np.ndarray, one: int, other: int) -> bool:
    """Whether one setting dominates another in exemplars and distortion; of equal settings the first does."""
    if (x[one], y[one]) == (x[other], y[other]):
        return one < other
    return bool(x[one] >= x[other] and y[one] <= y[other])


def menger_curvature(x: np.ndarray, y: np.ndarray) -> float:
    """Inverse radius of the circle through three points (3,), positive where the path turns left; 0 on a line."""
    a, b, c = (np.array([x[i], y[i]]) for i in range(3))
    area = (b[0] - a[0]) * (c[1] - a[1]) - (b[1] - a[1]) * (c[0] - a[0])
    sides = np.linalg.norm(b - a) * np.linalg.norm(c - b) * np.linalg.norm(c - a)
    return float(2 * area / sides) if sides > 0 else 0.0
