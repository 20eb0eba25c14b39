"""The interface of methods: the network's structure, the training phases with their losses, and steps after a stage.

The pilot controls the order. For every stage it calls ``begin``, trains each of ``phases`` with the training loop,
calls ``finish``, commits the exemplars, and passes them, decoded, to ``remember``.
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
from toolkit.training.networks import Channels, Classifier


@dataclass(frozen=True)
class Stage:
    """A stage's index, and the number of outputs before it and including it."""

    index: int
    known: int
    total: int


@dataclass(frozen=True)
class StageData:
    """Training data of a stage.

    Attributes:
        new: training images of the new classes (of all classes so far for a method that sees everything).
        memory: decoded exemplars of the earlier classes; None in the first stage.
        memory_share: fraction of each batch drawn from the memory.
    """

    new: AnyPool
    memory: AnyPool | None
    memory_share: float

    def frequencies(self, classes: int) -> torch.Tensor:
        """Expected draws per class in one pass over as many images as there are; float32 (classes,)."""
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
        network: trained in place, for the parameters that require gradients.
        loss: of the network and a batch.
        data: source of the batches.
        share: fraction of the stage's optimiser steps; the shares of all phases sum to 1.
        lr: relative to the recipe's.
        weight_decay: replaces the recipe's.
        augmented: False disables augmentation.
        prepare: called right before the training, also in a resumed run.
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
    """Plain training on the data of a stage. Methods override what they change.

    Attributes:
        heads: available classifiers; the first is the method's own.
        has_teacher: from the second stage on, ``auxiliary["teacher"]`` is the network after the previous stage.
        auxiliary: further networks, such as a teacher; saved with every checkpoint.
    """

    heads: ClassVar[tuple[str, ...]] = ("linear",)
    has_teacher: ClassVar[bool] = False

    def __init__(self, *, label_smoothing: float = 0.0) -> None:
        self.label_smoothing = label_smoothing
        self.auxiliary: dict[str, nn.Module] = {}

    def build(self, backbone: Callable[[], nn.Module], classes: int, mean: Channels, std: Channels) -> nn.Module:
        """The network before the first stage."""
        return Classifier(backbone(), classes, mean, std)

    def begin(self, network: nn.Module, stage: Stage) -> nn.Module:
        """Give the network the structure for ``stage``. Must depend only on its arguments: a resumed run calls this for
        every stage up to the current one and then loads the weights."""
        if self.has_teacher and stage.index:
            self.auxiliary["teacher"] = frozen_copy(network)
        grow(network, stage.total)
        return network

    def phases(self, network: nn.Module, stage: Stage, data: StageData) -> list[Phase]:
        """The training phases, in order."""
        return [Phase(network, self.loss(stage), data)]

    def loss(self, stage: Stage) -> Loss:
        """The loss of the only phase, for methods that have one."""
        return cross_entropy(self.label_smoothing)

    def finish(self, network: nn.Module, stage: Stage) -> nn.Module:
        """The network after its training; the condition of ``begin`` applies."""
        return network

    def remember(self, network: nn.Module, exemplars: Callable[[], AnyPool], device: torch.device) -> None:
        """Learn from the exemplars of all classes, after the memory's commit; calling ``exemplars`` decodes them."""

    def observe(self, network: nn.Module, new: AnyPool, device: torch.device) -> None:
        """Learn from the images of the stage at its end, for a method that keeps no exemplars and trains nothing."""

    def kept_bytes(self, network: nn.Module) -> int:
        """Bytes that a method without exemplars keeps in their place."""
        return 0

    def predictor(self, network: nn.Module, head: str) -> Callable[[torch.Tensor], torch.Tensor]:
        """A function from images (N, 3, H, W) to scores (N, classes) of one of :attr:`heads`."""
        return network

    def weights_bytes(self, network: nn.Module) -> int:
        """Bytes of weights beyond an ordinary network's that are charged to the memory's budget."""
        return 0

    # Data that a method stores with each exemplar. If extra_bytes returns 0, the other two are never called.

    def extra_bytes(self, outputs: int) -> int:
        """Bytes stored with each exemplar while the network has ``outputs`` outputs; charged to the budget."""
        return 0

    def pack_extras(self, logits: np.ndarray) -> list[bytes]:
        """The data to store with new exemplars, :meth:`extra_bytes` bytes each.

        Args:
            logits: float32 (N, outputs), of the network for the decoded exemplars at the end of their stage.
        """
        raise NotImplementedError

    def unpack_extras(self, packed: Sequence[bytes], outputs: int) -> np.ndarray:
        """The inverse of :meth:`pack_extras`, float32 (N, ...): the ``extras`` of the exemplars in each batch.

        Args:
            packed: one per exemplar, of all stages so far.
            outputs: final number of outputs of the network.
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
    """A copy in evaluation mode with frozen weights: a teacher."""
    return copy.deepcopy(network).eval().requires_grad_(False)
