"""Train one variant in a run folder: with checkpoints, resumable, stopped by a loss that is not finite."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.seeds import derive
from toolkit.jpeg.layer import JPEGLayer
from toolkit.jpeg_dl.config import JPEGConfig
from toolkit.jpeg_dl.rates import soft_rate
from toolkit.jpeg_dl.variants import TrainingData
from toolkit.runs.reporting import RunReporter
from toolkit.training.batches import Batch, Pool, ReplayBatches
from toolkit.training.checkpoint import resume_training, save_training
from toolkit.training.loop import Loss, Recipe, predict, train
from toolkit.training.networks import Classifier
from toolkit.training.weights import save_network, write_tensors


@dataclass
class Variant:
    """A network to train: the classifier, the layer in front (None for plain), and both as one module."""

    name: str
    network: Classifier
    layer: JPEGLayer | None
    model: nn.Module


def train_variant(
    variant: Variant, config: JPEGConfig, data: TrainingData, seed: int, folder: Path, reporter: RunReporter
) -> None:
    """Train in place, from the last checkpoint if there is one; all variants of a seed use the same batches.

    Raises:
        WorkError: the loss is no longer finite (the message names the step and the last good checkpoint), or the
            checkpoint is damaged.
    """
    device = next(variant.network.parameters()).device
    pool = Pool(torch.from_numpy(np.array(data.images)).to(device), torch.from_numpy(data.labels).to(device))
    batches = ReplayBatches(pool, None, config.batch_size, seed=derive(seed, 1))
    tables = variant.layer.parameter_groups(lr=config.table_lr) if variant.layer is not None else []
    auxiliary = [torch.optim.Adam(tables)] if tables else []
    recipe = Recipe(config.steps, lr=config.lr, weight_decay=config.weight_decay)
    path = folder / f"{variant.name}-checkpoint.pt"
    start, optimizer_state = resume_training(path, variant.model, auxiliary, device)
    good = start

    def after_step(step: int, value: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        nonlocal good
        facts = {"loss": float(value)} if reporter.due(step, config.steps) else {}
        reporter.show(f"training {variant.name}", step, config.steps, **facts)
        if step % config.checkpoint_every == 0 and bool(torch.isfinite(value)):
            save_training(path, step, variant.model, optimizer, auxiliary, device)
            good = step

    frozen = config.freeze and variant.layer is not None
    try:
        train(
            variant.layer if frozen and variant.layer is not None else variant.model,
            batches,
            recipe,
            device=device,
            loss=_loss(variant, config, frozen),
            start=start,
            optimizer_state=optimizer_state,
            auxiliary=auxiliary,
            after_step=after_step,
        )
    except WorkError as error:
        last = f"the last good checkpoint is {path.name}, of step {good}" if good else "there is no checkpoint yet"
        raise WorkError(f"{variant.name}: {one_line(error)}; {last}") from error


def save_variant(variant: Variant, network_name: str, folder: Path) -> None:
    """Write the trained weights and delete the checkpoint."""
    save_network(variant.network, network_name, folder / f"{variant.name}.pt")
    if variant.layer is not None:
        write_tensors(folder / f"{variant.name}-layer.pt", variant.layer.state_dict())
    (folder / f"{variant.name}-checkpoint.pt").unlink(missing_ok=True)


def load_layer_state(path: Path) -> dict[str, torch.Tensor]:
    """Load a layer's state written by :func:`save_variant`; nothing in the file is executed.

    Raises:
        UsageError: the file is missing, or not the state of a layer.
    """
    if not path.exists():
        raise UsageError(f"{path} does not exist: did the training finish?")
    try:
        state = torch.load(path, map_location="cpu", weights_only=True)
    except Exception as error:  # torch and pickle raise a dozen types for a damaged file
        raise UsageError(f"{path} is refused: it is not plain weights ({one_line(error)})") from error
    if not isinstance(state, dict) or getattr(state.get("steps"), "shape", None) != (2, 8, 8):
        raise UsageError(f"{path} is not the state of a JPEG layer: it has no steps of shape (2, 8, 8)")
    return state


def accuracy(model: nn.Module, data: TrainingData, device: torch.device) -> float:
    """Fraction of test images classified correctly."""
    model.eval()
    logits = predict(model, torch.from_numpy(np.array(data.test_images)), batch_size=256, device=device)
    return float((logits.argmax(1).cpu() == torch.from_numpy(data.test_labels)).float().mean())


def _loss(variant: Variant, config: JPEGConfig, frozen: bool) -> Loss | None:
    """Cross entropy plus the weighted rate; None for plain cross entropy."""
    layer = variant.layer
    rated = config.rate_weight > 0 and layer is not None and layer.steps.requires_grad
    if not frozen and not rated:
        return None
    if frozen:
        variant.network.eval().requires_grad_(False)

    def loss(module: nn.Module, batch: Batch) -> torch.Tensor:
        logits = variant.network(module(batch.images)) if frozen else module(batch.images)
        value = functional.cross_entropy(logits.float(), batch.labels)
        if rated and layer is not None:
            value = value + config.rate_weight * soft_rate(layer, batch.images)
        return value

    return loss
