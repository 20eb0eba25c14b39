"""CIFAR ResNets: small networks for small images."""

from __future__ import annotations

import torch
from torch import nn
from torch.nn import functional


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
