"""Specs of networks: the architecture and where its weights come from. Imports no torch, for forms and configurations.

``auto``                             pretrained from :data:`PRETRAINED_SIZE` pixels on, else a CIFAR ResNet
``resnet8|20|32|56``                 CIFAR ResNet with random weights
``timm:NAME``                        pretrained weights: installed ones, or those of timm's hub
``timm:NAME,pretrained=no``          the same network with random weights
``checkpoint:PATH``                  weights that a run of the toolkit has saved
``checkpoint:PATH,network=NETWORK``  a state dict of timm or torchvision; NETWORK is ``timm:NAME``, ``torchvision:NAME``
                                     or a CIFAR ResNet; ``mean=R/G/B`` and ``std=R/G/B`` replace its normalisation
"""

from __future__ import annotations

import re
from dataclasses import dataclass
from pathlib import Path

from toolkit.foundation.errors import UsageError
from toolkit.foundation.image_size import WrittenSize, parse_image_size
from toolkit.foundation.parameters import Parameter, parse_assignments

CIFAR_RESNETS = {"resnet8": 1, "resnet20": 3, "resnet32": 5, "resnet56": 9}
"""Blocks per stage, n: a CIFAR ResNet has 6 n + 2 layers."""
PRETRAINED_SIZE = 96
"""Smallest images, in pixels, for which ``auto`` is the pretrained network."""
PRETRAINED = "timm:tf_efficientnet_lite0"
"""The network whose ImageNet weights are installed with the toolkit."""

_PRETRAINED = {"pretrained": Parameter(bool, True, help="start from pretrained weights")}
_OPTION = re.compile(r",(?=(?:network|mean|std)=)")


@dataclass(frozen=True)
class NetworkSpec:
    """A parsed spec.

    Attributes:
        architecture: ``resnet8``, ``timm:NAME``, ``torchvision:NAME``; empty if the file must name it.
        pretrained: whether to start from pretrained weights of the architecture.
        path: file of weights, or None.
        mean, std: per channel in [0, 1], or None for those of the architecture.
    """

    architecture: str
    pretrained: bool = False
    path: Path | None = None
    mean: tuple[float, ...] | None = None
    std: tuple[float, ...] | None = None

    @property
    def trained(self) -> bool:
        """Whether the weights are not random."""
        return self.pretrained or self.path is not None

    def __str__(self) -> str:
        if self.path is None:
            random = self.architecture.startswith("timm:") and not self.pretrained
            return self.architecture + (",pretrained=no" if random else "")
        options = [f"network={self.architecture}"] if self.architecture else []
        for name, values in (("mean", self.mean), ("std", self.std)):
            if values is not None:
                options.append(f"{name}={'/'.join(f'{value:g}' for value in values)}")
        return ",".join([f"checkpoint:{self.path}", *options])


def parse_network(spec: str) -> NetworkSpec:
    """The network of a spec other than ``auto``; the path of a checkpoint becomes absolute.

    Raises:
        UsageError: unknown network or option.
    """
    kind, _, argument = spec.partition(":")
    if spec in CIFAR_RESNETS:
        return NetworkSpec(spec)
    if kind == "timm" and argument:
        name, _, options = argument.partition(",")
        return NetworkSpec(f"timm:{name}", bool(parse_assignments(spec, _PRETRAINED, options)["pretrained"]))
    if kind == "checkpoint" and argument:
        path, *assigned = _OPTION.split(argument)
        given = dict(option.split("=", 1) for option in assigned)
        if len(given) < len(assigned):
            raise UsageError(f"{spec!r} names an option twice")
        architecture = given.get("network", "")
        if architecture and not _is_architecture(architecture):
            raise UsageError(
                f"unknown network {architecture!r} of a checkpoint: choose timm:NAME, torchvision:NAME or one of "
                f"{', '.join(CIFAR_RESNETS)}"
            )
        mean, std = (_per_channel(name, given[name]) if name in given else None for name in ("mean", "std"))
        return NetworkSpec(architecture, False, Path(path).expanduser().absolute(), mean, std)
    raise UsageError(
        f"a network is auto, {', '.join(CIFAR_RESNETS)}, timm:NAME or checkpoint:PATH,network=NAME, got {spec!r}"
    )


def is_large(size: WrittenSize) -> bool:
    """Whether images are large enough for the pretrained network."""
    return parse_image_size(size).shorter >= PRETRAINED_SIZE


def canonical_network(spec: str, size: WrittenSize) -> str:
    """The spec written in one way, with ``auto`` replaced by the pretrained network where it stands for that.

    Args:
        spec: as given.
        size: of the images.

    Raises:
        UsageError: unknown network or option.
    """
    if spec == "auto":
        return PRETRAINED if is_large(size) else spec
    return str(parse_network(spec))


def starts_trained(spec: str) -> bool:
    """Whether a network starts from weights that are not random; False for ``auto``, which stands for small ones."""
    return spec != "auto" and parse_network(spec).trained


def _is_architecture(name: str) -> bool:
    kind, _, argument = name.partition(":")
    return name in CIFAR_RESNETS or (kind in ("timm", "torchvision") and bool(argument) and "," not in argument)


def _per_channel(name: str, text: str) -> tuple[float, ...]:
    try:
        values = tuple(float(part) for part in text.split("/"))
    except ValueError:
        values = ()
    low = 0.0 if name == "mean" else 1e-6
    if len(values) not in (1, 3) or not all(low <= value <= 1 for value in values):
        raise UsageError(
            f"{name} must be one or three numbers from {low:g} to 1, such as 0.485/0.456/0.406, got {text!r}"
        )
    return values if len(values) == 3 else values * 3
