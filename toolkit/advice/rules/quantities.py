"""Numbers about a choice that parametric rules are made of.

Each is a function from evidence to a value for every choice, as float64 (choices,) in the order of
:attr:`~toolkit.advice.evidence.Evidence.choices`.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable

import numpy as np
import torch

from toolkit.advice.evidence import Evidence
from toolkit.memory.selection import herding_order

Quantities = dict[str, np.ndarray]
"""Quantities by name, each (choices,)."""
_FEWEST = 1.0
"""Exemplars of a class below which nothing changes any more."""
_NEEDED, _SHARPNESS = 4.0, 6.0
"""How many exemplars a class needs for each later stage, and how sharply fewer are too few.

Of exponents from 1 to 6 and of 1 to 8 exemplars these leave the least squares between expected and measured gains of
the regret study's aligned pilots, on all problems and without any one dataset (4 or 5 exemplars): once there are enough
exemplars, more hardly help.
"""


def tabulate(evidence: Evidence, names: Iterable[str]) -> Quantities:
    """The named quantities of every choice."""
    return {name: QUANTITIES[name](evidence) for name in names}


def _by_setting(value: Callable[[Evidence, int], float]) -> Callable[[Evidence], np.ndarray]:
    """A quantity that is the same under every alignment."""
    return lambda evidence: evidence.by_setting(lambda index: value(evidence, index))


def exemplars(evidence: Evidence, setting: int) -> float:
    """How many exemplars of a class the memory will hold."""
    return evidence.held(evidence.settings[setting])


def growth(evidence: Evidence, setting: int) -> float:
    """What :func:`grown` says of the exemplars that fit, against those that fit raw."""
    return float(grown(evidence, np.array(exemplars(evidence, setting))))


def grown(evidence: Evidence, exemplars: np.ndarray) -> np.ndarray:
    """How much more of what was learned is left at the end than with raw pixels: -1 to 1.

    A class that k stages come after keeps exp(-(4 k / exemplars)^6): it is kept while it has more than about four
    exemplars for each of these stages, and lost with fewer. No more can be kept than all, so that a gain has a bound
    however many stages come. The mean over classes.

    Args:
        evidence: when each class comes, and how many exemplars of a class the budget holds as raw pixels.
        exemplars: float64, any shape, of a class on average, that another setting or budget holds.
    """
    return kept(evidence, exemplars) - kept(evidence, np.array(evidence.raw_exemplars))


def kept(evidence: Evidence, exemplars: np.ndarray) -> np.ndarray:
    """The share of what was learned that is left at the end, 0 to 1, in the shape of ``exemplars``."""
    each = np.maximum(evidence.spread(exemplars), _FEWEST)
    return np.asarray(np.exp(-((_NEEDED * evidence.stages_after / each) ** _SHARPNESS)).mean(axis=-1))


def feature_distortion(evidence: Evidence, setting: int) -> float:
    """Square root of relative FMSE: how far features move, in units of their length; unrelated ones move sqrt(2)."""
    return float(np.sqrt(min(2.0, evidence.settings[setting].row["fmse_relative"])))


def structure_loss(evidence: Evidence, setting: int) -> float:
    """1 - SSIM."""
    return 1 - float(evidence.settings[setting].row["ssim"])


def domain_shift(evidence: Evidence, setting: int) -> float:
    """How well one could tell original from coded images by a linear look at their features: 0 not at all, 1 always.

    2 Phi(d / 2) - 1, where d is the Mahalanobis distance between the mean features of original and decoded candidates
    and Phi(d / 2) the share that linear discriminant analysis gets right. Each image moves little, but all in the same
    direction.
    """
    coded = evidence.settings[setting].candidates
    moved = (evidence.originals.double() - coded.double()).mean(dim=0)
    distance = float((moved @ evidence.precision @ moved).clamp(min=0).sqrt())
    return math.erf(distance / (2 * math.sqrt(2)))


def _shift_under(align: str) -> Callable[[Evidence], np.ndarray]:
    """The domain shift, counted for the choices of one alignment only."""

    def quantity(evidence: Evidence) -> np.ndarray:
        shifts = _by_setting(domain_shift)(evidence)
        return shifts * np.array([choice.align == align for choice in evidence.choices])

    return quantity


def volume_ratio(evidence: Evidence, setting: int) -> float:
    """Nats an exemplar by which the volume that exemplars span differs from the originals' (MRDC, 2202.06592).

    For each class the exemplars that fit are herded on their own features; F (N, D), of length 1, has the log volume
    logdet(F F' + I / 1000) / 2, and as many herded originals have theirs. The difference is divided by N and averaged
    over classes.
    """
    kept, coded = evidence.kept(setting), evidence.settings[setting].candidates
    labels = evidence.labels.numpy()
    ratios = []
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        mine = kept[labels[kept] == label]
        order = herding_order(evidence.originals[torch.from_numpy(members)].numpy(), len(mine))
        original = evidence.originals[torch.from_numpy(members[order])]
        ratios.append((log_volume(coded[torch.from_numpy(mine)]) - log_volume(original)) / len(mine))
    return float(np.mean(ratios))


def log_volume(features: torch.Tensor, epsilon: float = 1e-3) -> float:
    """logdet(F F' + epsilon I) / 2 of features F (N, D), which does not underflow as the determinant does."""
    x = features.double()
    count, dimensions = x.shape
    gram = x @ x.T if count <= dimensions else x.T @ x  # of the larger one the other eigenvalues are 0
    logarithm = torch.linalg.slogdet(gram + epsilon * torch.eye(len(gram), dtype=x.dtype)).logabsdet
    return float(logarithm + max(0, count - dimensions) * np.log(epsilon)) / 2


QUANTITIES: dict[str, Callable[[Evidence], np.ndarray]] = {
    "exemplars": _by_setting(exemplars),
    "growth": _by_setting(growth),
    "feature_distortion": _by_setting(feature_distortion),
    "structure_loss": _by_setting(structure_loss),
    "shift_if_none": _shift_under("none"),
    "shift_if_train": _shift_under("train"),
    "volume_ratio": _by_setting(volume_ratio),
}
"""All of them by name."""
