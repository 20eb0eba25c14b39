"""Metrics against values worked out by hand."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.learning import metrics

B0 = [[0.9], [0.6, 0.8], [0.3, 0.5, 0.7]]


def test_b0_by_hand() -> None:
    classes = [2, 2, 2]
    assert metrics.last_accuracy(B0, classes) == pytest.approx(0.5)
    assert metrics.average_incremental_accuracy(B0, classes) == pytest.approx((0.9 + 0.7 + 0.5) / 3)
    assert metrics.forgetting(B0, classes) == pytest.approx(((0.9 - 0.3) + (0.8 - 0.5)) / 2)
    assert metrics.backward_transfer(B0, classes) == pytest.approx(((0.3 - 0.9) + (0.5 - 0.8)) / 2)


def test_b50_weighs_the_large_first_stage_by_its_classes() -> None:
    classes = [50, 10]
    matrix = [[0.8], [0.6, 0.9]]
    assert metrics.last_accuracy(matrix, classes) == pytest.approx((50 * 0.6 + 10 * 0.9) / 60)
    assert metrics.average_incremental_accuracy(matrix, classes) == pytest.approx((0.8 + 39 / 60) / 2)


def test_uneven_last_stage() -> None:
    classes = [3, 3, 1]
    matrix = [[1.0], [0.5, 1.0], [0.5, 0.5, 0.0]]
    assert metrics.last_accuracy(matrix, classes) == pytest.approx(3 / 7)
    assert metrics.accuracy_after(matrix, classes, 1) == pytest.approx(0.75)


def test_forgetting_counts_from_the_best_while_transfer_counts_from_the_first() -> None:
    classes = [1, 1, 1]
    matrix = [[0.5], [0.8, 0.4], [0.6, 0.4, 0.9]]
    assert metrics.forgetting(matrix, classes) == pytest.approx((0.2 + 0.0) / 2)
    assert metrics.backward_transfer(matrix, classes) == pytest.approx((0.1 + 0.0) / 2)


def test_a_class_that_only_improves_has_negative_forgetting() -> None:
    assert metrics.forgetting([[0.4], [0.7, 0.5]], [1, 1]) == pytest.approx(-0.3)


def test_a_single_stage_forgets_nothing() -> None:
    assert metrics.summarise([[0.7]], [4]) == {
        "average_incremental_accuracy": 0.7,
        "last_accuracy": 0.7,
        "forgetting": 0.0,
        "backward_transfer": 0.0,
    }


def test_more_than_a_hundred_classes_agree_with_a_class_by_class_count() -> None:
    rng = np.random.default_rng(0)
    classes = [50, *[11] * 5, 3]
    stages, start = [], 0
    for count in classes:
        stages.append(list(range(start, start + count)))
        start += count
    matrix = []
    overall = []
    for t in range(len(classes)):
        labels = np.repeat(np.arange(sum(classes[: t + 1])), 6)
        predicted = np.where(rng.random(len(labels)) < 0.6, labels, (labels + 1) % 108)
        matrix.append(metrics.stage_accuracies(predicted, labels, stages[: t + 1]))
        overall.append((predicted == labels).mean())  # every class has six images, so the plain mean is the same
    assert metrics.last_accuracy(matrix, classes) == pytest.approx(overall[-1])
    assert metrics.average_incremental_accuracy(matrix, classes) == pytest.approx(np.mean(overall))


def test_classes_weigh_the_same_whatever_their_number_of_test_images() -> None:
    labels = np.array([0] * 90 + [1] * 10)
    predicted = np.zeros(100, dtype=int)
    assert metrics.stage_accuracies(predicted, labels, [[0, 1]]) == [0.5]


def test_a_matrix_that_is_no_triangle_is_refused() -> None:
    with pytest.raises(ValueError, match="triangle"):
        metrics.last_accuracy([[0.5], [0.5]], [1, 1])
