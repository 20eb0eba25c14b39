"""Backbones: networks without their classifier, with random weights."""

from __future__ import annotations

import torch
from torch import nn

from toolkit.foundation.errors import UsageError
from toolkit.training.cifar_resnet import CifarResNet
from toolkit.training.network_spec import CIFAR_RESNETS


class TorchvisionBackbone(nn.Module):
    """A classifier of torchvision without its last linear layer: normalised images (N, 3, H, W) to (N, D)."""

    def __init__(self, network: nn.Module) -> None:
        super().__init__()
        name, last = [(name, module) for name, module in network.named_modules() if isinstance(module, nn.Linear)][-1]
        self.num_features = last.in_features
        self.classifier_name = name
        parent, _, child = name.rpartition(".")
        setattr(network.get_submodule(parent), child, nn.Identity())
        self.network = network

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return self.network(x)


def default_network(device: torch.device) -> str:
    """The small network that ``auto`` stands for: ResNet-8 on a CPU, where a pilot takes about a minute; ResNet-32, the
    standard of the field, on a GPU."""
    return "resnet32" if device.type == "cuda" else "resnet8"


def build_backbone(architecture: str) -> nn.Module:
    """A network without its classifier, with random weights.

    Args:
        architecture: ``resnet8|20|32|56``, ``timm:NAME`` or ``torchvision:NAME``.

    Raises:
        UsageError: unknown name.
    """
    require_architecture(architecture)
    kind, _, name = architecture.partition(":")
    if architecture in CIFAR_RESNETS:
        return CifarResNet(CIFAR_RESNETS[architecture])
    if kind == "torchvision":
        import torchvision

        return TorchvisionBackbone(torchvision.models.get_model(name, weights=None))
    import timm

    return timm.create_model(name, num_classes=0)


def require_architecture(architecture: str) -> None:
    """Refuse an unknown network, without making one: that would draw random numbers.

    Raises:
        UsageError: unknown name.
    """
    kind, _, name = architecture.partition(":")
    if architecture in CIFAR_RESNETS:
        return
    if kind == "torchvision":
        import torchvision

        if name not in torchvision.models.list_models(torchvision.models):
            raise UsageError(f"torchvision has no classifier {name!r}")
        return
    if kind != "timm":
        raise UsageError(f"unknown network {architecture!r}: choose one of {', '.join(CIFAR_RESNETS)} or timm:NAME")
    import timm

    if not timm.is_model(name):
        raise UsageError(
            f"timm has no network {name!r}; `python -c 'import timm; print(timm.list_models())'` lists them"
        )
