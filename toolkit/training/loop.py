"""The training loop."""

from __future__ import annotations

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from toolkit.foundation.errors import WorkError
from toolkit.training.augment import plain_input
from toolkit.training.batches import Batch
from toolkit.training.device import autocast, runs_bfloat16
from toolkit.training.graphs import GraphedStep

Batches = Callable[[int], Batch]
Loss = Callable[[nn.Module, Batch], torch.Tensor]
AfterStep = Callable[[int, torch.Tensor, torch.optim.Optimizer], None]
_FINITE_EVERY = 25
_BACKBONES = {"backbone", "shared", "branches"}
"""Names of the modules of classifiers that hold their backbones."""
PIXELS_A_BATCH = 2**18


@dataclass(frozen=True)
class Recipe:
    """Optimisation settings of one stage.

    Attributes:
        steps: optimiser steps.
        lr, momentum, weight_decay: of the optimiser; AdamW takes no momentum.
        optimizer: ``sgd`` or ``adamw``.
        backbone_lr: learning rate of all parameters but the heads', relative to ``lr``.
        schedule: ``cosine`` to zero, ``milestones`` (times ``gamma`` at each), or ``constant``.
        milestones: as fractions of ``steps``.
        warmup: steps of linear warm-up.
        label_smoothing: of the default loss.
        clip_norm: maximum gradient norm over all parameters; 0 disables clipping.
        mixed_precision: bfloat16 autocast if the hardware supports it.
        compile: run the network's forward pass through ``torch.compile``; losses that need more than the logits
            (PODNet, and the later stages of DER, MEMO and FOSTER) run eagerly.
        cuda_graphs: launch forward and backward pass as one CUDA graph; no effect on a CPU.
    """

    steps: int
    lr: float = 0.1
    momentum: float = 0.9
    weight_decay: float = 5e-4
    optimizer: str = "sgd"
    backbone_lr: float = 1.0
    schedule: str = "cosine"
    milestones: Sequence[float] = (0.3, 0.6, 0.85)
    gamma: float = 0.1
    warmup: int = 0
    label_smoothing: float = 0.0
    clip_norm: float = 0.0
    mixed_precision: bool = True
    compile: bool = False
    cuda_graphs: bool = False

    def lr_at(self, step: int) -> float:
        """Learning rate of ``step`` (0-based)."""
        if step < self.warmup:
            return self.lr * (step + 1) / self.warmup
        done = (step - self.warmup) / max(1, self.steps - self.warmup)
        if self.schedule == "cosine":
            return self.lr * 0.5 * (1 + math.cos(math.pi * done))
        if self.schedule == "milestones":
            return self.lr * self.gamma ** sum(done >= milestone for milestone in self.milestones)
        return self.lr


def cross_entropy(label_smoothing: float = 0.0) -> Loss:
    """The default loss: cross entropy over all outputs of the network."""

    def loss(network: nn.Module, batch: Batch) -> torch.Tensor:
        logits = network(batch.images).float()
        return functional.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)

    return loss


def train(
    network: nn.Module,
    batches: Batches,
    recipe: Recipe,
    *,
    device: torch.device,
    loss: Loss | None = None,
    start: int = 0,
    optimizer_state: dict[str, Any] | None = None,
    auxiliary: Sequence[torch.optim.Optimizer] = (),
    after_step: AfterStep | None = None,
) -> None:
    """Train ``network`` in place for ``recipe.steps`` steps.

    Args:
        network: on ``device``; images (N, 3, H, W) in [0, 255] to logits.
        batches: step number to a batch on ``device``; a pure function, so that resuming is exact.
        recipe: optimiser, schedule and precision.
        device: of network and batches.
        loss: network and batch to a scalar; cross entropy by default.
        start: first step, when resuming.
        optimizer_state: from the checkpoint, when resuming; the caller loads the states of ``auxiliary``.
        auxiliary: further optimisers, for parameters that the recipe's then excludes; they step with it, and their
            learning rates follow the recipe's schedule from their initial values.
        after_step: called with (steps done, detached loss, optimizer) after every step.

    Raises:
        WorkError: the loss is not finite.
    """
    loss = loss or cross_entropy(recipe.label_smoothing)
    elsewhere = {id(one) for other in auxiliary for group in other.param_groups for one in group["params"]}
    optimizer = _optimizer(
        [(name, one) for name, one in network.named_parameters() if id(one) not in elsewhere], recipe
    )
    shares = [group["lr"] / recipe.lr for group in optimizer.param_groups]
    rates = [
        (group, group.setdefault("initial_lr", group["lr"])) for other in auxiliary for group in other.param_groups
    ]
    if optimizer_state is not None:
        optimizer.load_state_dict(optimizer_state)
    optimizers = (optimizer, *auxiliary)
    forward: Any = torch.compile(network) if recipe.compile else network
    backward = _backward(forward, loss, optimizers, recipe, device)
    network.train()
    for step in range(start, recipe.steps):
        batch = batches(step)
        lr = recipe.lr_at(step)
        for group, share in zip(optimizer.param_groups, shares, strict=True):
            group["lr"] = lr * share
        for group, initial in rates:
            group["lr"] = initial * lr / recipe.lr
        value = backward(batch)
        if recipe.clip_norm:
            nn.utils.clip_grad_norm_(network.parameters(), recipe.clip_norm)
        for one in optimizers:
            one.step()
        if (step + 1) % _FINITE_EVERY == 0 or step + 1 == recipe.steps:
            _require_finite(value, step + 1)
        if after_step is not None:
            after_step(step + 1, value.detach(), optimizer)


def _optimizer(named: Sequence[tuple[str, nn.Parameter]], recipe: Recipe) -> torch.optim.Optimizer:
    """The recipe's optimiser of parameters with their names in the network."""
    groups: list[dict[str, Any]] = [{"params": [one for _, one in named], "lr": recipe.lr}]
    if recipe.backbone_lr != 1:
        backbone = [one for name, one in named if _BACKBONES & set(name.split("."))]
        heads = [one for name, one in named if not _BACKBONES & set(name.split("."))]
        groups = [{"params": heads, "lr": recipe.lr}, {"params": backbone, "lr": recipe.lr * recipe.backbone_lr}]
        groups = [group for group in groups if group["params"]]
    if recipe.optimizer == "adamw":
        return torch.optim.AdamW(groups, recipe.lr, weight_decay=recipe.weight_decay, foreach=True)
    return torch.optim.SGD(groups, recipe.lr, recipe.momentum, weight_decay=recipe.weight_decay, foreach=True)


def _backward(
    network: Any, loss: Loss, optimizers: Sequence[torch.optim.Optimizer], recipe: Recipe, device: torch.device
) -> Callable[[Batch], torch.Tensor]:
    """A function that returns a batch's loss and computes the gradients of all parameters."""
    if recipe.cuda_graphs and device.type == "cuda":
        # a cached cast could be freed with the memory of another call
        enabled = recipe.mixed_precision and runs_bfloat16(device)
        context = partial(torch.autocast, "cuda", torch.bfloat16, enabled, cache_enabled=False)
        return GraphedStep(lambda batch: loss(network, batch), network, context)

    def eager(batch: Batch) -> torch.Tensor:
        with autocast(device, recipe.mixed_precision):
            value = loss(network, batch)
        for one in optimizers:
            one.zero_grad(set_to_none=True)
        value.backward()
        return value

    return eager


def _require_finite(value: torch.Tensor, step: int) -> None:
    if not bool(torch.isfinite(value)):
        raise WorkError(f"the loss is {value.item()} at step {step}: try a smaller learning rate")


@torch.inference_mode()
def predict(
    network: Callable[[torch.Tensor], torch.Tensor],
    images: torch.Tensor,
    *,
    batch_size: int | None = None,
    device: torch.device,
    mixed_precision: bool = True,
) -> torch.Tensor:
    """Outputs of ``network`` for images uint8 (N, H, W, 3), or activations (N, views, ...), of which it takes the first
    view, in batches; float32 (N, ...) on ``device``.

    A batch has :data:`PIXELS_A_BATCH` pixels by default: larger ones take more memory but are not faster. The network
    must be in evaluation mode.
    """
    outputs = []
    batch_size = batch_size or max(1, PIXELS_A_BATCH // (images[0].numel() // 3))
    with autocast(device, mixed_precision):
        for start in range(0, len(images), batch_size):
            batch = images[start : start + batch_size].to(device, non_blocking=True)
            outputs.append(network(plain_input(batch)).float())
    return torch.cat(outputs)
