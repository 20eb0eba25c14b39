"""BiC, bias correction (Wu et al., CVPR 2019): distillation, then scale and shift of the new classes' logits.

A tenth of the exemplars (at least one per class), and equally many images of every new class, train only the two
correction parameters of each stage; the only image of a class serves both purposes. The correction takes a tenth of the
stage's steps, without augmentation.
"""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from toolkit.learning.losses import distilled_by_age
from toolkit.learning.methods.base import Method, Phase, Stage, StageData
from toolkit.training.batches import AnyPool
from toolkit.training.loop import cross_entropy
from toolkit.training.networks import Channels, Classifier

CORRECTION_SHARE = 0.1


class BiasCorrected(nn.Module):
    """A classifier whose logits of each later stage's classes are scaled and shifted.

    Attributes:
        classifier: the network.
        corrections: scale and shift, (2,), for each stage except the first.
        ends: number of outputs at the end of each stage.
        correcting: only the last correction is trained, and the network stays in evaluation mode.
    """

    def __init__(self, classifier: Classifier) -> None:
        super().__init__()
        self.classifier = classifier
        self.corrections = nn.ParameterList()
        self.ends = [classifier.head.out_features]
        self.correcting = False

    def features(self, images: torch.Tensor) -> torch.Tensor:
        return self.classifier.features(images)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        logits = self.classifier(images)
        parts = list(logits.tensor_split(self.ends[:-1], dim=1))
        for number, correction in enumerate(self.corrections, 1):
            parts[number] = correction[0] * parts[number] + correction[1]
        return torch.cat(parts, dim=1)

    def grow(self, classes: int) -> None:
        """Grow to ``classes`` outputs; the new ones get an identity correction."""
        if classes == self.ends[-1]:
            return
        self.classifier.grow(classes)
        self.ends.append(classes)
        device = self.classifier.head.weight.device
        self.corrections.append(nn.Parameter(torch.tensor([1.0, 0.0], device=device)))

    def correct(self, only: bool) -> None:
        """Train only the last correction, or with ``only=False`` everything except the corrections."""
        self.correcting = only
        self.classifier.requires_grad_(not only)
        for correction in self.corrections:
            correction.requires_grad_(only and correction is self.corrections[-1])

    def train(self, mode: bool = True) -> BiasCorrected:
        super().train(mode)
        if self.correcting:
            self.classifier.eval()
        return self


class BiC(Method):
    """Replay with distillation, and a correction of each stage's bias towards its new classes."""

    has_teacher = True

    def __init__(self, *, temperature: float = 2.0, held_out: float = 0.1, label_smoothing: float = 0.0) -> None:
        super().__init__(label_smoothing=label_smoothing)
        self.temperature = temperature
        self.held_out = held_out

    def build(self, backbone: Callable[[], nn.Module], classes: int, mean: Channels, std: Channels) -> nn.Module:
        return BiasCorrected(Classifier(backbone(), classes, mean, std))

    def phases(self, network: nn.Module, stage: Stage, data: StageData) -> list[Phase]:
        assert isinstance(network, BiasCorrected)
        if data.memory is None:
            return [Phase(network, cross_entropy(self.label_smoothing), data)]
        loss = distilled_by_age(
            self.auxiliary["teacher"], stage.known, stage.total, self.temperature, self.label_smoothing
        )
        fitted, held_out = split_for_correction(data, self.held_out, stage)
        return [
            Phase(network, loss, fitted, 1 - CORRECTION_SHARE, prepare=lambda: network.correct(only=False)),
            Phase(
                network,
                cross_entropy(),
                held_out,
                CORRECTION_SHARE,
                augmented=False,
                prepare=lambda: network.correct(only=True),
            ),
        ]


def split_for_correction(data: StageData, held_out: float, stage: Stage) -> tuple[StageData, StageData]:
    """Split the data into images for the network and images, balanced over all classes, for the correction.

    The fraction ``held_out`` of each old class's exemplars is held out, at least one and from the end; of each new
    class, as many images as of an old class on average. The only image of a class is in both parts.
    """
    assert data.memory is not None
    counts = torch.bincount(data.memory.labels, minlength=stage.known)[: stage.known]
    apart = (counts * held_out).round().clamp(min=1).long()
    each = max(1, round(float(apart.float().mean())))
    new_counts = torch.bincount(data.new.labels, minlength=stage.total)
    new_apart = torch.full_like(new_counts, each).minimum((new_counts - 1).clamp(min=1))
    old_fit, old_held = _last_of_each_class(data.memory, apart)
    new_fit, new_held = _last_of_each_class(data.new, new_apart)
    fitted = StageData(new_fit, old_fit, data.memory_share)
    return fitted, StageData(new_held, old_held, stage.known / stage.total)


def _last_of_each_class(pool: AnyPool, apart: torch.Tensor) -> tuple[AnyPool, AnyPool]:
    """``pool`` without the last ``apart[label]`` items of each label, and only these; a single item is in both."""
    held = torch.zeros(len(pool), dtype=torch.bool, device=pool.labels.device)
    kept = torch.ones_like(held)
    for label, count in enumerate(apart.tolist()):
        members = torch.nonzero(pool.labels == label).flatten()
        held[members[-count:]] = True
        kept[members[-count:]] = len(members) == count
    return pool.subset(torch.nonzero(kept).flatten()), pool.subset(torch.nonzero(held).flatten())
