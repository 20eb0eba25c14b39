"""FOSTER (Wang et al., ECCV 2022): a new network learns the residual of the old one; both are then compressed into one.

Boosting: the old network is frozen; a new one and a head on both networks' features are trained, with a second head on
the new features alone and distillation of the old logits. Compression: both are distilled into a student that starts as
the old network, with higher weights for rare classes. Each takes its published share (170 and 130 of 300 epochs) of the
stage's steps. Differs like PyCIL's default (logits weighted by class frequency, weights not aligned, no weight decay
for the student), and also uses one beta for both phases, starts the new network's own head as the old one, and omits
AutoAugment, which the published numbers use.
"""

from __future__ import annotations

import copy

import torch
from torch import nn
from torch.nn import functional

from toolkit.learning.losses import distillation, effective_number_weights
from toolkit.learning.methods.base import Method, Phase, Stage, StageData, frozen_copy
from toolkit.training.batches import Batch
from toolkit.training.loop import Loss, cross_entropy
from toolkit.training.networks import Classifier

BOOSTING_SHARE = 170 / 300


class Boosted(nn.Module):
    """A frozen old classifier, a new one, and a head on the features of both.

    Args:
        old: the classifier after the last stage; copied.
        classes: total number of outputs.
    """

    def __init__(self, old: Classifier, classes: int) -> None:
        super().__init__()
        self.new = copy.deepcopy(old)  # its head uses the new features alone
        self.new.grow(classes)
        self.head = copy.deepcopy(old.head)
        self.head.grow(classes, 2 * old.head.in_features)
        self.old = frozen_copy(old)

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return torch.cat([self.old.features(images), self.new.features(images)], dim=1)  # type: ignore[operator]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.head(self.features(images))

    def outputs(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Logits of both networks together, of the new one, and of the old one."""
        features = self.features(images)
        old, new = features.chunk(2, dim=1)
        return self.head(features), self.new.head(new), self.old.head(old)  # type: ignore[operator]

    def train(self, mode: bool = True) -> Boosted:
        super().train(mode)
        self.old.eval()
        return self


class FOSTER(Method):
    """Boosting, then compression, in every stage except the first."""

    def __init__(self, *, temperature: float = 2.0, beta: float = 0.97, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing=label_smoothing)
        self.temperature = temperature
        self.beta = beta

    def begin(self, network: nn.Module, stage: Stage) -> nn.Module:
        if not stage.index:
            return super().begin(network, stage)
        assert isinstance(network, Classifier)
        student = copy.deepcopy(network)
        student.grow(stage.total)
        self.auxiliary["student"] = student
        return Boosted(network, stage.total)

    def phases(self, network: nn.Module, stage: Stage, data: StageData) -> list[Phase]:
        if not stage.index:
            return [Phase(network, cross_entropy(self.label_smoothing), data)]
        weights = effective_number_weights(data.frequencies(stage.total), self.beta)
        return [
            Phase(network, self._boosting(stage, weights), data, BOOSTING_SHARE),
            Phase(
                self.auxiliary["student"],
                self._compression(network, weights),
                data,
                1 - BOOSTING_SHARE,
                weight_decay=0.0,
                prepare=network.eval,
            ),
        ]

    def finish(self, network: nn.Module, stage: Stage) -> nn.Module:
        return self.auxiliary.pop("student") if stage.index else network

    def _boosting(self, stage: Stage, weights: torch.Tensor) -> Loss:
        def loss(network: nn.Module, batch: Batch) -> torch.Tensor:
            both, new, old = (logits.float() for logits in network.outputs(batch.images))  # type: ignore[operator]
            value = functional.cross_entropy(both / weights, batch.labels, label_smoothing=self.label_smoothing)
            value = value + functional.cross_entropy(new, batch.labels, label_smoothing=self.label_smoothing)
            return value + distillation(both[:, : stage.known], old, self.temperature)

        return loss

    def _compression(self, teacher: nn.Module, weights: torch.Tensor) -> Loss:
        def loss(network: nn.Module, batch: Batch) -> torch.Tensor:
            logits = network(batch.images).float()
            with torch.no_grad():
                both = teacher(batch.images).float()
            return distillation(logits, both, self.temperature, weights)

        return loss
