"""A pilot's data: the dataset cut into stages, with its coded versions."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch

from toolkit.codecs.base import Codec, fitting_sample
from toolkit.codecs.cache import CodedImages, coded_images
from toolkit.codecs.features import give_layers
from toolkit.codecs.guide import give_guide
from toolkit.codecs.original import give_originals
from toolkit.codecs.spec import parse_codec
from toolkit.data.dataset import ImageDataset, validation_view
from toolkit.data.scenario import Scenario, class_order_from_seed
from toolkit.features.extractor import build_extractor
from toolkit.features.guide import NetworkGuide
from toolkit.foundation.errors import UsageError
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.sizes import format_size
from toolkit.learning.methods.base import Stage
from toolkit.memory.budget import budget_bytes
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.starts import frozen_layers_of, start_of
from toolkit.training.activations import Activations
from toolkit.training.device import free_memory, resolve_device

_HELD_SHARE = 0.5
"""Share of the free memory for the decoded images of a pilot that holds images out."""


@dataclass
class PilotData:
    """A dataset cut into stages, with its coded versions.

    Attributes:
        coded_train: the training images after coding: the images themselves for a lossless codec, and features for one
            that stores those.
        coded_test: the test images after coding; None for a lossless codec, which does not change them.
        position: label -> index in the class order, which is the index of its network output.
    """

    dataset: ImageDataset
    scenario: Scenario
    codec: Codec
    budget: int
    coded_train: CodedImages
    coded_test: CodedImages | None
    position: np.ndarray

    @classmethod
    def load(cls, config: PilotConfig, dataset: ImageDataset, seed: int, progress: Progress = silent) -> PilotData:
        """Cut ``dataset`` into the configuration's stages and code it, from the cache if possible.

        A codec that encodes through a network uses the configuration's extractor, which is trained on the classes of
        the first stage by default. It guides training images by their label and test images by the nearest class of
        the first stage. Codecs are fitted on the first stage, so nothing is known of later classes.

        With ``held_out``, the dataset is its training split alone, a fifth of which are the test images.

        Raises:
            UsageError: the class order or the stage sizes do not fit the dataset; with ``held_out``, a class with one
                training image, or more decoded images than fit into the memory.
        """
        dataset = _held_out(dataset) if config.held_out else dataset
        classes = len(dataset.class_names)
        order = list(config.class_order) if config.class_order else class_order_from_seed(classes, seed)
        if len(order) != classes:
            raise UsageError(f"the class order names {len(order)} classes, but {dataset.name} has {classes}")
        scenario = Scenario(dataset.train.labels, order, config.initial, config.increment)
        codec = parse_codec(config.codec)

        def guide() -> NetworkGuide:
            extractor = build_extractor(
                config.extractor,
                dataset,
                device=resolve_device(config.device),
                initial=config.initial,
                class_order=order,
                seed=seed,
                progress=progress,
            )
            return NetworkGuide(extractor, dataset.train.images, dataset.train.labels, scenario.stages[0])

        give_guide([codec], guide)
        give_originals([codec], dataset.originals)

        def layers() -> Activations:
            device = resolve_device(config.device)
            return frozen_layers_of(start_of(config, device), config, device, progress)

        give_layers([codec], layers)
        first = np.flatnonzero(np.isin(dataset.train.labels, scenario.stages[0]))
        codec.fit(dataset.train.images[fitting_sample(first)])
        budget = budget_bytes(config.budget, classes, dataset.raw_image_bytes)
        coded_train = coded_images(codec, dataset.train.images, f"{dataset.signature}/train", progress)
        coded_test = None
        if not codec.lossless:
            coded_test = coded_images(codec, dataset.test.images, f"{dataset.signature}/test", progress)
        position = np.empty(classes, np.int64)
        position[order] = np.arange(classes)
        return cls(dataset, scenario, codec, budget, coded_train, coded_test, position)

    def stage(self, index: int) -> Stage:
        """Number of network outputs before a stage and from it on."""
        known = len(self.scenario.seen(index - 1)) if index else 0
        return Stage(index, known, len(self.scenario.seen(index)))


def _held_out(dataset: ImageDataset) -> ImageDataset:
    needed = len(dataset.train) * dataset.decoded_image_bytes
    if needed > _HELD_SHARE * free_memory(torch.device("cpu")):
        raise UsageError(
            f"held_out keeps the decoded training images in memory, which take {format_size(needed)}: leave it out"
        )
    counts = dataset.train_class_sizes()
    if min(counts) < 2:
        name = dataset.class_names[counts.index(min(counts))]
        raise UsageError(f"held_out needs two training images per class, but {name} has {min(counts)}")
    return validation_view(dataset)
