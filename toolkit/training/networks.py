"""Classifiers with a growing head, on CIFAR ResNets and timm networks."""

from __future__ import annotations

import numpy as np
import torch
from torch import nn
from torch.nn import functional

from toolkit.foundation.channels import by_channel
from toolkit.foundation.errors import UsageError, WorkError, one_line

RESNET_BLOCKS = {"resnet8": 1, "resnet20": 3, "resnet32": 5, "resnet56": 9}
"""Blocks per stage, n: a CIFAR ResNet has 6 n + 2 layers."""


class BasicBlock(nn.Module):
    """Two 3x3 convolutions and an identity shortcut, subsampled and zero-padded if the shape changes (option A)."""

    last_relu = True

    def __init__(self, inputs: int, outputs: int, stride: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(inputs, outputs, 3, stride, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(outputs)
        self.conv2 = nn.Conv2d(outputs, outputs, 3, 1, 1, bias=False)
        self.bn2 = nn.BatchNorm2d(outputs)
        self.stride = stride
        self.extra = outputs - inputs

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        out = functional.relu(self.bn1(self.conv1(x)), inplace=True)
        out = self.bn2(self.conv2(out))
        if self.stride != 1 or self.extra:
            # equal to x[:, :, ::s, ::s], whose gradient is not channels_last, which doubles a step's time
            x = functional.avg_pool2d(x, 1, self.stride)
            x = functional.pad(x, (0, 0, 0, 0, 0, self.extra))
        out = out + x
        return functional.relu(out, inplace=True) if self.last_relu else out


class CifarResNet(nn.Module):
    """The 6 n + 2 layer ResNet for small images, widths 16-32-64 (He et al., CVPR 2016, section 4.2).

    Returns pooled features, float (N, 64), of normalised images (N, 3, H, W). With n = 5 (ResNet-32) it has 463,504
    parameters, as in PyCIL.
    """

    num_features = 64

    def __init__(self, blocks: int) -> None:
        super().__init__()
        self.conv1 = nn.Conv2d(3, 16, 3, 1, 1, bias=False)
        self.bn1 = nn.BatchNorm2d(16)
        self.stage1 = self._stage(16, 16, blocks, 1)
        self.stage2 = self._stage(16, 32, blocks, 2)
        self.stage3 = self._stage(32, 64, blocks, 2)
        for module in self.modules():
            if isinstance(module, nn.Conv2d):
                nn.init.kaiming_normal_(module.weight, mode="fan_out", nonlinearity="relu")

    @staticmethod
    def _stage(inputs: int, outputs: int, blocks: int, stride: int) -> nn.Sequential:
        first = BasicBlock(inputs, outputs, stride)
        return nn.Sequential(first, *(BasicBlock(outputs, outputs, 1) for _ in range(blocks - 1)))

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        return pooled(self.feature_maps(x)[-1])

    def feature_maps(self, x: torch.Tensor) -> list[torch.Tensor]:
        """The outputs of the three stages, (N, C, H, W) each; :meth:`forward` returns the spatial mean of the last."""
        first = self.stage1(functional.relu(self.bn1(self.conv1(x)), inplace=True))
        second = self.stage2(first)
        return [first, second, self.stage3(second)]

    def drop_last_relu(self) -> None:
        """Allow features of either sign: cosines of features after a ReLU hardly discriminate between images."""
        last = self.stage3[-1]
        assert isinstance(last, BasicBlock)
        last.last_relu = False

    def cut(self) -> tuple[nn.Module, nn.Module]:
        """All but the last stage, and the last stage with the pooling; not copies."""
        early = nn.Sequential(self.conv1, self.bn1, nn.ReLU(inplace=True), self.stage1, self.stage2)
        return early, nn.Sequential(self.stage3, nn.AdaptiveAvgPool2d(1), nn.Flatten(1))


def pooled(maps: torch.Tensor) -> torch.Tensor:
    """Mean over space, (N, C), of feature maps (N, C, H, W)."""
    # not maps.mean(): its gradient is not channels_last, which slows every earlier layer by a tenth
    return functional.adaptive_avg_pool2d(maps, 1).flatten(1)


class Normalisation(nn.Module):
    """Normalise images (N, 3, H, W) in [0, 255], uint8 or float, to zero mean and unit deviation.

    The output has the type that the module was cast to, float32 by default, whatever the type of the images.

    Args:
        mean, std: of the training pixels, per channel or one for all, in [0, 1].

    Raises:
        UsageError: neither one nor three values, not finite, or a deviation that is not positive.
    """

    mean: torch.Tensor
    std: torch.Tensor

    def __init__(self, mean: tuple[float, ...], std: tuple[float, ...]) -> None:
        super().__init__()
        named = {"mean": by_channel("mean", mean), "std": by_channel("std", std, positive=True)}
        for name, numbers in named.items():
            self.register_buffer(name, torch.tensor(numbers, dtype=torch.float32).expand(3).view(1, 3, 1, 1) * 255)

    def normalise(self, images: torch.Tensor) -> torch.Tensor:
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
        mean, std: of the training pixels, per channel, in [0, 1].
    """

    def __init__(
        self,
        backbone: nn.Module,
        classes: int,
        mean: tuple[float, ...] = (0.5, 0.5, 0.5),
        std: tuple[float, ...] = (0.25, 0.25, 0.25),
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


def build_backbone(name: str, *, pretrained: bool = False) -> nn.Module:
    """A CIFAR ResNet (``resnet8|20|32|56``) or a timm network (``timm:NAME``) without its classifier.

    Raises:
        UsageError: unknown name.
        WorkError: pretrained weights cannot be loaded.
    """
    if name in RESNET_BLOCKS:
        if pretrained:
            raise UsageError(f"{name} has no pretrained weights")
        return CifarResNet(RESNET_BLOCKS[name])
    if not name.startswith("timm:"):
        raise UsageError(f"unknown network {name!r}: choose one of {', '.join(RESNET_BLOCKS)} or timm:NAME")
    import timm

    model = name.removeprefix("timm:")
    if not timm.is_model(model):
        raise UsageError(
            f"timm has no network {model!r}; `python -c 'import timm; print(timm.list_models())'` lists them"
        )
    try:
        return timm.create_model(model, pretrained=pretrained, num_classes=0)
    except Exception as error:  # the hub raises connection, HTTP and file errors of several libraries
        raise WorkError(f"the pretrained weights of {model} could not be loaded: {one_line(error)}") from error


def pixel_statistics(images: np.ndarray) -> tuple[tuple[float, ...], tuple[float, ...]]:
    """Mean and standard deviation per channel in [0, 1] of images uint8 (N, H, W, 3), for :class:`Classifier`."""
    scaled = images.astype(np.float32) / 255
    mean, std = scaled.mean(axis=(0, 1, 2)), np.maximum(scaled.std(axis=(0, 1, 2)), 1e-3)
    return tuple(mean.tolist()), tuple(std.tolist())


def default_network(device: torch.device) -> str:
    """ResNet-8 on a CPU, where a pilot takes about a minute; ResNet-32, the standard of the field, on a GPU."""
    return "resnet32" if device.type == "cuda" else "resnet8"
