"""Classifiers on disk as plain weights: loading one executes nothing."""

from __future__ import annotations

import io
import pickle
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import safetensors
import safetensors.torch
import torch
from torch import nn

from toolkit.foundation.errors import UsageError, WorkError, describe_os_error, one_line
from toolkit.foundation.files import write_atomically
from toolkit.training.backbones import build_backbone
from toolkit.training.network_spec import CIFAR_RESNETS
from toolkit.training.networks import Classifier, GrowingLinear


def save_network(network: nn.Module, name: str, path: Path, method: str = "") -> None:
    """Write a classifier as plain weights for :func:`load_network`.

    A network with a method-specific structure is written with the method's name, and only that method can load it.
    """
    plain = isinstance(network, Classifier) and isinstance(network.head, GrowingLinear)
    saved = {"network": name, "state_dict": network.state_dict()}
    write_tensors(path, saved if plain else {**saved, "method": method})


def write_tensors(path: Path, value: Any) -> None:
    """Write tensors and plain values with ``torch.save``, atomically.

    Raises:
        WorkError: the file cannot be written.
    """
    buffer = io.BytesIO()
    torch.save(value, buffer)
    write_atomically(path, lambda file: file.write(buffer.getbuffer()))


def load_network(path: Path) -> Classifier:
    """The classifier of :func:`load_named`."""
    return load_named(path)[0]


def load_named(path: Path) -> tuple[Classifier, str]:
    """Load a classifier that the toolkit has saved, and the name of its architecture; nothing in the file is executed.

    Raises:
        UsageError: missing, not plain weights, or not from a known network.
        WorkError: the file cannot be read.
    """
    saved = _read(path)
    if isinstance(saved, dict) and saved.get("method"):
        raise UsageError(f"{path} is not a plain classifier: method {saved['method']} changed the network's structure")
    name, state = _named_state(saved, path)
    try:
        network = Classifier(build_backbone(name), state["head.weight"].shape[0])
        network.load_state_dict(state)
    except (KeyError, RuntimeError, AttributeError) as error:
        raise UsageError(f"{path} does not hold the weights of a {name} classifier: {one_line(error)}") from error
    _require_finite(state, path)
    return network.eval(), name


def read_state_dict(path: Path) -> dict[str, torch.Tensor]:
    """The state dict in a file of timm, torchvision or plain PyTorch, whatever holds it; nothing in it is executed.

    Takes ``.safetensors`` and what ``torch.save`` writes: a state dict, or one under ``state_dict``, ``model`` or
    ``state_dict_ema``, with or without the prefix ``module.`` of a parallel training.

    Raises:
        UsageError: missing, not plain weights, no state dict, or values that are not finite.
        WorkError: the file cannot be read.
    """
    saved = _read(path)
    for key in ("state_dict", "model", "state_dict_ema"):
        if isinstance(saved, dict) and isinstance(saved.get(key), dict):
            saved = saved[key]
            break
    if not isinstance(saved, dict) or not saved or not all(isinstance(one, torch.Tensor) for one in saved.values()):
        raise UsageError(f"{path} holds no state dict")
    state = {str(name).removeprefix("module."): tensor for name, tensor in saved.items()}
    _require_finite(state, path)
    return state


def _read(path: Path) -> Any:
    try:
        if path.suffix == ".safetensors":
            return safetensors.torch.load_file(path)
        return torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"the checkpoint {path} does not exist") from None
    except OSError as error:
        raise WorkError(describe_os_error(error, "read", path)) from error
    except (
        pickle.UnpicklingError,
        RuntimeError,
        EOFError,
        ValueError,
        KeyError,
        safetensors.SafetensorError,
    ) as error:
        raise UsageError(f"{path} is refused: it is not plain weights, and nothing in it was executed") from error


def _require_finite(state: Mapping[str, torch.Tensor], path: Path) -> None:
    for name, tensor in state.items():
        if not bool(torch.isfinite(tensor).all()):
            raise UsageError(f"{path} is damaged: {name} has values that are not finite")


def _named_state(saved: Any, path: Path) -> tuple[str, dict[str, torch.Tensor]]:
    """Network name and state dict, from either of the formats written here or a bare CIFAR ResNet state dict."""
    if isinstance(saved, dict) and isinstance(saved.get("network"), str) and isinstance(saved.get("state_dict"), dict):
        return saved["network"], saved["state_dict"]
    if isinstance(saved, dict) and isinstance(saved.get("network"), dict):
        saved = saved["network"]
    if isinstance(saved, dict) and "head.weight" in saved:
        blocks = len({key.split(".")[2] for key in saved if key.startswith("backbone.stage1.")})
        for name, count in CIFAR_RESNETS.items():
            if count == blocks:
                return name, saved
    raise UsageError(f'{path}: expected {{"network": NAME, "state_dict": weights}}, as in a pilot\'s network.pt')
