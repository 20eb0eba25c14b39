"""Closed-form classifiers against the normal equations and hand-computed means."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from toolkit.features import heads

RANDOM = np.random.default_rng(0)


def test_class_means_by_hand() -> None:
    features = np.array([[3.0, 4.0], [0.0, 2.0], [1.0, 0.0]])
    mean = np.array([0.6, 1.8])
    found = heads.class_means(torch.tensor(features), torch.tensor([0, 0, 1]), 2)
    np.testing.assert_allclose(found, [mean / np.linalg.norm(mean), [1, 0]], rtol=1e-5)
    scores = heads.nearest_mean_scores(torch.tensor([[10.0, 1.0]]), found)
    assert scores.argmax() == 1


@pytest.mark.parametrize("count", [30, 200])
def test_ridge_regression_solves_the_weighted_normal_equations(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(heads, "_RIDGES", (0.5,))
    features = RANDOM.normal(size=(count, 50))
    labels = np.arange(count) % 3
    labels[: count // 2] = 0
    weights = 1 / np.bincount(labels)[labels]
    weights /= weights.mean()
    gram = (features * weights[:, None]).T @ features + 0.5 * np.eye(50)
    expected = np.linalg.solve(gram, (features * weights[:, None]).T @ np.eye(3)[labels])
    found = heads.ridge_regression(torch.from_numpy(features), torch.from_numpy(labels), 3)
    np.testing.assert_allclose(found, expected, rtol=1e-3, atol=1e-5)


def test_the_ridge_is_chosen_by_its_predictions() -> None:
    labels = torch.arange(200) % 2
    features = torch.randn(200, 80, generator=torch.Generator().manual_seed(0))
    features[:, 0] += 2.0 * labels
    table = heads.ridge_regression(features, labels, 2)
    fresh = torch.randn(400, 80, generator=torch.Generator().manual_seed(1))
    fresh[:, 0] += 2.0 * (torch.arange(400) % 2)
    accuracy = float(((fresh @ table).argmax(1) == torch.arange(400) % 2).float().mean())
    assert accuracy > 0.6
