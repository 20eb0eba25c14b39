"""Learners on frozen features: no network is trained, so a whole pilot takes seconds.

``ncm``: nearest class mean (Mensink et al., PAMI 2013). ``ridge``: random projection, ReLU and ridge regression, as in
RanPAC (McDonnell et al., NeurIPS 2023). Unlike in both papers, means and regression are recomputed after every stage
from the decoded exemplars alone: the papers' running sums over all training images would hide the effect of the memory.
All codecs share the features of one extractor, trained on original images.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable

import torch
from torch import nn

from toolkit.features.heads import class_means, nearest_mean_scores, random_projection, ridge_regression
from toolkit.learning.methods.base import Method, pool_features
from toolkit.training.batches import AnyPool
from toolkit.training.networks import Channels, Classifier

PROJECTION_SEED = 0


class FrozenNetwork(nn.Module):
    """The network of a fixed extractor.

    Args:
        extractor: a classifier, of which only the features are used.

    Raises:
        ValueError: it is no classifier.
    """

    def __init__(self, extractor: nn.Module) -> None:
        super().__init__()
        if not isinstance(extractor, Classifier):
            raise ValueError("a learner on frozen features is built from an extractor's network")
        self.extractor = extractor.eval().requires_grad_(False)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.extractor.features(images)


class FrozenFeatures(FrozenNetwork):
    """The features of a fixed network, and a table that maps them to scores.

    Attributes:
        table: float32 matrix of the head; one row per class for means, one column per class for regression.
    """

    table: torch.Tensor

    def __init__(self, extractor: nn.Module, scores: Callable[[torch.Tensor, torch.Tensor], torch.Tensor]) -> None:
        super().__init__(extractor)
        self._scores = scores
        self.register_buffer("table", torch.zeros(0, 0), persistent=False)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self._scores(self.features(images), self.table)

    def grow(self, classes: int) -> None:
        """Nothing to do: the table is recomputed after every commit."""


class _Frozen(Method, ABC):
    """Common base of both learners: no phases, and a table fitted on the memory's exemplars."""

    def build(self, backbone: Callable[[], nn.Module], classes: int, mean: Channels, std: Channels) -> nn.Module:
        return FrozenFeatures(backbone(), self.scores)

    @abstractmethod
    def scores(self, features: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        """Scores (N, classes) of features (N, D)."""

    @abstractmethod
    def fit(self, features: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
        """The table, from features (N, D) and labels (N,) of the exemplars."""

    def remember(self, network: nn.Module, exemplars: Callable[[], AnyPool], device: torch.device) -> None:
        assert isinstance(network, FrozenFeatures)
        pool = exemplars()
        features = pool_features(network, pool, device, mixed_precision=False)
        network.table = self.fit(features, pool.labels, int(pool.labels.max()) + 1)


class NCM(_Frozen):
    """The nearest mean of normalised features."""

    heads = ("nearest-mean",)

    def scores(self, features: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return nearest_mean_scores(features, table)

    def fit(self, features: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
        return class_means(features, labels, classes)


class Ridge(_Frozen):
    """Ridge regression on randomly projected features."""

    def __init__(self, *, width: int = 2000, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing=label_smoothing)
        self.width = width
        self._projection: torch.Tensor | None = None

    def scores(self, features: torch.Tensor, table: torch.Tensor) -> torch.Tensor:
        return self._projected(features) @ table

    def fit(self, features: torch.Tensor, labels: torch.Tensor, classes: int) -> torch.Tensor:
        return ridge_regression(self._projected(features), labels, classes)

    def _projected(self, features: torch.Tensor) -> torch.Tensor:
        unit = nn.functional.normalize(features.float(), dim=1)
        if not self.width:
            return unit
        if self._projection is None:
            self._projection = random_projection(unit.shape[1], self.width, PROJECTION_SEED).to(unit.device)
        return (unit @ self._projection).relu()
