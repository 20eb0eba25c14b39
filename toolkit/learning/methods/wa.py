"""WA, weight aligning (Zhao et al., CVPR 2020): distillation, then the new classes' weights are scaled to the old norm.

The two terms of the loss are weighted by the fractions of new and old classes, as in the paper; the weights are not
clipped, as in PyCIL.
"""

from __future__ import annotations

import torch
from torch import nn

from toolkit.learning.losses import distilled_by_age
from toolkit.learning.methods.base import Method, Stage
from toolkit.training.loop import Loss, cross_entropy


class WA(Method):
    """Replay with distillation, and an alignment of the head after every stage."""

    has_teacher = True

    def __init__(self, *, temperature: float = 2.0, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing=label_smoothing)
        self.temperature = temperature

    def loss(self, stage: Stage) -> Loss:
        if not stage.index:
            return cross_entropy(self.label_smoothing)
        return distilled_by_age(
            self.auxiliary["teacher"], stage.known, stage.total, self.temperature, self.label_smoothing
        )

    def finish(self, network: nn.Module, stage: Stage) -> nn.Module:
        align_weights(network.head, stage.known)  # type: ignore[arg-type]  # a Classifier's linear head
        return network


@torch.no_grad()
def align_weights(head: nn.Linear, known: int) -> None:
    """Scale the weight rows from ``known`` on to the mean norm of the earlier rows (eq. 8 of the paper).

    Does nothing without earlier rows. Biases are unchanged.
    """
    if not 0 < known < head.out_features:
        return
    norms = head.weight.norm(dim=1)
    head.weight[known:] *= norms[:known].mean() / norms[known:].mean()
