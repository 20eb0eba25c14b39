"""DER++, dark experience replay (Buzzega et al., NeurIPS 2020): exemplars are stored with the network's logits.

Differs from the paper: a stage's images are seen for many passes, exemplars and their logits are stored at the end of a
stage instead of during the stream, and both terms on the exemplars use the same draw. The logits are stored in half
precision; their bytes count against the budget.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from toolkit.learning.methods.base import Method, Stage
from toolkit.training.batches import Batch
from toolkit.training.loop import Loss, cross_entropy

_LOGIT_BYTES = 2


class DERpp(Method):
    """Cross entropy on new images and exemplars, and regression to the exemplars' stored logits."""

    def __init__(self, *, alpha: float = 0.3, beta: float = 0.5, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing=label_smoothing)
        self.alpha = alpha
        self.beta = beta

    def loss(self, stage: Stage) -> Loss:
        if not stage.index:
            return cross_entropy(self.label_smoothing)

        def loss(network: nn.Module, batch: Batch) -> torch.Tensor:
            logits = network(batch.images).float()
            return dark_experience(logits, batch, stage.known, self.alpha, self.beta, self.label_smoothing)

        return loss

    def extra_bytes(self, outputs: int) -> int:
        return _LOGIT_BYTES * outputs

    def pack_extras(self, logits: np.ndarray) -> list[bytes]:
        """Half-precision logits, 2 bytes per output."""
        limit = float(np.finfo(np.float16).max)
        return [row.tobytes() for row in np.clip(logits, -limit, limit).astype("<f2")]

    def unpack_extras(self, packed: Sequence[bytes], outputs: int) -> np.ndarray:
        """Float32 (N, outputs), nan for outputs that did not exist yet."""
        logits = np.full((len(packed), outputs), np.nan, np.float32)
        for row, data in zip(logits, packed, strict=True):
            values = np.frombuffer(data, "<f2")
            row[: len(values)] = values
        return logits


def dark_experience(
    logits: torch.Tensor, batch: Batch, known: int, alpha: float, beta: float, label_smoothing: float = 0.0
) -> torch.Tensor:
    """Cross entropy of new images + ``beta`` x that of exemplars + ``alpha`` x mean squared error of their logits.

    Args:
        logits: (N, C); exemplars last.
        batch: its extras are the exemplars' stored logits, nan for classes later than the exemplar's stage.
        known: number of classes of earlier stages.
    """
    if batch.extras is None:
        raise ValueError("the exemplars of this batch have no stored logits")
    first = len(logits) - batch.exemplars
    new, old = (
        functional.cross_entropy(logits[part], batch.labels[part], label_smoothing=label_smoothing)
        for part in (slice(first), slice(first, None))
    )
    stored = batch.extras[:, :known]
    there = ~stored.isnan()
    difference = torch.where(there, logits[first:, :known] - stored.nan_to_num(), 0.0)
    return new + beta * old + alpha * difference.square().sum() / there.sum().clamp(min=1)
