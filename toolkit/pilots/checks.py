"""Checks of a pilot before it starts."""

from __future__ import annotations

from functools import partial

import numpy as np
import torch

from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset
from toolkit.foundation.progress import Progress, silent
from toolkit.learning.catalog import parse_method
from toolkit.learning.methods import build_method
from toolkit.memory.allocation import BudgetTooSmall
from toolkit.memory.disk import smallest_bytes
from toolkit.pilots.config import PilotConfig, tuned_part
from toolkit.pilots.data import PilotData
from toolkit.pilots.starts import start_of
from toolkit.training.device import resolve_device
from toolkit.training.start import NEUTRAL, require_size
from toolkit.training.trunk import rest_of


def check_pilot(
    config: PilotConfig, seed: int = 0, dataset: ImageDataset | None = None, progress: Progress = silent
) -> None:
    """Check a configuration before anything is written.

    Args:
        config: the configuration.
        seed: one of its seeds.
        dataset: the configuration's dataset, if it is already open.
        progress: receives the progress of opening and coding it.

    Raises:
        UsageError: stages, class order, method, device, network, extractor or budget do not fit.
    """
    device = resolve_device(config.device)
    dataset = dataset or load_dataset(config.dataset, config.size, progress=progress)
    data = PilotData.load(config, dataset, seed, progress)
    charged = _charged_bytes(config, data, device)
    kind, _ = parse_method(config.method)
    if not kind.exemplars:
        return
    method = build_method(config.method)
    sizes = np.diff(data.coded_train.ends, prepend=0)
    largest: list[tuple[int, int]] = []
    for stage, classes in enumerate(data.scenario.stages):
        extra = method.extra_bytes(data.stage(stage).total)
        largest += [(int(sizes[data.dataset.train.labels == label].max()), extra) for label in classes]
    smallest = smallest_bytes(largest, data.codec.shared_bytes()) + charged
    if smallest > data.budget:
        raise BudgetTooSmall(data.budget, smallest, len(dataset.class_names))


def _charged_bytes(config: PilotConfig, data: PilotData, device: torch.device) -> int:
    """Bytes of weights charged to the budget after the last stage, found with an untrained network."""
    method = build_method(config.method)
    kind, _ = parse_method(config.method)
    if kind.frozen:
        if ":" in config.extractor:
            require_size(start_of(config, device), config.size)
        return 0
    start, tune = start_of(config, device), tuned_part(config)
    require_size(start, config.size)
    rest = start.backbone if tune == "all" else partial(rest_of, start, tune, config.size)
    network = method.build(rest, data.stage(0).total, *NEUTRAL)
    for stage in range(len(data.scenario)):
        network = method.finish(method.begin(network, data.stage(stage)), data.stage(stage))
    return method.weights_bytes(network)
