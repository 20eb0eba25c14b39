"""Checkpoints from which killed trainings resume."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from typing import Any, TypeVar

import torch
from torch import nn

from toolkit.foundation.errors import WorkError, one_line
from toolkit.training.device import random_state, set_random_state
from toolkit.training.weights import write_tensors

_Restored = TypeVar("_Restored")


def restore_checkpoint(path: Path, device: torch.device, apply: Callable[[Any], _Restored]) -> _Restored | None:
    """The result of ``apply`` for a checkpoint's contents; None if there is no checkpoint.

    Nothing in the file is executed.

    Raises:
        WorkError: the file is damaged, or ``apply`` cannot use it.
    """
    if not path.exists():
        return None
    try:
        return apply(torch.load(path, map_location=device, weights_only=True))
    except Exception as error:  # torch and pickle raise a dozen types for a damaged file
        raise WorkError(f"the checkpoint {path} cannot be resumed: {one_line(error)}; delete it") from error


def save_training(
    path: Path,
    step: int,
    model: nn.Module,
    optimizer: torch.optim.Optimizer,
    auxiliary: Sequence[torch.optim.Optimizer],
    device: torch.device,
    **facts: Any,
) -> None:
    """Write the state of a single :func:`~toolkit.training.loop.train`, atomically.

    Args:
        path: the file.
        step: steps done.
        model, optimizer, auxiliary: their states are saved with those of the random generators.
        device: of the model.
        facts: plain values that distinguish this training from others with the same file.
    """
    saved = {
        "step": step,
        "model": model.state_dict(),
        "optimizer": optimizer.state_dict(),
        "auxiliary": [one.state_dict() for one in auxiliary],
        "rng": random_state(device),
        "facts": facts,
    }
    write_tensors(path, saved)


def resume_training(
    path: Path, model: nn.Module, auxiliary: Sequence[torch.optim.Optimizer], device: torch.device, **facts: Any
) -> tuple[int, dict[str, Any] | None]:
    """Restore model, auxiliary optimisers and random generators from a checkpoint of :func:`save_training`.

    Returns:
        The next step, and the state of ``train``'s own optimiser; 0 and None without a checkpoint with these facts.

    Raises:
        WorkError: the file is damaged, or from another model.
    """

    def apply(saved: Mapping[str, Any]) -> tuple[int, dict[str, Any] | None]:
        if saved["facts"] != facts:
            return 0, None
        model.load_state_dict(saved["model"])
        for one, state in zip(auxiliary, saved["auxiliary"], strict=True):
            one.load_state_dict(state)
        set_random_state(saved["rng"])
        return int(saved["step"]), saved["optimizer"]

    return restore_checkpoint(path, device, apply) or (0, None)
