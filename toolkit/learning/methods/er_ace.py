"""ER-ACE, asymmetric cross entropy (Caccia et al., ICLR 2022): new images compete with the new classes only.

So new classes cannot push the old ones' outputs down; exemplars compete with all classes. Departs in that a stage's
images are seen for many passes, not once.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from toolkit.learning.methods.base import Method, Stage
from toolkit.training.batches import Batch
from toolkit.training.loop import Loss


class ERACE(Method):
    """Cross entropy of new images over the new classes, plus that of exemplars over all classes."""

    def loss(self, stage: Stage) -> Loss:
        def loss(network: nn.Module, batch: Batch) -> torch.Tensor:
            logits = network(batch.images).float()
            return asymmetric_cross_entropy(logits, batch.labels, stage.known, self.label_smoothing)

        return loss


def asymmetric_cross_entropy(
    logits: torch.Tensor, labels: torch.Tensor, known: int, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Mean over the new images plus mean over the exemplars, if there are any.

    Args:
        logits: (N, C).
        labels: int64 (N,); those below ``known`` are exemplars'.
        known: classes of earlier stages.
    """
    new = labels >= known
    value = functional.cross_entropy(logits[new][:, known:], labels[new] - known, label_smoothing=label_smoothing)
    if known and not bool(new.all()):
        value = value + functional.cross_entropy(logits[~new], labels[~new], label_smoothing=label_smoothing)
    return value
