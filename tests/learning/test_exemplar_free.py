"""Learners that keep statistics instead of exemplars, against the same computed from all images at once."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from toolkit.learning.methods import build_method
from toolkit.learning.methods.base import Stage
from toolkit.learning.methods.frozen import PROJECTION_SEED
from toolkit.learning.methods.streaming import SHRINKAGE, Statistics
from toolkit.training.batches import Pool
from toolkit.training.networks import Classifier

CPU = torch.device("cpu")
CLASSES, FEATURES = 5, 12


class Flat(nn.Module):
    """A backbone whose features are the pixels."""

    num_features = FEATURES

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return x.flatten(1)


def images() -> tuple[np.ndarray, np.ndarray]:
    """Clusters of 2 x 2 images, 200 in 5 classes of unequal size, by class."""
    rng = np.random.default_rng(0)
    labels = np.sort(rng.choice(CLASSES, 200, p=[0.1, 0.3, 0.2, 0.25, 0.15]))
    centres = rng.uniform(60, 200, (CLASSES, 2, 2, 3))
    pixels = centres[labels] + rng.normal(0, 25, (200, 2, 2, 3))
    return pixels.clip(0, 255).astype(np.uint8), labels


def learned(spec: str) -> tuple[Statistics, np.ndarray]:
    """A method's network after three stages, and its scores of all images."""
    pixels, labels = images()
    method = build_method(spec)
    network = method.build(lambda: Classifier(Flat(), 1, (0.5,) * 3, (0.25,) * 3), 2, None, None)
    for index, (known, total) in enumerate([(0, 2), (2, 4), (4, 5)]):
        network = method.begin(network, Stage(index, known, total))
        chosen = np.flatnonzero((labels >= known) & (labels < total))
        method.observe(network, Pool(torch.from_numpy(pixels[chosen]), torch.from_numpy(labels[chosen])), CPU)
    assert isinstance(network, Statistics)
    with torch.inference_mode():
        scores = method.predictor(network, "linear")(torch.from_numpy(pixels).permute(0, 3, 1, 2))
    assert method.kept_bytes(network) == network.kept_bytes()
    return network, scores.numpy()


def features() -> np.ndarray:
    pixels, _ = images()
    return ((pixels.transpose(0, 3, 1, 2).reshape(200, -1) / 255 - 0.5) / 0.25).astype(np.float64)


def test_simplecil_is_the_cosine_to_the_mean_of_all_images_of_a_class() -> None:
    network, scores = learned("simplecil")
    _, labels = images()
    unit = features() / np.linalg.norm(features(), axis=1, keepdims=True)
    means = np.stack([unit[labels == label].mean(axis=0) for label in range(CLASSES)])
    expected = unit @ (means / np.linalg.norm(means, axis=1, keepdims=True)).T
    np.testing.assert_allclose(scores, expected, atol=1e-5)
    assert network.kept_bytes() == 4 * CLASSES * (FEATURES + 1)


def test_slda_is_discriminant_analysis_on_all_images() -> None:
    network, scores = learned("slda")
    _, labels = images()
    x = features()
    means = np.stack([x[labels == label].mean(axis=0) for label in range(CLASSES)])
    within = sum((x[labels == k] - means[k]).T @ (x[labels == k] - means[k]) for k in range(CLASSES)) / (200 - CLASSES)
    precision = np.linalg.inv((1 - SHRINKAGE) * within + SHRINKAGE * np.eye(FEATURES))
    distances = np.stack([np.einsum("nd,de,ne->n", x - mean, precision, x - mean) for mean in means], axis=1)
    # scores differ from -distance / 2 by what is equal for all classes
    expected = -0.5 * distances
    np.testing.assert_allclose(
        scores - scores.mean(axis=1, keepdims=True),
        expected - expected.mean(axis=1, keepdims=True),
        rtol=1e-3,
        atol=1e-2,
    )
    assert network.kept_bytes() == 4 * (CLASSES * (FEATURES + 1) + FEATURES**2)


def test_ranpac_is_ridge_regression_on_all_images() -> None:
    network, scores = learned("ranpac:width=40")
    _, labels = images()
    generator = torch.Generator().manual_seed(PROJECTION_SEED)
    projection = (torch.randn(FEATURES, 40, generator=generator) / 40**0.5).numpy()
    hidden = np.maximum(features() @ projection, 0)
    hot = np.eye(CLASSES)[labels]
    fits = {
        power: hidden @ np.linalg.solve(hidden.T @ hidden + 10.0**power * np.eye(40), hidden.T @ hot)
        for power in range(-4, 9)
    }
    errors = {power: float(np.abs(fit - scores).max()) for power, fit in fits.items()}
    assert min(errors.values()) < 1e-2
    assert network.kept_bytes() == 4 * (CLASSES * 41 + 40**2)


@pytest.mark.parametrize("spec", ["simplecil", "slda", "ranpac:width=200"])
def test_separable_classes_are_told_apart(spec: str) -> None:
    _, scores = learned(spec)
    assert float((scores.argmax(axis=1) == images()[1]).mean()) > 0.9
