"""Rules based on features of the decoded exemplars that a budget would hold."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch

from toolkit.advice.evidence import Choice, Evidence
from toolkit.features.heads import class_means, nearest_mean_scores, ridge_regression

_NEWEST = 5
"""Maximum number of stages that ``last-stage`` treats as the newest in turn."""


def mmd(evidence: Evidence) -> np.ndarray:
    """Minus the squared MMD (Gaussian kernel) between the exemplars that fit and the whole class, mean over classes."""
    width = median_distance(evidence.originals)

    def score(index: int) -> float:
        kept, distances = evidence.kept(index), []
        labels = evidence.labels.numpy()
        for label in np.unique(labels):
            exemplars = evidence.settings[index].candidates[kept[labels[kept] == label]]
            distances.append(squared_mmd(exemplars, evidence.originals[labels == label], width))
        return -float(np.mean(distances))

    return evidence.by_setting(score)


def median_distance(features: torch.Tensor, sample: int = 1000) -> float:
    """Median distance between features (N, D), the usual width of a Gaussian kernel; 1 if all are equal."""
    few = features[:: max(1, len(features) // sample)].double()
    return float(torch.pdist(few).median()) or 1.0 if len(few) > 1 else 1.0


def squared_mmd(one: torch.Tensor, other: torch.Tensor, width: float) -> float:
    """Squared maximum mean discrepancy of two samples (N, D) and (M, D): Gretton et al., JMLR 2012, equation 5."""

    def mean_kernel(a: torch.Tensor, b: torch.Tensor) -> float:
        return float(torch.exp(-torch.cdist(a.double(), b.double()).square() / (2 * width**2)).mean())

    return mean_kernel(one, one) + mean_kernel(other, other) - 2 * mean_kernel(one, other)


def probe_accuracy(head: str) -> Callable[[Evidence], np.ndarray]:
    """Accuracy on held-out images of a closed-form classifier fitted on the decoded exemplars that fit.

    Held-out images are coded if the alignment is ``both``. ``head`` is ``ridge`` or ``nearest-mean``.
    """

    def score(evidence: Evidence) -> np.ndarray:
        tables: dict[int, torch.Tensor] = {}
        scores = []
        for choice in evidence.choices:
            kept, setting = evidence.kept(choice.setting), evidence.settings[choice.setting]
            labels = evidence.labels[kept]
            if choice.setting not in tables:
                fit = ridge_regression if head == "ridge" else class_means
                tables[choice.setting] = fit(setting.candidates[kept], labels, evidence.classes)
            scores.append(_accuracy(evidence, _tested(evidence, choice), tables[choice.setting], head))
        return np.array(scores)

    return score


ridge_accuracy = probe_accuracy("ridge")
nearest_mean_accuracy = probe_accuracy("nearest-mean")


def _tested(evidence: Evidence, choice: Choice) -> torch.Tensor:
    """Features of the held-out images as the deployed model would see them."""
    return evidence.settings[choice.setting].held_out if choice.align == "both" else evidence.held_out_originals


def _accuracy(evidence: Evidence, features: torch.Tensor, table: torch.Tensor, head: str = "ridge") -> float:
    outputs = features @ table if head == "ridge" else nearest_mean_scores(features, table)
    return float((outputs.argmax(dim=1) == evidence.held_out_labels).float().mean())


def last_stage(evidence: Evidence) -> np.ndarray:
    """Accuracy on held-out images of a ridge classifier fitted on the data of the learner's last stage.

    These are the decoded exemplars of old classes, with half the weight, and all images of the newest stage's classes,
    coded if the alignment is ``train`` or ``both``. Mean over the last five stages, each as the newest in turn.
    """
    stages = evidence.stages[-_NEWEST:] if evidence.replays else ()
    if not stages:
        return probe_accuracy("ridge")(evidence)
    return np.array(
        [np.mean([_with_newest(evidence, choice, newest) for newest in stages]) for choice in evidence.choices]
    )


def _with_newest(evidence: Evidence, choice: Choice, newest: tuple[int, ...]) -> float:
    setting, kept = evidence.settings[choice.setting], evidence.kept(choice.setting)
    is_new = torch.isin(evidence.labels, torch.tensor(newest))
    old = torch.from_numpy(kept)[~is_new[kept]]
    fresh = evidence.originals if choice.align == "none" else setting.candidates
    features = torch.cat([setting.candidates[old], fresh[is_new]])
    labels = torch.cat([evidence.labels[old], evidence.labels[is_new]])
    weights = torch.full((evidence.classes,), 0.5 / max(1, evidence.classes - len(newest)))
    weights[list(newest)] = 0.5 / len(newest)
    table = ridge_regression(features, labels, evidence.classes, weights)
    return _accuracy(evidence, _tested(evidence, choice), table)
