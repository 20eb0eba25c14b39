"""ER-ACE, asymmetric cross entropy (Caccia et al., ICLR 2022): the loss of new images covers only the new classes.

New classes therefore cannot suppress the outputs of old ones; the loss of exemplars covers all classes. The paper's
memory also holds images of the current task, without which no loss would raise a new class above an old one. Ours gets
them at the end of a stage, so some of the new images replace them: as many as balance the classes in that term. It also
differs in that a stage's images are seen for many passes, not once.
"""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from toolkit.learning.methods.base import Method, Stage
from toolkit.training.batches import Batch
from toolkit.training.loop import Loss


class ERACE(Method):
    """Cross entropy of new images over the new classes, plus that of exemplars and some new images over all classes."""

    def loss(self, stage: Stage) -> Loss:
        def loss(network: nn.Module, batch: Batch) -> torch.Tensor:
            logits = network(batch.images).float()
            return asymmetric_cross_entropy(logits, batch, stage, self.label_smoothing)

        return loss


def asymmetric_cross_entropy(
    logits: torch.Tensor, batch: Batch, stage: Stage, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Mean over the new images plus mean over the exemplars and the last new images, if there are exemplars.

    Args:
        logits: (N, C); exemplars last.
        batch: labels, and the number of exemplars.
        stage: numbers of old and new classes.
    """
    first, known, labels = len(logits) - batch.exemplars, stage.known, batch.labels
    value = functional.cross_entropy(logits[:first, known:], labels[:first] - known, label_smoothing=label_smoothing)
    if batch.exemplars:
        joining = min(first, max(1, round(batch.exemplars * (stage.total - known) / known)))
        rest = slice(first - joining, None)
        value = value + functional.cross_entropy(logits[rest], labels[rest], label_smoothing=label_smoothing)
    return value
