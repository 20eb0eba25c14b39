"""Divide a network into a frozen trunk, which is computed once per image, and the rest, which is trained on that."""

from __future__ import annotations

import copy
import hashlib
from itertools import pairwise
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from toolkit.codecs.features import DIGEST_BYTES
from toolkit.foundation.errors import UsageError
from toolkit.foundation.image_size import WrittenSize, parse_image_size
from toolkit.foundation.threads import ordered_map
from toolkit.training.backbones import TorchvisionBackbone
from toolkit.training.device import runs_bfloat16, torch_threads
from toolkit.training.networks import Normalisation, add_weights
from toolkit.training.start import NEUTRAL, Start

_LAST_STAGES = ("stage3", "layer4", "s4")
"""Names of the last stage in CIFAR ResNets, ResNets and RegNets."""
_LISTS = ("stages", "layers", "features", "blocks")
"""Names of the list of stages or blocks in other networks of timm and torchvision."""
_CPU_BATCH = 8
"""Images per pass on a CPU: the activations of more do not fit into its caches (7.1 ms per image, 9.5 with 32)."""
_GPU_BATCH = 64
CROP = 7 / 8
"""Side of the crops of the later views, of the image's."""
_FOLDING_ERROR = 1e-3


class Reached(Exception):
    """Ends a forward pass at the trunk's output.

    Attributes:
        output: that output.
    """

    def __init__(self, output: torch.Tensor) -> None:
        super().__init__()
        self.output = output


class Identity(nn.Identity):
    """The rest of a network whose classifier alone is trained: features (N, D) to themselves."""

    def __init__(self, num_features: int) -> None:
        super().__init__()
        self.num_features = num_features


class Trunk:
    """The frozen layers of a network, in bfloat16 with folded batch normalisation where the hardware has it.

    Args:
        start: the network.
        tune: ``last-block``, or ``head`` for a trunk of the whole backbone.
        size: of the images.
        device: where it runs.

    Attributes:
        digest: hexadecimal, of the weights and of all that changes its outputs.
        layers: :data:`~toolkit.codecs.features.DIGEST_BYTES` bytes, of the weights and of which layers these are.
    """

    def __init__(self, start: Start, tune: str, size: WrittenSize, device: torch.device) -> None:
        self.device = device
        backbone: Any = start.backbone().eval().requires_grad_(False)
        mean, std = start.statistics or NEUTRAL
        self._type = torch.bfloat16 if runs_bfloat16(device) else torch.float32
        facts = f"2|{self._type}|{device.type}|{torch.__version__}"
        weights = hashlib.sha256(f"1|{start.architecture}|{tune}|{mean}|{std}".encode())
        add_weights(weights, backbone)
        self.layers = weights.digest()[:DIGEST_BYTES]
        self.digest = hashlib.sha256(self.layers + facts.encode()).hexdigest()[:32]
        self._normalisation = Normalisation(mean, std).to(device)
        folded = _folded(backbone, size)
        if tune == "last-block":
            _stop_before_last(folded)
        self._network = folded.to(device, self._type)
        self._network = self._network.to(memory_format=torch.channels_last)

    def __call__(self, images: torch.Tensor) -> torch.Tensor:
        """Outputs, bfloat16 (N, C, h, w) or (N, D) on the CPU, of images uint8 (N, H, W, 3).

        An image's output does not depend on the others: batches always have the same size.
        """
        size = _CPU_BATCH if self.device.type == "cpu" else _GPU_BATCH
        parts = images.split(size)
        if self.device.type != "cpu":
            return torch.cat([self._batch(part, size) for part in parts])
        with torch_threads(1):  # images side by side: faster than the layers of one batch on all cores
            return torch.cat(list(ordered_map(lambda part: self._batch(part, size), parts, group=1)))

    @torch.inference_mode()
    def _batch(self, images: torch.Tensor, size: int) -> torch.Tensor:
        count = len(images)
        filled = torch.cat([images, images[-1:].expand(size - count, *images.shape[1:])])
        normalised = self._normalisation(filled.to(self.device).permute(0, 3, 1, 2)).to(self._type)
        normalised = normalised.contiguous(memory_format=torch.channels_last)
        return _until_stop(self._network, normalised)[:count].to(torch.bfloat16).cpu()


def views(images: torch.Tensor, count: int) -> torch.Tensor:
    """Fixed augmentations of images: uint8 (N, count, H, W, 3) of uint8 (N, H, W, 3).

    In this order: the image, its mirror image, and crops of :data:`CROP` of its side at alternating corners, every
    second one mirrored, enlarged to its size.
    """
    made = [images, images.flip(2)]
    height, width = images.shape[1:3]
    tall, wide = round(height * CROP), round(width * CROP)
    corners = [(0, 0), (height - tall, width - wide), (0, width - wide), (height - tall, 0)]
    for number in range(max(0, count - 2)):
        top, left = corners[number // 2 % 4]
        crop = images[:, top : top + tall, left : left + wide].permute(0, 3, 1, 2).float()
        enlarged = functional.interpolate(crop, size=(height, width), mode="bilinear", antialias=True)
        view = enlarged.round().clamp(0, 255).to(torch.uint8).permute(0, 2, 3, 1)
        made.append(view.flip(2) if number % 2 else view)
    return torch.stack(made[:count], dim=1)


def rest_of(start: Start, tune: str, size: WrittenSize) -> nn.Module:
    """The layers that are trained on a trunk's outputs; a new module with ``num_features``.

    Its tensors have the names of the whole network's, which has more.

    Raises:
        UsageError: the network cannot be divided.
    """
    backbone: Any = start.backbone()
    if tune == "head":
        return Identity(int(backbone.num_features))
    backbone.eval()
    images = _random_images(size)
    early = copy.deepcopy(backbone)
    _stop_before_last(early)
    with torch.inference_mode(), torch_threads(1):
        expected, between = backbone(images), _until_stop(early, images)
        rest = _without_earlier(backbone)
        try:
            found = rest(between)
        except Exception as error:  # whatever the network's own code raises
            raise _indivisible(start) from error
    if found.shape != expected.shape or not torch.allclose(found, expected, rtol=1e-3, atol=1e-4):
        raise _indivisible(start)
    return rest.train()


def _stop_before_last(network: nn.Module) -> None:
    """Let every forward pass end before the network's last block, with the output in an exception: safe in threads."""

    def stop(module: nn.Module, inputs: tuple[torch.Tensor, ...]) -> None:
        raise Reached(inputs[0])

    _last_block(network).register_forward_pre_hook(stop)


def _until_stop(network: nn.Module, images: torch.Tensor) -> torch.Tensor:
    try:
        return network(images)
    except Reached as reached:
        return reached.output


def _random_images(size: WrittenSize) -> torch.Tensor:
    return torch.randn(2, 3, *parse_image_size(size), generator=torch.Generator().manual_seed(0))


def _indivisible(start: Start) -> UsageError:
    return UsageError(f"{start.name} cannot be divided before its last block: train its head or all of it")


def _place_of_last(network: nn.Module) -> tuple[str, nn.Module, nn.Module]:
    """Name of the child that is or holds the last block, that child, and the block."""
    for name in _LAST_STAGES + _LISTS:
        child = getattr(network, name, None)
        if isinstance(child, nn.Module) and (blocks := list(child.children())):
            return name, child, child if name in _LAST_STAGES else blocks[-1]
    raise UsageError(f"a {type(network).__name__} has no list of blocks: train its head or all of it")


def _inner(network: nn.Module) -> nn.Module:
    return network.network if isinstance(network, TorchvisionBackbone) else network


def _last_block(network: nn.Module) -> nn.Module:
    return _place_of_last(_inner(network))[2]


def _without_earlier(network: nn.Module) -> nn.Module:
    """The network with everything before its last block replaced by identities."""
    inner = _inner(network)
    holder, child, last = _place_of_last(inner)
    if child is not last:
        for name, _ in list(child.named_children())[:-1]:
            setattr(child, name, nn.Identity())
    for name, _ in list(inner.named_children()):
        if name == holder:
            break
        setattr(inner, name, nn.Identity())
    return network


def _folded(network: nn.Module, size: WrittenSize) -> nn.Module:
    """A copy whose batch normalisations are folded into the convolutions right before them, unless that changes it."""
    from timm.layers import BatchNormAct2d

    folded = copy.deepcopy(network)
    for parent in list(folded.modules()):
        children = list(parent.named_children())
        for (first, convolution), (second, norm) in pairwise(children):
            if isinstance(convolution, nn.Conv2d) and isinstance(norm, (nn.BatchNorm2d, BatchNormAct2d)):
                setattr(parent, first, nn.utils.fusion.fuse_conv_bn_eval(convolution, norm))
                after = nn.Sequential(norm.drop, norm.act) if isinstance(norm, BatchNormAct2d) else nn.Identity()
                setattr(parent, second, after)
    images = _random_images(size)
    with torch.inference_mode(), torch_threads(1):
        expected, found = network(images), folded(images)
    scale = float(expected.abs().max())
    return folded if float((found - expected).abs().max()) <= _FOLDING_ERROR * scale else network
