"""Closed-form classifiers, fitted on features of decoded exemplars."""

from __future__ import annotations

import torch
from torch.nn import functional

_RIDGES = tuple(10.0**power for power in range(-3, 7))


def class_means(features: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
    """Mean of each class's normalised features, normalised again (iCaRL, algorithm 1); float32 (classes, D).

    Args:
        features: (N, D).
        labels: int64 (N,); the mean of a class without images is zero.
        classes: number of means.
    """
    unit = functional.normalize(features.float(), dim=1)
    sums = functional.one_hot(labels, classes).T.float() @ unit  # unlike index_add_, deterministic on a GPU
    return functional.normalize(sums, dim=1)


def nearest_mean_scores(features: torch.Tensor, means: torch.Tensor) -> torch.Tensor:
    """Negative distances of normalised features (N, D) to every mean (C, D): the largest marks the nearest class.

    Minus infinity for a class whose mean is zero (no images).
    """
    scores = -torch.cdist(functional.normalize(features.float(), dim=1), means)
    return scores.masked_fill((means == 0).all(dim=1), float("-inf"))


def random_projection(features: int, width: int, seed: int) -> torch.Tensor:
    """A Gaussian projection (features, width), scaled to preserve the expected vector length (RanPAC, section 4)."""
    generator = torch.Generator().manual_seed(seed)
    return torch.randn(features, width, generator=generator) / width**0.5


def ridge_regression(
    features: torch.Tensor, labels: torch.Tensor, classes: int, class_weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Ridge regression from features to one-hot labels with equal class weights; float32 (D, classes).

    The ridge is the power of ten with the best accuracy in 5-fold cross-validation; RanPAC (section 4.2) uses one
    held-out part.

    Args:
        features: (N, D).
        labels: int64 (N,), each of ``classes`` at least once.
        classes: number of outputs.
        class_weights: (classes,), total weight of the images of each class; equal by default.
    """
    x = features.double()
    y = functional.one_hot(labels, classes).double()
    together = torch.ones(classes, dtype=torch.float64) if class_weights is None else class_weights.double()
    weights = (together.to(y.device) / y.sum(dim=0).clamp(min=1))[labels]
    parts = _rank_in_class(labels) % 5
    right = torch.zeros(len(_RIDGES))
    for part in range(5):
        kept, out = parts != part, parts == part
        if not bool(out.any()) or not bool(kept.any()):
            continue
        for which, solution in enumerate(_solutions(x[kept], y[kept], weights[kept])):
            right[which] += (weights[out] * ((x[out] @ solution).argmax(1) == labels[out])).sum().cpu()
    best = len(right) - 1 - int(right.flip(0).argmax())  # the largest of equally good ones
    return _solutions(x, y, weights)[best].float()


def _solutions(x: torch.Tensor, y: torch.Tensor, weights: torch.Tensor) -> list[torch.Tensor]:
    """Weighted ridge solutions (D, C) for all :data:`_RIDGES`, from one decomposition of the smaller Gram matrix."""
    root = (weights / weights.mean()).sqrt()[:, None]
    x, y = x * root, y * root
    if len(x) < x.shape[1]:  # fewer images than features: x' (x x' + r)^-1 y is equal, and cheaper
        values, vectors = torch.linalg.eigh(x @ x.T)
        turned = vectors.T @ y
        return [x.T @ (vectors @ (turned / (values.clamp(min=0) + ridge)[:, None])) for ridge in _RIDGES]
    values, vectors = torch.linalg.eigh(x.T @ x)
    turned = vectors.T @ (x.T @ y)
    return [vectors @ (turned / (values.clamp(min=0) + ridge)[:, None]) for ridge in _RIDGES]


def _rank_in_class(labels: torch.Tensor) -> torch.Tensor:
    """For each item, the number of earlier items of its class."""
    same = functional.one_hot(labels)
    return (same.cumsum(dim=0) * same).sum(dim=1) - 1
