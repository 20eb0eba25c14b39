"""The networks to compare: plain, with the layer, and with each control."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import torch
from torch import nn

from toolkit.codecs.cache import coded_images
from toolkit.codecs.features import refuse_features
from toolkit.codecs.guide import refuse_guide
from toolkit.codecs.original import give_originals
from toolkit.codecs.spec import parse_codec
from toolkit.data.dataset import ImageDataset, validation_view
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.seeds import derive
from toolkit.jpeg.layer import JPEGLayer, prepend
from toolkit.jpeg.tables import by_laplace, by_magnitude, by_sensitivity, ones, standard_tables
from toolkit.jpeg.transform import BlockTransform
from toolkit.jpeg_dl.config import JPEGConfig
from toolkit.jpeg_dl.rates import ALL_BITS, REAL_BITS
from toolkit.training.networks import Classifier, pixel_statistics
from toolkit.training.start import open_network

STATISTICS_IMAGES = 512
"""Number of training images for initialisers, clip rates and rates."""
_BATCH = 64


def evenly_spread(count: int, at_most: int) -> np.ndarray:
    """Indices of at most ``at_most`` of ``count`` images, evenly spaced, since images are sorted by class; int64."""
    return np.linspace(0, count - 1, min(at_most, count)).astype(int)


@dataclass(frozen=True)
class TrainingData:
    """Images uint8 (N, H, W, 3) and labels int64 (N,) for training and testing.

    ``test_bytes`` is the mean storage size of a test image with shared headers.
    """

    images: np.ndarray
    labels: np.ndarray
    test_images: np.ndarray
    test_labels: np.ndarray
    classes: int
    test_bytes: float

    @classmethod
    def of(cls, dataset: ImageDataset, config: JPEGConfig, progress: Progress = silent) -> TrainingData:
        """The splits after the configured codec; with ``held_out``, a fixed stratified split of the training images."""
        codec = parse_codec(config.codec)
        for refuse in (refuse_guide, refuse_features):
            refuse(codec, "the JPEG layer's training")
        give_originals([codec], dataset.originals)
        dataset = validation_view(dataset) if config.held_out else dataset
        train = coded_images(codec, dataset.train.images, f"{dataset.signature}/train", progress)
        test = coded_images(codec, dataset.test.images, f"{dataset.signature}/test", progress)
        return cls(
            train.decoded,
            dataset.train.labels,
            test.decoded,
            dataset.test.labels,
            len(dataset.class_names),
            len(test.stream) / len(dataset.test),
        )

    def sample(self) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
        """Batches of evenly spaced training images, float (N, 3, H, W) in [0, 255], and labels."""
        chosen = evenly_spread(len(self.labels), STATISTICS_IMAGES)
        for start in range(0, len(chosen), _BATCH):
            part = chosen[start : start + _BATCH]
            images = torch.from_numpy(np.array(self.images[part])).permute(0, 3, 1, 2).float()
            yield images, torch.from_numpy(self.labels[part])

    def sample_images(self) -> torch.Tensor:
        """The images of :meth:`sample` in one tensor."""
        return torch.cat([images for images, _ in self.sample()])


def build_network(config: JPEGConfig, data: TrainingData, seed: int) -> Classifier:
    """The network before its training, with the same weights for every variant of a seed."""
    torch.manual_seed(derive(seed, 0))
    start = open_network(config.network)
    return Classifier(start.backbone(), data.classes, *(start.statistics or pixel_statistics(data.images)))


def initial_tables(config: JPEGConfig, data: TrainingData, plain: Classifier) -> torch.Tensor:
    """Initial steps (2, 8, 8); ``plain`` is the trained plain network."""
    transform = BlockTransform(config.subsampling)
    if config.quality is not None:
        return standard_tables(config.quality)
    if config.init == "sensitivity":
        # sensitivity is defined with 4:4:4, regardless of the layer
        return by_sensitivity(plain.eval(), data.sample(), BlockTransform(), largest=config.largest)
    if config.init == "magnitude":
        return by_magnitude((images for images, _ in data.sample()), transform, bits=config.bits)
    if config.init == "laplace":
        return by_laplace((images for images, _ in data.sample()), transform, bits=config.bits)
    return ones()


def build_layer(variant: str, config: JPEGConfig, steps: torch.Tensor) -> JPEGLayer:
    """The layer of a variant other than ``plain``, with initial ``steps`` (2, 8, 8)."""
    modes = {"standard": "hard", "zero-dc": "identity", "ste": "ste", "noise": "noise"}
    return JPEGLayer(
        steps,
        mode=modes.get(variant, "soft"),
        alpha=config.alpha,
        alpha_mode=config.alpha_mode,
        hardness=config.hardness,
        # a network trained with noise has not seen clipping
        bits=ALL_BITS if variant in ("unclipped", "noise") else REAL_BITS if variant == "standard" else config.bits,
        trainable=variant not in ("standard", "zero-dc"),
        zero_dc=variant == "zero-dc",
        subsampling=config.subsampling,
    )


def layered(layer: JPEGLayer, network: Classifier, device: torch.device) -> nn.Sequential:
    """The network behind the layer, on ``device``."""
    return prepend(network, layer).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
