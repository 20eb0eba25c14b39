"""Metrics of class-incremental learning: pure functions of the accuracy matrix and the stages' class counts.

``matrix[t][k]`` is the accuracy on stage k's classes after stage t, for k <= t: a triangle of fractions. Within a
stage, all classes have equal weight. Definitions differ between papers; these are ours:

- last accuracy: over all classes, after the last stage;
- average incremental accuracy: mean over t of the accuracy over the classes seen by stage t (iCaRL);
- forgetting: mean over all stages k except the last of (best accuracy on k before the last stage - final accuracy
  on k) (Chaudhry et al., ECCV 2018);
- backward transfer: mean over all stages k except the last of (final accuracy on k - accuracy on k right after
  stage k) (Lopez-Paz & Ranzato, NeurIPS 2017).
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TypedDict

import numpy as np
from scipy.special import stdtrit  # equal to stats.t.ppf, but a second faster to import

Matrix = Sequence[Sequence[float]]


class Metrics(TypedDict):
    """All metrics of an accuracy matrix; accuracies are fractions."""

    average_incremental_accuracy: float
    last_accuracy: float
    forgetting: float
    backward_transfer: float


def _require_triangle(matrix: Matrix, classes: Sequence[int]) -> None:
    if len(matrix) != len(classes) or any(len(row) != t + 1 for t, row in enumerate(matrix)):
        raise ValueError(f"expected a triangle of {len(classes)} rows (row t with t + 1 entries), got {matrix!r}")


def accuracy_after(matrix: Matrix, classes: Sequence[int], stage: int) -> float:
    """Accuracy over all classes seen by ``stage``, with equal class weights.

    Args:
        matrix: see the module.
        classes: number of classes per stage.
        stage: 0-based.
    """
    return float(np.average(matrix[stage], weights=classes[: stage + 1]))


def last_accuracy(matrix: Matrix, classes: Sequence[int]) -> float:
    """Accuracy over all classes after the last stage."""
    _require_triangle(matrix, classes)
    return accuracy_after(matrix, classes, len(classes) - 1)


def average_incremental_accuracy(matrix: Matrix, classes: Sequence[int]) -> float:
    """Mean over the stages of the accuracy over the classes seen so far."""
    _require_triangle(matrix, classes)
    return float(np.mean([accuracy_after(matrix, classes, stage) for stage in range(len(classes))]))


def forgetting(matrix: Matrix, classes: Sequence[int]) -> float:
    """Mean drop of the earlier stages from their best accuracy; 0 for a single stage."""
    _require_triangle(matrix, classes)
    last = len(classes) - 1
    drops = [max(matrix[t][k] for t in range(k, last)) - matrix[last][k] for k in range(last)]
    return float(np.mean(drops)) if drops else 0.0


def backward_transfer(matrix: Matrix, classes: Sequence[int]) -> float:
    """Mean change of the accuracy on earlier stages (negative: forgetting); 0 for a single stage."""
    _require_triangle(matrix, classes)
    last = len(classes) - 1
    changes = [matrix[last][k] - matrix[k][k] for k in range(last)]
    return float(np.mean(changes)) if changes else 0.0


def stage_accuracies(predicted: np.ndarray, labels: np.ndarray, stages: Sequence[Sequence[int]]) -> list[float]:
    """One row of the matrix: for each stage, the mean class accuracy.

    Args:
        predicted, labels: int arrays (N,).
        stages: the classes of each stage; each class needs at least one image.
    """
    correct = predicted == labels
    return [float(np.mean([correct[labels == label].mean() for label in classes])) for classes in stages]


def summarise(matrix: Matrix, classes: Sequence[int]) -> Metrics:
    """All metrics by name."""
    return {
        "average_incremental_accuracy": average_incremental_accuracy(matrix, classes),
        "last_accuracy": last_accuracy(matrix, classes),
        "forgetting": forgetting(matrix, classes),
        "backward_transfer": backward_transfer(matrix, classes),
    }


def mean_and_ci95(values: Sequence[float]) -> tuple[float, float | None]:
    """Mean over seeds, and half-width of its 95 % interval, t(0.975, n - 1) s / sqrt(n), or None for one value."""
    count = len(values)
    mean = float(np.mean(values))
    if count < 2:
        return mean, None
    return mean, float(stdtrit(count - 1, 0.975) * np.std(values, ddof=1) / math.sqrt(count))
