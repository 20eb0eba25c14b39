"""Learners on frozen features that keep statistics of all images seen, and no exemplar.

``simplecil``: the mean feature of every class, and cosine similarity to it (Zhou et al., IJCV 2024). ``slda``: class
means and one covariance for all classes (Hayes & Kanan, CVPRW 2020, with the exact within-class covariance instead of
its running estimate). ``ranpac``: a random projection, ReLU and ridge regression from a running Gram matrix (McDonnell
et al., NeurIPS 2023). Unlike ``ncm`` and ``ridge``, which are fitted on the memory's decoded exemplars, they see every
training image once, in its stage, and then only its sums remain. These sums are what they keep: their bytes count as
the memory, whatever the budget.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from toolkit.features.heads import random_projection
from toolkit.learning.methods.base import Method, pool_features
from toolkit.learning.methods.frozen import PROJECTION_SEED, FrozenNetwork
from toolkit.training.batches import AnyPool
from toolkit.training.networks import Channels

SHRINKAGE = 1e-4
"""Share of the identity in SLDA's covariance, as in the paper."""
RIDGES = tuple(10.0**power for power in range(-4, 9))
HELD_OUT = 5
"""RanPAC chooses its ridge on every fifth new image, as in the paper."""


class Statistics(FrozenNetwork):
    """A frozen network with running sums over the features of all images seen; the sums are saved with checkpoints.

    Attributes:
        sums: float32 (classes, W), by class; W is the width of what is summed.
        counts: float32 (classes,).
        second: float32 (W, W), sum of outer products; (0, 0) if the method keeps none.
        weight, bias: float32 (W, classes) and (classes,), the linear classifier that follows from the sums.
    """

    sums: torch.Tensor
    counts: torch.Tensor
    second: torch.Tensor
    weight: torch.Tensor
    bias: torch.Tensor

    def __init__(self, extractor: nn.Module, width: int, classes: int, second: bool) -> None:
        super().__init__(extractor)
        self.register_buffer("sums", torch.zeros(classes, width))
        self.register_buffer("counts", torch.zeros(classes))
        self.register_buffer("second", torch.zeros(width, width) if second else torch.zeros(0, 0))
        self.register_buffer("weight", torch.zeros(width, classes))
        self.register_buffer("bias", torch.zeros(classes))

    def grow(self, classes: int) -> None:
        """Make room for further classes."""
        more = classes - len(self.counts)
        self.sums, self.counts = functional.pad(self.sums, (0, 0, 0, more)), functional.pad(self.counts, (0, more))
        self.weight, self.bias = functional.pad(self.weight, (0, more)), functional.pad(self.bias, (0, more))

    def kept_bytes(self) -> int:
        """Bytes of the sums; the classifier follows from them."""
        return self.sums.nbytes + self.counts.nbytes + self.second.nbytes


class _Streaming(Method, ABC):
    """Common base: what is summed, and the classifier that follows."""

    heads = ("linear",)
    second = True

    def build(self, backbone: Callable[[], nn.Module], classes: int, mean: Channels, std: Channels) -> nn.Module:
        extractor: Any = backbone()
        width = self.width_of(int(extractor.backbone.num_features))
        return Statistics(extractor, width, classes, self.second)

    def width_of(self, features: int) -> int:
        """Width of what is summed, of features of a width."""
        return features

    def summed(self, features: torch.Tensor) -> torch.Tensor:
        """What is summed, float32 (N, W), of features (N, D)."""
        return features.float()

    @abstractmethod
    def solve(self, network: Statistics) -> tuple[torch.Tensor, torch.Tensor]:
        """Weight (W, classes) and bias (classes,) of the classifier."""

    def observe(self, network: nn.Module, new: AnyPool, device: torch.device) -> None:
        assert isinstance(network, Statistics)
        values = self.summed(pool_features(network, new, device, mixed_precision=False))
        self.choose(network, values, new.labels)
        self.add(network, values, new.labels)
        network.weight, network.bias = self.solve(network)

    def choose(self, network: Statistics, values: torch.Tensor, labels: torch.Tensor) -> None:
        """Choose parameters from the new values (N, W), before they are added."""

    def add(self, network: Statistics, values: torch.Tensor, labels: torch.Tensor) -> None:
        """Add values (N, W) of images with labels (N,) to the sums."""
        hot = functional.one_hot(labels, len(network.counts)).float()
        network.sums += hot.T @ values
        network.counts += hot.sum(dim=0)
        if self.second:
            network.second += values.T @ values

    def predictor(self, network: nn.Module, head: str) -> Callable[[torch.Tensor], torch.Tensor]:
        assert isinstance(network, Statistics)
        return lambda images: self.summed(network.features(images)) @ network.weight + network.bias

    def kept_bytes(self, network: nn.Module) -> int:
        assert isinstance(network, Statistics)
        return network.kept_bytes()


class SimpleCIL(_Streaming):
    """Cosine similarity to the class means."""

    second = False

    def summed(self, features: torch.Tensor) -> torch.Tensor:
        return functional.normalize(features.float(), dim=1)

    def solve(self, network: Statistics) -> tuple[torch.Tensor, torch.Tensor]:
        return functional.normalize(network.sums, dim=1).T, torch.zeros_like(network.bias)


class SLDA(_Streaming):
    """Linear discriminant analysis with one covariance of all classes."""

    def solve(self, network: Statistics) -> tuple[torch.Tensor, torch.Tensor]:
        counts = network.counts.double().clamp(min=1)
        means = network.sums.double() / counts[:, None]
        within = network.second.double() - (means * counts[:, None]).T @ means
        covariance = within / max(1.0, float(network.counts.sum()) - len(means))
        identity = torch.eye(len(covariance), dtype=torch.float64, device=covariance.device)
        weight = torch.linalg.solve((1 - SHRINKAGE) * covariance + SHRINKAGE * identity, means.T)
        return weight.float(), (-0.5 * (means.T * weight).sum(dim=0)).float()


class RanPAC(_Streaming):
    """Ridge regression on randomly projected features, from the running Gram matrix."""

    def __init__(self, *, width: int = 2000, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing=label_smoothing)
        self.width = width
        self._ridge = RIDGES[0]
        self._projection: torch.Tensor | None = None

    def width_of(self, features: int) -> int:
        return self.width

    def summed(self, features: torch.Tensor) -> torch.Tensor:
        if self._projection is None:
            self._projection = random_projection(features.shape[1], self.width, PROJECTION_SEED).to(features.device)
        return (features.float() @ self._projection).relu()

    def choose(self, network: Statistics, values: torch.Tensor, labels: torch.Tensor) -> None:
        held = torch.arange(len(values), device=values.device) % HELD_OUT == HELD_OUT - 1
        if not bool(held.any()):
            return
        hot = functional.one_hot(labels, len(network.counts)).double()
        kept = values[~held].double()
        gram = network.second.double() + kept.T @ kept
        sums = network.sums.double().T + kept.T @ hot[~held]
        # one decomposition serves all ridges
        eigen, vectors = torch.linalg.eigh(gram)
        turned, seen = vectors.T @ sums, values[held].double() @ vectors
        errors = [
            float((seen @ (turned / (eigen.clamp(min=0) + ridge)[:, None]) - hot[held]).square().mean())
            for ridge in RIDGES
        ]
        self._ridge = RIDGES[min(range(len(RIDGES)), key=errors.__getitem__)]

    def solve(self, network: Statistics) -> tuple[torch.Tensor, torch.Tensor]:
        gram = network.second.double()
        gram.diagonal().add_(self._ridge)
        weight = torch.linalg.solve(gram, network.sums.double().T)
        return weight.float(), torch.zeros_like(network.bias)
