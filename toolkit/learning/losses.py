"""Losses of the methods: pure functions of logits and features, and the distillation that several share."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from toolkit.training.batches import Batch
from toolkit.training.loop import Loss


def distillation(
    logits: torch.Tensor, teacher: torch.Tensor, temperature: float, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross entropy of the student's softmax against the teacher's, both at ``temperature``, mean over the batch.

    As in PyCIL, without the factor T^2 of Hinton et al. (2015).

    Args:
        logits, teacher: (N, C), of the same classes.
        temperature: divides both.
        weights: (C,): the target is weighted by class and normalised again (FOSTER, eq. 11).
    """
    target = functional.softmax(teacher / temperature, dim=1)
    if weights is not None:
        target = target * weights
        target = target / target.sum(dim=1, keepdim=True)
    return -(target * functional.log_softmax(logits / temperature, dim=1)).sum(dim=1).mean()


def distilled(
    teacher: nn.Module,
    known: int,
    temperature: float,
    *,
    plain: float = 1.0,
    imitated: float = 1.0,
    label_smoothing: float = 0.0,
) -> Loss:
    """The loss ``plain`` x cross entropy + ``imitated`` x distillation of the first ``known`` outputs."""

    def loss(network: nn.Module, batch: Batch) -> torch.Tensor:
        logits = network(batch.images).float()
        with torch.no_grad():
            old = teacher(batch.images).float()
        value = functional.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
        return plain * value + imitated * distillation(logits[:, :known], old, temperature)

    return loss


def distilled_by_age(
    teacher: nn.Module, known: int, total: int, temperature: float, label_smoothing: float = 0.0
) -> Loss:
    """:func:`distilled` with the two terms weighed by the parts of the classes that are new and old (BiC, eq. 3)."""
    old = known / total
    return distilled(teacher, known, temperature, plain=1 - old, imitated=old, label_smoothing=label_smoothing)


def nca(similarities: torch.Tensor, labels: torch.Tensor, margin: torch.Tensor | float) -> torch.Tensor:
    """PODNet's classification loss: the NCA of Movshovitz-Attias et al. (2017) with a margin, as in the published code.

    After the largest similarity of an image was taken off all of them, the label's own leaves a constant 1 in the
    denominator, so the loss saturates like a cross entropy. The paper's eq. 6 leaves nothing there and cuts the loss at
    0; until then it is linear, and trainings of hundreds of steps blow up.

    Args:
        similarities: scaled cosine similarities (N, C).
        labels: int64 (N,).
        margin: taken off the label's similarity.
    """
    label = labels[:, None]
    after = similarities.scatter(1, label, similarities.gather(1, label) - margin)
    after = after - after.amax(dim=1, keepdim=True)
    return (torch.logsumexp(after.scatter(1, label, 0.0), dim=1) - after.gather(1, label).squeeze(1)).mean()


def pooled_outputs_distance(maps: list[torch.Tensor], teacher: list[torch.Tensor]) -> torch.Tensor:
    """POD-spatial (PODNet, eq. 4): distance of feature maps pooled along height and along width.

    Each map is squared, summed along either axis, both results are laid end to end and normalised; the Euclidean
    distance to the teacher's is averaged over batch and layers.

    Args:
        maps, teacher: of each layer (N, C, H, W).
    """
    pairs = zip(maps, teacher, strict=True)
    return torch.stack([(_pooled(ours) - _pooled(theirs)).norm(dim=1).mean() for ours, theirs in pairs]).mean()


def _pooled(maps: torch.Tensor) -> torch.Tensor:
    squared = maps.float().pow(2)
    return functional.normalize(torch.cat([squared.sum(dim=3).flatten(1), squared.sum(dim=2).flatten(1)], dim=1), dim=1)


def effective_number_weights(frequencies: torch.Tensor, beta: float) -> torch.Tensor:
    """Class weights (C,) by the effective number of images (Cui et al., CVPR 2019), with mean 1.

    Args:
        frequencies: images a class, float (C,), each above 0.
        beta: 0 weighs all classes alike; towards 1, inversely to their images.
    """
    weights = (1 - beta) / (1 - beta**frequencies)
    return weights / weights.sum() * len(weights)
