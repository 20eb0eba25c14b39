"""Classifiers: normalisation, a backbone and a head that can grow."""

from __future__ import annotations

from typing import Protocol

import numpy as np
import torch
from torch import nn

from toolkit.foundation.channels import by_channel
from toolkit.foundation.errors import UsageError


class Digest(Protocol):
    """What adding to a hash needs."""

    def update(self, data: bytes, /) -> None:
        """Add bytes."""


Channels = tuple[float, ...] | None
"""Mean or standard deviation per channel in [0, 1]; None for inputs that are activations and taken as they are."""


class Normalisation(nn.Module):
    """Normalise images (N, 3, H, W) in [0, 255], uint8 or float, to zero mean and unit deviation.

    The output has the type that the module was cast to, float32 by default, whatever the type of the images.

    Args:
        mean, std: of the training pixels, per channel or one for all, in [0, 1]; None for both changes only the type.

    Raises:
        UsageError: neither one nor three values, not finite, or a deviation that is not positive.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: Channels, std: Channels) -> None:
        super().__init__()
        if mean is None or std is None:
            self.register_buffer("mean", torch.empty(0))
            self.register_buffer("std", torch.empty(0))
            return
        named = {"mean": by_channel("mean", mean), "std": by_channel("std", std, positive=True)}
        for name, numbers in named.items():
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32).expand(3).view(1, 3, 1, 1) * 255)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
        if not self.mean.numel():
            return images.to(self.mean.dtype)
        exact = torch.promote_types(self.mean.dtype, torch.float32)
        return ((images.to(exact) - self.mean.to(exact)) / self.std.to(exact)).to(self.mean.dtype)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return self.normalise(images)


class GrowingLinear(nn.Linear):
    """A linear head that can gain outputs and inputs, keeping its weights."""

    def grow(self, outputs: int, inputs: int | None = None) -> None:
        """Grow to ``outputs`` outputs and ``inputs`` inputs (unchanged by default).

        Raises:
            UsageError: fewer than now.
        """
        inputs = self.in_features if inputs is None else inputs
        if outputs < self.out_features or inputs < self.in_features:
            now = f"{self.out_features} outputs of {self.in_features} inputs"
            raise UsageError(f"a head of {now} can only grow, got {outputs} outputs of {inputs} inputs")
        if (outputs, inputs) == (self.out_features, self.in_features):
            return
        new = nn.Linear(inputs, outputs).to(self.weight.device, self.weight.dtype)
        with torch.no_grad():
            new.weight[: self.out_features, : self.in_features] = self.weight
            new.bias[: self.out_features] = self.bias
        self.weight, self.bias = new.weight, new.bias
        self.out_features, self.in_features = outputs, inputs


class Classifier(Normalisation):
    """Normalisation, backbone and a linear head that can grow.

    Args:
        backbone: normalised images (N, 3, H, W) to features (N, ``num_features``).
        classes: initial number of outputs.
        mean, std: see :class:`Normalisation`.
    """

    def __init__(
        self,
        backbone: nn.Module,
        classes: int,
        mean: Channels = (0.5, 0.5, 0.5),
        std: Channels = (0.25, 0.25, 0.25),
    ) -> None:
        super().__init__(mean, std)
        self.backbone = backbone
        self.head = GrowingLinear(int(backbone.num_features), classes)  # type: ignore[arg-type]  # timm's and ours: int

    def features(self, images: torch.Tensor) -> torch.Tensor:
        """Pooled penultimate features, float (N, D), of images (N, 3, H, W) in [0, 255], uint8 or float."""
        return self.backbone(self.normalise(images))

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Logits (N, classes) of images (N, 3, H, W) in [0, 255], uint8 or float."""
        return self.head(self.features(images))

    def grow(self, classes: int) -> None:
        """Grow the head to ``classes`` outputs, keeping its weights."""
        self.head.grow(classes)


def add_weights(digest: Digest, network: nn.Module) -> None:
    """Add the names and values of a network's weights to a digest of :mod:`hashlib`."""
    for name, weights in network.state_dict().items():
        digest.update(name.encode() + weights.cpu().numpy().tobytes())


def pixel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel in [0, 1] of images uint8 (N, H, W, 3), for :class:`Classifier`."""
    scaled = images.astype(np.float32) / 255
    mean, std = scaled.mean(axis=(0, 1, 2)), np.maximum(scaled.std(axis=(0, 1, 2)), 1e-3)
    return tuple(mean.tolist()), tuple(std.tolist())
