"""Where a pilot's network starts, what of it is trained, and the whole network afterwards."""

from __future__ import annotations

import torch
from torch import nn

from toolkit.foundation.progress import Progress, silent
from toolkit.learning.catalog import parse_method
from toolkit.pilots.config import PilotConfig, tuned_part
from toolkit.training.activations import Activations
from toolkit.training.backbones import default_network
from toolkit.training.networks import Classifier
from toolkit.training.start import NEUTRAL, Start, open_network
from toolkit.training.trunk import Trunk


def start_of(config: PilotConfig, device: torch.device) -> Start:
    """Where the pilot's network starts; for a method on frozen features, that is the extractor's network.

    An extractor that is trained here has no start: the default network stands for it until it has been trained.

    Raises:
        UsageError: no such network.
        WorkError: its weights cannot be read or downloaded.
    """
    spec = config.network
    if parse_method(config.method)[0].frozen:
        spec = config.extractor if ":" in config.extractor else "auto"
    return open_network(default_network(device) if spec == "auto" else spec)


def frozen_layers_of(
    start: Start, config: PilotConfig, device: torch.device, progress: Progress = silent
) -> Activations:
    """The layers that the pilot does not train, whose outputs can be stored; ``start`` is where it starts."""
    return Activations(Trunk(start, tuned_part(config), config.size, device), progress)


def whole_network(start: Start, tune: str, trained: nn.Module) -> nn.Module:
    """A trained network with its frozen layers; that of a method which changes the structure, as it is.

    Args:
        start: where the network started.
        tune: what was trained.
        trained: the network that was trained, without the frozen layers.
    """
    if tune == "all" or type(trained) is not Classifier:
        return trained
    whole = Classifier(start.backbone(), trained.head.out_features, *(start.statistics or NEUTRAL))
    state = {name: tensor for name, tensor in trained.state_dict().items() if name not in ("mean", "std")}
    whole.load_state_dict(state, strict=False)
    return whole.eval()
