"""iCaRL (Rebuffi et al., CVPR 2017): distillation, herding, and classification by the nearest mean of exemplars.

Differs from the paper like PyCIL: softmax cross entropy and distillation with a temperature instead of sigmoids. Both
heads are reported; the nearest-mean head is the method's own.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from toolkit.features.heads import class_means, nearest_mean_scores
from toolkit.learning.losses import distilled
from toolkit.learning.methods.base import Method, Stage, pool_features
from toolkit.training.batches import AnyPool
from toolkit.training.loop import Loss, cross_entropy


class ICaRL(Method):
    """Cross entropy plus distillation of the old classes' outputs; classified by the nearest exemplar mean."""

    heads = ("nearest-mean", "linear")
    has_teacher = True

    def __init__(self, *, temperature: float = 2.0, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing=label_smoothing)
        self.temperature = temperature
        self.means = torch.empty(0)

    def loss(self, stage: Stage) -> Loss:
        if not stage.index:
            return cross_entropy(self.label_smoothing)
        return distilled(self.auxiliary["teacher"], stage.known, self.temperature, label_smoothing=self.label_smoothing)

    def remember(self, network: nn.Module, exemplars: Callable[[], AnyPool], device: torch.device) -> None:
        pool = exemplars()
        features = pool_features(network, pool, device)
        self.means = class_means(features, pool.labels, int(pool.labels.max()) + 1)

    def predictor(self, network: nn.Module, head: str) -> Callable[[torch.Tensor], torch.Tensor]:
        if head == "linear":
            return network
        return lambda images: nearest_mean_scores(network.features(images), self.means)  # type: ignore[operator]
