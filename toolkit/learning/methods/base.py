"""What a method may change of a stage: the network's shape, the phases of training with their losses, what comes after.

The pilot owns the order of things. For every stage it calls ``begin``, trains each of ``phases`` with the one training
loop, calls ``finish``, commits the exemplars, and hands them, decoded, to ``remember``.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import ClassVar

import numpy as np
import torch
from torch import nn

from toolkit.training.batches import AnyPool, chunks
from toolkit.training.loop import Loss, cross_entropy, predict
from toolkit.training.networks import Classifier


@dataclass(frozen=True)
class Stage:
    """A stage's number, and how many outputs there are before it and with it."""

    index: int
    known: int
    total: int


@dataclass(frozen=True)
class StageData:
    """What a stage offers to learn from.

    Attributes:
        new: training images of the new classes (of all classes so far for a method that sees everything).
        memory: decoded exemplars of the earlier classes; None in the first stage.
        memory_share: part of each batch that comes from the memory.
    """

    new: AnyPool
    memory: AnyPool | None
    memory_share: float

    def frequencies(self, classes: int) -> torch.Tensor:
        """Images of each class that one pass over as many images as there are would draw; float32 (classes,)."""
        count = torch.bincount(self.new.labels, minlength=classes).float()
        if self.memory is None:
            return count
        old = torch.bincount(self.memory.labels, minlength=classes).float()
        images = len(self.new) + len(self.memory)
        return images * ((1 - self.memory_share) * count / count.sum() + self.memory_share * old / old.sum())


@dataclass(frozen=True)
class Phase:
    """One training within a stage.

    Attributes:
        network: trained in place, as far as its parameters require gradients.
        loss: of the network and a batch.
        data: what the batches are drawn from.
        share: part of the stage's optimiser steps; those of all phases sum to 1.
        lr: relative to the recipe's.
        weight_decay: in place of the recipe's.
        augmented: False gives the images as they are.
        prepare: called right before the training, also of a resumed run.
    """

    network: nn.Module
    loss: Loss
    data: StageData
    share: float = 1.0
    lr: float = 1.0
    weight_decay: float | None = None
    augmented: bool = True
    prepare: Callable[[], object] = lambda: None


class Method:
    """Plain training on whatever a stage offers. Methods override what they change.

    Attributes:
        heads: what can classify; the first is the method's own.
        has_teacher: from the second stage on, ``auxiliary["teacher"]`` is the network as the last stage left it.
        auxiliary: networks kept beside the one that learns, such as a teacher; saved with every checkpoint.
    """

    heads: ClassVar[tuple[str, ...]] = ("linear",)
    has_teacher: ClassVar[bool] = False

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing
        self.auxiliary: dict[str, nn.Module] = {}

    def build(
        self, backbone: Callable[[], nn.Module], classes: int, mean: tuple[float, ...], std: tuple[float, ...]
    ) -> nn.Module:
        """The network as the first stage finds it."""
        return Classifier(backbone(), classes, mean, std)

    def begin(self, network: nn.Module, stage: Stage) -> nn.Module:
        """Give the network the shape that ``stage`` trains. Must need nothing but its arguments: a resumed run calls
        this for every stage up to its own and then loads the weights."""
        if self.has_teacher and stage.index:
            self.auxiliary["teacher"] = frozen_copy(network)
        grow(network, stage.total)
        return network

    def phases(self, network: nn.Module, stage: Stage, data: StageData) -> list[Phase]:
        """What to train, one after the other."""
        return [Phase(network, self.loss(stage), data)]

    def loss(self, stage: Stage) -> Loss:
        """The loss of the only phase, for methods that have one."""
        return cross_entropy(self.label_smoothing)

    def finish(self, network: nn.Module, stage: Stage) -> nn.Module:
        """The network after its training; the same condition as for ``begin``."""
        return network

    def remember(self, network: nn.Module, exemplars: Callable[[], AnyPool], device: torch.device) -> None:
        """Learn from the decoded exemplars of all classes, after the memory's commit; asking for them decodes them."""

    def predictor(self, network: nn.Module, head: str) -> Callable[[torch.Tensor], torch.Tensor]:
        """Images (N, 3, H, W) to scores (N, classes) by one of :attr:`heads`."""
        return network

    def weights_bytes(self, network: nn.Module) -> int:
        """Bytes of weights beyond an ordinary network's that the memory's budget pays for."""
        return 0

    # What a method keeps with each exemplar. With extra_bytes at 0 the two others are never called.

    def extra_bytes(self, outputs: int) -> int:
        """Bytes kept with each exemplar that is stored while the network has ``outputs`` outputs; the budget pays."""
        return 0

    def pack_extras(self, logits: np.ndarray) -> list[bytes]:
        """What is kept with new exemplars, :meth:`extra_bytes` bytes each.

        Args:
            logits: float32 (N, outputs), the network's for the decoded exemplars when their stage ends.
        """
        raise NotImplementedError

    def unpack_extras(self, packed: Sequence[bytes], outputs: int) -> np.ndarray:
        """Float32 (N, ...) of what :meth:`pack_extras` gave: the ``extras`` of the exemplars in each batch.

        Args:
            packed: one an exemplar, of all stages so far.
            outputs: that the network will have in the end.
        """
        raise NotImplementedError


def grow(network: nn.Module, classes: int) -> None:
    """Call the network's own ``grow``."""
    network.grow(classes)  # type: ignore[operator]  # every network of a method has one


def pool_features(
    network: nn.Module, pool: AnyPool, device: torch.device, mixed_precision: bool = True
) -> torch.Tensor:
    """Features, float32 (N, D) on ``device``, of all images of a pool, in order."""
    found = [
        predict(network.features, part.images, device=device, mixed_precision=mixed_precision)  # type: ignore[arg-type]
        for part in chunks(pool)
    ]
    return torch.cat(found)


def frozen_copy(network: nn.Module) -> nn.Module:
    """A copy in evaluation mode whose weights stay as they are: a teacher."""
    return copy.deepcopy(network).eval().requires_grad_(False)
