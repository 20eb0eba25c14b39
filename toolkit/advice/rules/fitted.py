"""Rules with parameters: formulas over quantities, and the fit of their parameters on measured problems."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np
from scipy.optimize import nnls

from toolkit.advice.calibration import GAIN, calibration
from toolkit.advice.evidence import Evidence
from toolkit.advice.problem import Problem
from toolkit.advice.rules.base import pick
from toolkit.advice.rules.quantities import Quantities, tabulate

Parameters = dict[str, float]
_THRESHOLDS = (0.0005, 0.001, 0.002, 0.005, 0.01, 0.02, 0.05, 0.1, 0.2, 0.5)


@dataclass(frozen=True)
class Parametric:
    """A rule with parameters.

    Attributes:
        quantities: names of its inputs.
        combine: (quantities, parameters) -> score per choice, float64 (k,).
        fit: problems -> best parameters.
    """

    quantities: tuple[str, ...]
    combine: Callable[[Quantities, Parameters], np.ndarray]
    fit: Callable[[Sequence[Problem]], Parameters]


_GAINS = ("growth",)
_WORSE = ("feature_distortion", "structure_loss")
_SHIFTS = {"none": "shift_if_none", "train": "shift_if_train"}
_LOSSES = (*_WORSE, *_SHIFTS.values())


def predicted_gain(quantities: Quantities, weights: Parameters) -> np.ndarray:
    """Expected points of last accuracy over raw pixels at the same budget: gain by more exemplars minus losses.

    gain = w1 * growth - w2 * feature distortion - w3 * structure loss - w4 * domain shift, where the shift is 0 for
    choices that do not mix coded and original images, and w4 depends on the alignment. All weights are non-negative.
    """
    gained = sum(weights[name] * quantities[name] for name in _GAINS)
    lost = sum(weights[name] * quantities[name] for name in _LOSSES)
    return np.asarray(gained - lost)


def fit_gain(problems: Sequence[Problem]) -> Parameters:
    """Non-negative least-squares weights, with equal weight per problem.

    For choices that mix coded and original images the shift varies from seed to seed, which would add noise to the
    other weights. These are therefore fitted on the other choices only. The shift's weights are fitted on settings
    piloted with and without alignment or, if there are none, on the residuals. If no pilot was aligned ``train``, its
    weight equals that under ``none``: assumed no better until measured.
    """
    signs = {**dict.fromkeys(_GAINS, 1.0), **dict.fromkeys(_WORSE, -1.0)}
    rows, wanted = [], []
    for problem in problems:
        apart = ~np.any([problem.quantities[name] > 0 for name in _SHIFTS.values()], axis=0)
        root = 1 / np.sqrt(apart.sum())
        rows.append(root * np.stack([sign * problem.quantities[name][apart] for name, sign in signs.items()], axis=1))
        wanted.append(root * problem.gains[apart])
    weights, _ = nnls(np.concatenate(rows), np.concatenate(wanted))
    found = dict(zip(signs, weights.tolist(), strict=True)) | dict.fromkeys(_SHIFTS.values(), 0.0)
    expected = [predicted_gain(problem.quantities, found) for problem in problems]
    for align, name in _SHIFTS.items():
        shifts, losses = np.concatenate([cost_of(align, problem) for problem in problems], axis=1)
        if not shifts.any():
            shifts = np.concatenate([problem.quantities[name] for problem in problems])
            losses = np.concatenate([gain - problem.gains for gain, problem in zip(expected, problems, strict=True)])
        if shifts.any():
            found[name] = max(0.0, float(shifts @ losses / (shifts @ shifts)))
    if not any(problem.quantities[_SHIFTS["train"]].any() for problem in problems):
        found[_SHIFTS["train"]] = found[_SHIFTS["none"]]
    return found


def cost_of(align: str, problem: Problem) -> np.ndarray:
    """Shifts of settings piloted under ``align`` and ``both``, and the points by which ``both`` is better; (2, n)."""
    at = {choice: index for index, choice in enumerate(zip(problem.codecs, problem.aligns, strict=True))}
    pairs = [(k, at[codec, "both"]) for (codec, how), k in at.items() if how == align and (codec, "both") in at]
    without, aligned = np.array(pairs, np.int64).reshape(-1, 2).T
    shifts = problem.quantities[_SHIFTS[align]][without]
    return np.stack([shifts, problem.gains[aligned] - problem.gains[without]])


def consistent_volume(quantities: Quantities, parameters: Parameters) -> np.ndarray:
    """MRDC's choice: the most exemplars whose volume is consistent with the originals'; others rank by inconsistency.

    MRDC (2202.06592) compares by eye; here the log ratio must lie within a threshold.
    """
    off = np.abs(quantities["volume_ratio"])
    return np.where(off <= parameters["threshold"], np.log1p(quantities["exemplars"]), -off)


def fit_threshold(problems: Sequence[Problem]) -> Parameters:
    """The smallest threshold with the least mean regret."""

    def mean_regret(threshold: float) -> float:
        scores = [consistent_volume(problem.quantities, {"threshold": threshold}) for problem in problems]
        picks = [pick(one, of.aligns, of.exemplars) for one, of in zip(scores, problems, strict=True)]
        return float(np.mean([problem.regret(one) for problem, one in zip(problems, picks, strict=True)]))

    return {"threshold": min(_THRESHOLDS, key=mean_regret)}


PARAMETRIC: dict[str, Parametric] = {
    GAIN: Parametric((*_GAINS, *_LOSSES), predicted_gain, fit_gain),
    "dpp-volume": Parametric(("volume_ratio", "exemplars"), consistent_volume, fit_threshold),
}
"""All parametric rules by name."""


def _calibrated(name: str) -> Callable[[Evidence], np.ndarray]:
    """A rule with the parameters of the package's calibration."""
    parametric = PARAMETRIC[name]

    def score(evidence: Evidence) -> np.ndarray:
        return parametric.combine(tabulate(evidence, parametric.quantities), calibration().parameters[name])

    return score


calibrated_gain = _calibrated(GAIN)
calibrated_volume = _calibrated("dpp-volume")
