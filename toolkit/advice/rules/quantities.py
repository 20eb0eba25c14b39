"""Quantities of a choice that parametric rules combine.

Each is a function from evidence to a value per choice, float64 (choices,) in the order of
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
"""Lower bound on the exemplars of a class."""
_NEEDED, _SHARPNESS = 4.0, 6.0
"""Exemplars that a class needs per later stage, and the exponent of the transition.

Among 1 to 8 exemplars and exponents from 1 to 6 these give the least squared error between expected and measured gains
of the regret study's aligned pilots, on all problems and with any one dataset left out (4 or 5 exemplars). Beyond
enough exemplars, more hardly help.
"""


def tabulate(evidence: Evidence, names: Iterable[str]) -> Quantities:
    """The named quantities of every choice."""
    return {name: QUANTITIES[name](evidence) for name in names}


def _by_setting(value: Callable[[Evidence, int], float]) -> Callable[[Evidence], np.ndarray]:
    """A quantity that does not depend on the alignment."""
    return lambda evidence: evidence.by_setting(lambda index: value(evidence, index))


def exemplars(evidence: Evidence, setting: int) -> float:
    """Exemplars per class that the memory will hold."""
    return evidence.held(evidence.settings[setting])


def growth(evidence: Evidence, setting: int) -> float:
    """:func:`grown` of the exemplars that fit."""
    return float(grown(evidence, np.array(exemplars(evidence, setting))))


def grown(evidence: Evidence, exemplars: np.ndarray) -> np.ndarray:
    """Difference in retained knowledge to raw pixels at the requested budget, -1 to 1.

    A class with k later stages retains exp(-(4 k / exemplars)^6): nearly all with more than about four exemplars per
    later stage, nearly nothing with fewer. Retention is at most 1, so the gain is bounded for any number of stages.
    Mean over classes.

    Args:
        evidence: gives the stages and the raw exemplars per class at the requested budget.
        exemplars: float64, any shape, mean exemplars per class of another setting or budget.
    """
    return kept(evidence, exemplars) - kept(evidence, np.array(evidence.raw_exemplars))


def kept(evidence: Evidence, exemplars: np.ndarray) -> np.ndarray:
    """Fraction of knowledge retained after the last stage, 0 to 1, in the shape of ``exemplars``."""
    each = np.maximum(evidence.spread(exemplars), _FEWEST)
    return np.asarray(np.exp(-((_NEEDED * evidence.stages_after / each) ** _SHARPNESS)).mean(axis=-1))


def feature_distortion(evidence: Evidence, setting: int) -> float:
    """Square root of relative FMSE: displacement in units of the features' length; sqrt(2) for unrelated features."""
    return float(np.sqrt(min(2.0, evidence.settings[setting].row["fmse_relative"])))


def structure_loss(evidence: Evidence, setting: int) -> float:
    """1 - SSIM."""
    ssim = evidence.settings[setting].row["ssim"]
    assert ssim is not None  # evidence holds settings that store images
    return 1 - ssim


def domain_shift(evidence: Evidence, setting: int) -> float:
    """Linear separability of original and decoded images in feature space, from 0 (chance) to 1 (perfect).

    2 Phi(d / 2) - 1, where d is the Mahalanobis distance between the mean features of original and decoded candidates,
    and Phi(d / 2) the accuracy of linear discriminant analysis. Each image moves little, but all move in the same
    direction.
    """
    coded = evidence.settings[setting].candidates
    moved = (evidence.originals.double() - coded.double()).mean(dim=0)
    distance = float((moved @ evidence.precision @ moved).clamp(min=0).sqrt())
    return math.erf(distance / (2 * math.sqrt(2)))


def _shift_under(align: str) -> Callable[[Evidence], np.ndarray]:
    """The domain shift for choices of one alignment, 0 for others."""

    def quantity(evidence: Evidence) -> np.ndarray:
        shifts = _by_setting(domain_shift)(evidence)
        return shifts * np.array([choice.align == align for choice in evidence.choices])

    return quantity


def volume_ratio(evidence: Evidence, setting: int) -> float:
    """Log ratio, in nats per exemplar, of the volumes spanned by exemplars and by originals (MRDC, 2202.06592).

    For each class the N exemplars that fit are selected by herding on their own features F (N, D), unit length; their
    log volume is logdet(F F' + I / 1000) / 2. That of N herded originals is subtracted, and the difference divided by N
    and averaged over classes.
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
    """logdet(F F' + epsilon I) / 2 of features F (N, D), computed without underflow of the determinant."""
    x = features.double()
    count, dimensions = x.shape
    gram = x @ x.T if count <= dimensions else x.T @ x  # the larger one has further eigenvalues of 0
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
"""All quantities by name."""
