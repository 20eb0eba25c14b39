"""Losses of the methods: pure functions of logits and features, and the distillation shared by several."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional

from toolkit.training.batches import Batch
from toolkit.training.loop import Loss


def distillation(
    logits: torch.Tensor, teacher: torch.Tensor, temperature: float, weights: torch.Tensor | None = None
) -> torch.Tensor:
    """Cross entropy between teacher and student softmax at ``temperature``, averaged over the batch.

    As in PyCIL, without the factor T^2 of Hinton et al. (2015).

    Args:
        logits, teacher: (N, C), of the same classes.
        temperature: divides both.
        weights: (C,), class weights of the target, which is then renormalised (FOSTER, eq. 11).
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
    """:func:`distilled` with its two terms weighted by the fractions of new and old classes (BiC, eq. 3)."""
    old = known / total
    return distilled(teacher, known, temperature, plain=1 - old, imitated=old, label_smoothing=label_smoothing)


def nca(similarities: torch.Tensor, labels: torch.Tensor, margin: torch.Tensor | float) -> torch.Tensor:
    """PODNet's classification loss: the NCA of Movshovitz-Attias et al. (2017) with a margin, as in the published code.

    After subtraction of the largest similarity of an image, the label's own term in the denominator is a constant 1, so
    the loss saturates like a cross entropy. Eq. 6 of the paper omits this term and clips the loss at 0; above, it is
    linear, and trainings of hundreds of steps diverge.

    Args:
        similarities: scaled cosine similarities (N, C).
        labels: int64 (N,).
        margin: subtracted from the label's similarity.
    """
    label = labels[:, None]
    after = similarities.scatter(1, label, similarities.gather(1, label) - margin)
    after = after - after.amax(dim=1, keepdim=True)
    return (torch.logsumexp(after.scatter(1, label, 0.0), dim=1) - after.gather(1, label).squeeze(1)).mean()


def pooled_outputs_distance(maps: list[torch.Tensor], teacher: list[torch.Tensor]) -> torch.Tensor:
    """POD-spatial (PODNet, eq. 4): distance of feature maps pooled along height and along width.

    Each map is squared and summed along each axis; both results are concatenated and normalised. The Euclidean
    distance to the teacher's is averaged over batch and layers.

    Args:
        maps, teacher: one (N, C, H, W) per layer.
    """
    pairs = zip(maps, teacher, strict=True)
    return torch.stack([(_pooled(ours) - _pooled(theirs)).norm(dim=1).mean() for ours, theirs in pairs]).mean()


def _pooled(maps: torch.Tensor) -> torch.Tensor:
    squared = maps.float().pow(2)
    return functional.normalize(torch.cat([squared.sum(dim=3).flatten(1), squared.sum(dim=2).flatten(1)], dim=1), dim=1)


def effective_number_weights(frequencies: torch.Tensor, beta: float) -> torch.Tensor:
    """Class weights (C,) by the effective number of images (Cui et al., CVPR 2019), with mean 1.

    Args:
        frequencies: images per class, float (C,), each above 0.
        beta: 0 gives equal weights; towards 1, weights become inversely proportional to the images per class.
    """
    weights = (1 - beta) / (1 - beta**frequencies)
    return weights / weights.sum() * len(weights)
