"""The learner of one pilot: data as the alignment says, training batches, evaluation, and the memory's commits."""

from __future__ import annotations

from dataclasses import dataclass, field
from pathlib import Path

import numpy as np
import torch

from toolkit.codecs.base import Codec
from toolkit.codecs.coded import CodedImages, coded_images
from toolkit.codecs.spec import parse_codec
from toolkit.data.dataset import ImageDataset
from toolkit.data.scenario import Scenario, class_order_from_seed
from toolkit.foundation.errors import UsageError
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.seeds import derive
from toolkit.learning.metrics import stage_accuracies
from toolkit.memory.budget import budget_bytes
from toolkit.memory.selection import herding_order, random_order
from toolkit.memory.store import ExemplarMemory
from toolkit.pilots.config import PilotConfig
from toolkit.training.batches import Pool, ReplayBatches
from toolkit.training.loop import Recipe, predict
from toolkit.training.networks import Classifier, build_backbone, default_network, pixel_statistics


@dataclass
class PilotData:
    """A dataset cut into stages, with its coded versions.

    Attributes:
        coded_train, coded_test: the splits through the codec; for a lossless codec the decoded pixels equal the
            originals.
        position: label -> index in the class order, which is the network's output for it.
    """

    dataset: ImageDataset
    scenario: Scenario
    codec: Codec
    budget: int
    coded_train: CodedImages
    coded_test: CodedImages
    position: np.ndarray

    @classmethod
    def load(cls, config: PilotConfig, dataset: ImageDataset, seed: int, progress: Progress = silent) -> PilotData:
        """Cut ``dataset`` into the configuration's stages and code it (from the cache where possible).

        Raises:
            UsageError: a class order or stage sizes that do not fit the dataset.
        """
        classes = len(dataset.class_names)
        order = list(config.class_order) if config.class_order else class_order_from_seed(classes, seed)
        if len(order) != classes:
            raise UsageError(f"the class order names {len(order)} classes, {dataset.name} has {classes}")
        scenario = Scenario(dataset.train.labels, order, config.initial, config.increment)
        codec = parse_codec(config.codec)
        budget = budget_bytes(config.budget, classes, dataset.raw_image_bytes)
        coded_train = coded_images(codec, dataset.train.images, f"{dataset.signature}/train", progress)
        coded_test = coded_images(codec, dataset.test.images, f"{dataset.signature}/test", progress)
        position = np.empty(classes, np.int64)
        position[order] = np.arange(classes)
        return cls(dataset, scenario, codec, budget, coded_train, coded_test, position)


@dataclass
class Learner:
    """Network and memory, taken through the stages by :mod:`toolkit.pilots.pilot`."""

    config: PilotConfig
    data: PilotData
    memory: ExemplarMemory
    device: torch.device
    seed: int
    network: Classifier = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(derive(self.seed, 0))
        mean, std = pixel_statistics(self._training_images(0)[0])
        backbone = build_backbone(self.network_name)
        classes = len(self.data.scenario.seen(0))
        network = Classifier(backbone, classes, mean, std)
        self.network = network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    @property
    def network_name(self) -> str:
        """The configured network, or the device's default."""
        return default_network(self.device) if self.config.network == "auto" else self.config.network

    def recipe(self, stage: int) -> Recipe:
        """The stage's recipe; epochs, where given, are turned into steps over new images and exemplars together."""
        config = self.config
        steps = config.steps
        if config.epochs is not None:
            images = len(self.data.scenario[stage]) + (len(self.memory) if stage else 0)
            steps = max(1, round(config.epochs * images / config.batch_size))
        return Recipe(
            steps,
            lr=config.lr,
            momentum=config.momentum,
            weight_decay=config.weight_decay,
            schedule=config.schedule,
            milestones=config.milestones,
            mixed_precision=config.mixed_precision,
            compile=config.compile,
        )

    def begin_stage(self, stage: int) -> ReplayBatches:
        """Grow the head and gather the stage's images; everything random depends on (seed, stage) alone."""
        torch.manual_seed(derive(self.seed, 1, stage))
        self.network.grow(len(self.data.scenario.seen(stage)))
        images, labels = self._training_images(stage)
        memory = None
        if stage:
            old_images, old_labels, _ = self.memory.decode_all()
            memory = self._pool(old_images, old_labels)
        return ReplayBatches(
            self._pool(images, labels),
            memory,
            self.config.batch_size,
            memory_share=self.config.memory_share,
            seed=derive(self.seed, 2, stage),
            brightness=self.config.brightness,
        )

    def evaluate(self, stage: int) -> dict[str, list[float]]:
        """The accuracy matrices' rows after ``stage``, on ``original`` and on ``coded`` test images."""
        self.network.eval()
        original = self._evaluate(self.data.dataset.test.images, stage)
        if self.data.codec.lossless:
            return {"original": original, "coded": original}
        return {"original": original, "coded": self._evaluate(self.data.coded_test.decoded, stage)}

    def commit(self, stage: int) -> None:
        """Commit the new classes' exemplars: once, however often this is repeated after a kill."""
        self.network.eval()
        if self.memory.commits == stage:
            self.memory.add(self._candidates(stage))

    def _training_images(self, stage: int) -> tuple[np.ndarray, np.ndarray]:
        indices = self.data.scenario[stage]
        split = self.data.dataset.train
        source = split.images if self.config.align == "none" else self.data.coded_train.decoded
        return np.asarray(source[indices]), split.labels[indices]

    def _pool(self, images: np.ndarray, labels: np.ndarray) -> Pool:
        outputs = torch.from_numpy(self.data.position[labels])
        return Pool(torch.from_numpy(images).to(self.device), outputs.to(self.device))

    def _evaluate(self, images: np.ndarray, stage: int) -> list[float]:
        seen = self.data.scenario.seen(stage)
        labels = self.data.dataset.test.labels
        members = np.flatnonzero(np.isin(labels, seen))
        logits = predict(
            self.network,
            torch.from_numpy(np.array(images[members])),
            device=self.device,
            mixed_precision=self.config.mixed_precision,
        )
        predicted = np.array(self.data.scenario.order)[logits.argmax(dim=1).cpu().numpy()]
        return stage_accuracies(predicted, labels[members], self.data.scenario.stages[: stage + 1])

    def _candidates(self, stage: int) -> dict[int, list[bytes]]:
        """The new classes' payloads in selection order, judged by their decoded images."""
        coded, labels = self.data.coded_train, self.data.dataset.train.labels
        candidates = {}
        for label in self.data.scenario.stages[stage]:
            members = np.flatnonzero(labels == label)
            if self.config.selection == "herding":
                order = herding_order(self._features(coded.decoded[members]))
            else:
                order = random_order(len(members), np.random.default_rng(derive(self.seed, 3, label)))
            candidates[label] = [coded.payload(int(index)) for index in members[order]]
        return candidates

    def _features(self, images: np.ndarray) -> np.ndarray:
        features = predict(
            self.network.features,
            torch.from_numpy(np.array(images)),
            device=self.device,
            mixed_precision=self.config.mixed_precision,
        )
        return features.cpu().numpy()


def open_memory(config: PilotConfig, data: PilotData, folder: Path) -> ExemplarMemory:
    """The run's memory file, made or reopened."""
    return ExemplarMemory(folder / "memory.recall", data.budget, data.codec)
