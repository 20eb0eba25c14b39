"""Averages of the charts computed by hand, and false alarms on streams without change."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import norm

from toolkit.foundation.errors import UsageError
from toolkit.production.charts import KERNEL, WEIGHTS, Charts, Embedding


def charts_of(count: int = 400, seed: int = 0) -> tuple[Charts, Embedding]:
    rng = np.random.default_rng(seed)
    features = rng.standard_normal((count, 8))
    embedding = Embedding.of(features)
    return Charts.of(("a", "b"), rng.gamma(2.0, size=(count, 2)), embedding(features)), embedding


@pytest.fixture(scope="module")
def made() -> tuple[Charts, Embedding]:
    return charts_of()


def test_averages_follow_the_definition(made: tuple[Charts, Embedding]) -> None:
    charts, embedding = made
    charts.start_over()
    known = charts.baseline[0]
    rng = np.random.default_rng(1)
    average, recent = np.zeros(2), np.tile(charts.mean, (2, 1))
    for _ in range(5):
        scores, features = rng.gamma(2.0, size=2), rng.standard_normal((1, 8))
        heights = charts.take(scores, embedding(features)[0])
        below = (known < scores[0]).sum()
        normal = norm.ppf((below + 0.5) / (len(known) + 1))
        average = np.array([(1 - weight) * old + weight * normal for weight, old in zip(WEIGHTS, average, strict=True)])
        recent = np.stack(
            [(1 - weight) * old + weight * embedding(features)[0] for weight, old in zip(WEIGHTS, recent, strict=True)]
        )
    assert heights["a"] == pytest.approx(max(np.abs(average) / charts.thresholds[:, 0]))
    apart = ((recent - charts.mean) ** 2).sum(axis=1)
    assert heights[KERNEL] == pytest.approx(max(apart / charts.thresholds[:, 2]))


def test_the_embedding_approximates_the_gaussian_kernel() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((500, 6)) * [1, 2, 3, 4, 5, 6] + 10
    embedded = Embedding.of(features)(features)
    standard = (features - features.mean(axis=0)) / features.std(axis=0)
    distances = np.linalg.norm(standard[:, None] - standard[None], axis=2)
    width = np.median(distances[np.triu_indices(500, 1)])
    expected = np.exp(-(distances**2) / (2 * width**2))
    assert np.abs(embedded @ embedded.T - expected).mean() < 0.08


def test_false_alarms_are_as_rare_as_promised() -> None:
    """Half of 10,000 images from the baseline's own distribution, for each of three baselines; expected: 1.5 in all."""
    alarms = 0
    for seed in range(3):
        charts, embedding = charts_of(200, seed)
        rng = np.random.default_rng(100 + seed)
        embedded = embedding(rng.standard_normal((5000, 8)))
        for scores, one in zip(rng.gamma(2.0, size=(5000, 2)), embedded, strict=True):
            if max(charts.take(scores, one).values()) > 1:
                alarms += 1
                charts.start_over()
    assert alarms <= 6  # Poisson with mean 1.5: more than 6 in one of a thousand


def test_a_shift_of_one_score_or_of_the_features_is_detected(made: tuple[Charts, Embedding]) -> None:
    charts, embedding = made
    rng = np.random.default_rng(2)
    for moved, shift, chart in ((1.0, 0.0, "a"), (0.0, 1.0, KERNEL)):
        charts.start_over()
        seen: set[str] = set()
        for _ in range(200):
            scores = rng.gamma(2.0, size=2) + np.array([moved * 2, 0])
            heights = charts.take(scores, embedding(rng.standard_normal((1, 8)) + shift)[0])
            seen |= {name for name, height in heights.items() if height > 1}
        assert chart in seen
        assert "b" not in seen


def test_scores_that_never_differ_raise_no_alarm() -> None:
    rng = np.random.default_rng(0)
    features = rng.standard_normal((100, 4))
    embedding = Embedding.of(features)
    charts = Charts.of(("lossless",), np.zeros((100, 1)), embedding(features))
    for _ in range(100):
        assert charts.take(np.zeros(1), embedding(rng.standard_normal((1, 4)))[0])["lossless"] == 0


def test_the_same_seed_gives_the_same_thresholds() -> None:
    assert charts_of(80)[0].thresholds.tolist() == charts_of(80)[0].thresholds.tolist()


@pytest.mark.parametrize(
    ("count", "rate", "message"),
    [(49, 1e-4, "at least 50 accepted images, got 49"), (60, 1e-6, "1e-05 or more"), (60, 0.5, "below 0.1, got 0.5")],
)
def test_too_few_images_and_rates_out_of_range_are_refused(count: int, rate: float, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Charts.of(("a",), np.zeros((count, 1)), np.zeros((count, 2)), false_alarms=rate)


def test_scores_that_are_not_finite_are_refused() -> None:
    with pytest.raises(UsageError, match="not finite"):
        Charts.of(("a",), np.full((60, 1), np.nan), np.zeros((60, 2)))
