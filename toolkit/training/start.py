"""Where a network starts: its architecture, its initial weights, and the normalisation that they expect."""

from __future__ import annotations

import copy
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import nn

from toolkit.foundation.errors import UsageError, one_line
from toolkit.foundation.image_size import WrittenSize, parse_image_size
from toolkit.training.backbones import TorchvisionBackbone, build_backbone, require_architecture
from toolkit.training.network_spec import CIFAR_RESNETS, NetworkSpec, parse_network
from toolkit.training.pretrained import pretrained_network, require_other_than_installed
from toolkit.training.weights import load_named, read_state_dict

RANDOM = "random"
"""How a :class:`Start` describes random weights."""
Statistics = tuple[tuple[float, ...], tuple[float, ...]]
NEUTRAL: Statistics = ((0.5, 0.5, 0.5), (0.25, 0.25, 0.25))
"""Normalisation of weights that do not say theirs."""


@dataclass(frozen=True)
class Start:
    """A network before its first training.

    Attributes:
        name: its spec, in one way of writing.
        architecture: such as ``resnet8`` or ``timm:NAME``.
        weights: one line on where they are from; :data:`RANDOM` if from nowhere.
        backbone: makes the network without its classifier; each call gives a new one.
        statistics: mean and standard deviation per channel in [0, 1] that the weights expect; None to take the data's.
    """

    name: str
    architecture: str
    weights: str
    backbone: Callable[[], nn.Module]
    statistics: Statistics | None = None


def open_network(spec: str) -> Start:
    """The network of a spec other than ``auto``, with its weights at hand.

    Raises:
        UsageError: unknown network, or a file that does not hold its weights (nothing in a file is executed).
        WorkError: weights that cannot be read or downloaded.
    """
    parsed = parse_network(spec)
    if parsed.path is not None:
        return _from_file(parsed)
    if not parsed.pretrained:
        require_architecture(parsed.architecture)
        return Start(spec, parsed.architecture, RANDOM, lambda: build_backbone(parsed.architecture))
    name = parsed.architecture.removeprefix("timm:")
    require_architecture(parsed.architecture)
    network, weights = pretrained_network(name)
    return Start(
        str(parsed), parsed.architecture, weights, lambda: copy.deepcopy(network), _statistics(parsed, network)
    )


def require_size(start: Start, size: WrittenSize) -> None:
    """Refuse images that a network does not take, such as small ones for a transformer.

    Raises:
        UsageError: the network fails on such an image, or its features are not finite.
    """
    network = start.backbone().eval()
    try:
        with torch.inference_mode():
            features = network(torch.zeros(1, 3, *parse_image_size(size)))
    except Exception as error:  # whatever the network's own code raises
        raise UsageError(f"{start.name} does not take images of {size} pixels: {one_line(error)}") from error
    if features.ndim != 2:
        raise UsageError(f"{start.name} gives features of shape {tuple(features.shape)}, not one vector per image")
    if not bool(torch.isfinite(features).all()):
        raise UsageError(f"{start.name} gives features that are not finite: its weights are damaged")


def _statistics(spec: NetworkSpec, network: Any) -> Statistics:
    """The normalisation of a spec: its own, else timm's for this network, else ImageNet's, as for torchvision."""
    config = getattr(network, "pretrained_cfg", None) or {}
    mean = spec.mean or tuple(config.get("mean", (0.485, 0.456, 0.406)))
    std = spec.std or tuple(config.get("std", (0.229, 0.224, 0.225)))
    return mean, std


def _from_file(spec: NetworkSpec) -> Start:
    assert spec.path is not None
    weights = f"file {spec.path.name}"
    if not spec.architecture:
        own, architecture = load_named(spec.path)
        mean, std = (tuple((values.flatten() / 255).tolist()) for values in (own.mean, own.std))
        return Start(
            str(spec), architecture, weights, lambda: copy.deepcopy(own.backbone), (spec.mean or mean, spec.std or std)
        )
    network = build_backbone(spec.architecture)
    state = read_state_dict(spec.path)
    require_other_than_installed(spec.architecture.removeprefix("timm:"), state)
    _load(network, state, spec)
    cifar = spec.architecture in CIFAR_RESNETS
    statistics = None if cifar and spec.mean is None else _statistics(spec, network)
    return Start(str(spec), spec.architecture, weights, lambda: copy.deepcopy(network), statistics)


def _load(network: Any, state: dict[str, torch.Tensor], spec: NetworkSpec) -> None:
    """Load everything but the classifier, whose number of classes is another.

    Raises:
        UsageError: tensors are missing, left over or of another shape.
    """
    classifier = getattr(network, "classifier_name", None)
    if classifier is None:
        named = (getattr(network, "pretrained_cfg", None) or {}).get("classifier", "head")
        classifier = (named,) if isinstance(named, str) else tuple(named)
    else:
        classifier = (classifier,)
    kept = {
        name: tensor for name, tensor in state.items() if not name.startswith(tuple(f"{one}." for one in classifier))
    }
    target = network.network if isinstance(network, TorchvisionBackbone) else network
    expected = target.state_dict()
    missing, left = sorted(set(expected) - set(kept)), sorted(set(kept) - set(expected))
    wrong = [name for name in expected if name in kept and kept[name].shape != expected[name].shape]
    for problem, names in (("misses", missing), ("has no place for", left), ("has another shape of", wrong)):
        if names:
            more = f" and {len(names) - 1} more tensors" if len(names) > 1 else ""
            raise UsageError(f"{spec.path} is not a state dict of {spec.architecture}: it {problem} {names[0]}{more}")
    target.load_state_dict(kept)
