"""Classifiers on disk as plain weights: loading one executes nothing."""

from __future__ import annotations

import io
import pickle
from pathlib import Path
from typing import Any

import torch
from torch import nn

from toolkit.foundation.errors import UsageError, WorkError, describe_os_error, one_line
from toolkit.foundation.files import write_atomically
from toolkit.training.networks import RESNET_BLOCKS, Classifier, GrowingLinear, build_backbone


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
    """Load a classifier from plain weights with ``weights_only=True``: nothing in the file is executed.

    Raises:
        UsageError: missing, not plain weights, or not from a known network.
        WorkError: the file cannot be read.
    """
    try:
        saved = torch.load(path, map_location="cpu", weights_only=True)
    except FileNotFoundError:
        raise UsageError(f"the checkpoint {path} does not exist") from None
    except OSError as error:
        raise WorkError(describe_os_error(error, "read", path)) from error
    except (pickle.UnpicklingError, RuntimeError, EOFError, ValueError, KeyError) as error:
        raise UsageError(f"{path} is refused: it is not plain weights, and nothing in it was executed") from error
    if isinstance(saved, dict) and saved.get("method"):
        raise UsageError(f"{path} is not a plain classifier: method {saved['method']} changed the network's structure")
    name, state = _named_state(saved, path)
    try:
        network = Classifier(build_backbone(name), state["head.weight"].shape[0])
        network.load_state_dict(state)
    except (KeyError, RuntimeError, AttributeError) as error:
        raise UsageError(f"{path} does not hold the weights of a {name} classifier: {one_line(error)}") from error
    return network.eval()


def _named_state(saved: Any, path: Path) -> tuple[str, dict[str, torch.Tensor]]:
    """Network name and state dict, from either of the formats written here or a bare CIFAR ResNet state dict."""
    if isinstance(saved, dict) and isinstance(saved.get("network"), str) and isinstance(saved.get("state_dict"), dict):
        return saved["network"], saved["state_dict"]
    if isinstance(saved, dict) and isinstance(saved.get("network"), dict):
        saved = saved["network"]
    if isinstance(saved, dict) and "head.weight" in saved:
        blocks = len({key.split(".")[2] for key in saved if key.startswith("backbone.stage1.")})
        for name, count in RESNET_BLOCKS.items():
            if count == blocks:
                return name, saved
    raise UsageError(f'{path}: expected {{"network": NAME, "state_dict": weights}}, as in a pilot\'s network.pt')
