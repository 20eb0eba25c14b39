"""The learner of one pilot: data for its alignment, training batches, evaluation, and commits to the memory."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Literal

import numpy as np
import torch
from torch import nn

from toolkit.codecs.store import StoreCodec
from toolkit.features.extractor import build_extractor
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.seeds import derive
from toolkit.learning.catalog import MethodKind, parse_method
from toolkit.learning.methods import build_method
from toolkit.learning.methods.base import Method, Phase, StageData
from toolkit.learning.metrics import stage_accuracies
from toolkit.memory.forgetting import identity
from toolkit.memory.selection import herding_order, random_order
from toolkit.memory.store import ExemplarMemory
from toolkit.pilots import pools
from toolkit.pilots.config import PilotConfig, cropped_side, tuned_part
from toolkit.pilots.data import PilotData
from toolkit.pilots.starts import frozen_layers_of, start_of
from toolkit.training.activations import Activations, RememberedRows
from toolkit.training.batches import AnyPool, ReplayBatches, StreamedPool
from toolkit.training.device import free_memory
from toolkit.training.loop import Recipe, predict
from toolkit.training.networks import Classifier, pixel_statistics
from toolkit.training.start import Start
from toolkit.training.trunk import rest_of

Rows = dict[str, dict[str, list[float]]]
"""Rows of the accuracy matrices on ``original`` and ``coded`` test images, for each head."""


@dataclass
class Learner:
    """Method, network and memory, driven through the stages by :mod:`toolkit.pilots.pilot`.

    ``activations`` holds the outputs of the frozen layers, if there are any; the method then trains on them instead of
    images. ``streamed`` is whether the decoded exemplars, or their activations, ever exceeded the device memory.
    """

    config: PilotConfig
    data: PilotData
    memory: ExemplarMemory
    device: torch.device
    seed: int
    progress: Progress = silent
    kind: MethodKind = field(init=False)
    method: Method = field(init=False)
    network: nn.Module = field(init=False)
    start: Start = field(init=False)
    activations: Activations | None = field(init=False)
    streamed: bool = field(init=False, default=False)
    _exemplars: tuple[int, AnyPool] | None = field(init=False, default=None)
    _remembered: RememberedRows = field(init=False)
    _pools: pools.PoolMaker = field(init=False)

    def __post_init__(self) -> None:
        torch.manual_seed(derive(self.seed, 0))
        self.kind, _ = parse_method(self.config.method)
        self.method = build_method(self.config.method, label_smoothing=self.config.label_smoothing)
        self.start = start_of(self.config, self.device)
        self._remembered = RememberedRows(pools.DECODED_SHARE * free_memory(torch.device("cpu")))
        self.activations, mean, std = None, None, None
        tune = tuned_part(self.config)
        if tune != "all":
            self.activations = frozen_layers_of(self.start, self.config, self.device, self.progress)
        else:
            mean, std = self.start.statistics or pixel_statistics(self._images(self.data.scenario[0]))
        self._pools = pools.PoolMaker(self.data.dataset.sides, self.device, self.activations, self.config.views)
        network = self.method.build(lambda: self._backbone(tune), self.data.stage(0).total, mean, std)
        self.network = self._placed(network)

    # -- training a stage --------------------------------------------------------------------------------------

    def begin(self, stage: int) -> None:
        """Give the network the shape of a stage; all randomness depends only on (seed, stage)."""
        torch.manual_seed(derive(self.seed, 1, stage))
        self.network = self._placed(self.method.begin(self.network, self.data.stage(stage)))
        self.method.auxiliary = {name: self._placed(module) for name, module in self.method.auxiliary.items()}

    def finish(self, stage: int) -> None:
        """Let the method finish the trained network."""
        self.network = self.method.finish(self.network, self.data.stage(stage))

    def phases(self, stage: int) -> list[Phase]:
        """The modules trained in the current stage."""
        if self.kind.frozen:
            return []
        indices = self.data.scenario[stage]
        if self.kind.everything:
            indices = np.concatenate([self.data.scenario[past] for past in range(stage + 1)])
        new = self._pool(indices)
        old = self.exemplars() if stage and self.kind.exemplars else None
        data = StageData(new, old, self._memory_share(new, old))
        return self.method.phases(self.network, self.data.stage(stage), data)

    def recipes(self, stage: int, phases: list[Phase]) -> list[Recipe]:
        """One recipe per phase; their steps add up to those of the stage."""
        recipe = self.recipe(stage)
        ends = np.round(np.cumsum([0.0, *(phase.share for phase in phases)]) * recipe.steps).astype(int)
        return [
            replace(
                recipe,
                steps=int(steps),
                lr=recipe.lr * phase.lr,
                weight_decay=recipe.weight_decay if phase.weight_decay is None else phase.weight_decay,
            )
            for steps, phase in zip(np.diff(ends), phases, strict=True)
        ]

    def recipe(self, stage: int) -> Recipe:
        """The recipe of the stage; epochs are converted to steps over new images and exemplars together."""
        config = self.config
        steps, epochs, milestones, decay = config.steps, config.epochs, config.milestones, config.weight_decay
        if not stage:
            if config.initial_steps is not None:
                steps, epochs = config.initial_steps, None
            epochs = config.initial_epochs or epochs
            milestones = config.initial_milestones or milestones
            decay = decay if config.initial_weight_decay is None else config.initial_weight_decay
        if epochs is not None:
            past = range(stage + 1) if self.kind.everything else (stage,)
            images = sum(len(self.data.scenario[index]) for index in past) + (len(self.memory) if stage else 0)
            steps = max(1, round(epochs * images / config.batch_size))
        return Recipe(
            steps,
            optimizer=config.optimizer,
            lr=config.lr,
            backbone_lr=config.backbone_lr,
            momentum=config.momentum,
            weight_decay=decay,
            schedule=config.schedule,
            milestones=milestones,
            mixed_precision=config.mixed_precision,
            compile=config.compile,
            cuda_graphs=config.cuda_graphs,
        )

    def batches(self, stage: int, number: int, phase: Phase) -> ReplayBatches:
        """The batches of one phase of a stage."""
        return ReplayBatches(
            phase.data.new,
            phase.data.memory,
            self.config.batch_size,
            memory_share=phase.data.memory_share,
            seed=derive(self.seed, 2, stage, *([number] if number else [])),
            brightness=self.config.brightness,
            augment=self.config.augment,
            augmented=phase.augmented,
        )

    # -- after the training ------------------------------------------------------------------------------------

    def commit(self, stage: int) -> None:
        """Commit the exemplars of the new classes; repeated calls after a kill commit only once."""
        self.network.eval()
        if not self.kind.exemplars:
            if self.kind.frozen:
                self.method.observe(self.network, self._pool(self.data.scenario[stage]), self.device)
            return
        if self.memory.commits == stage:
            candidates, extras = self._candidates(stage)
            charged = self.method.weights_bytes(self.network)
            self.memory.add(candidates, extras=extras, charged=charged, size=self.data.dataset.sides)
        self.method.remember(self.network, self.exemplars, self.device)

    def evaluate(self, stage: int) -> tuple[Rows, str]:
        """Rows of the accuracy matrices after ``stage``, and which images the method's first head gets right.

        Returns:
            Rows for every head of the method, and a bit per test image of the classes seen, in the order of the split,
            on coded images where the alignment is ``both``; in hexadecimal, with zeros up to a whole byte.
        """
        self.network.eval()
        members = np.flatnonzero(np.isin(self.data.dataset.test.labels, self.data.scenario.seen(stage)))
        originals = self._test_inputs("original", members)
        coded = None if self.data.coded_test is None else self._test_inputs("coded", members)
        labels, stages = self.data.dataset.test.labels[members], self.data.scenario.stages[: stage + 1]
        rows: Rows = {}
        right = ""
        for head in self.method.heads:
            scores = self.method.predictor(self.network, head)
            original = self._predicted(scores, originals)
            predicted = {"original": original, "coded": original if coded is None else self._predicted(scores, coded)}
            rows[head] = {images: stage_accuracies(found, labels, stages) for images, found in predicted.items()}
            right = right or np.packbits(predicted[self.tested_on] == labels).tobytes().hex()
        return rows, right

    @property
    def tested_on(self) -> Literal["original", "coded"]:
        """The test images that the deployed model sees."""
        return "coded" if self.config.align == "both" else "original"

    def _test_inputs(self, which: str, members: np.ndarray) -> torch.Tensor:
        """What the network gets for ``original`` or ``coded`` test images at int64 (K,) indices."""

        def inputs(places: np.ndarray) -> torch.Tensor:
            if which == "original":
                return self._single(np.asarray(self.data.dataset.test.images[members[places]]))
            assert self.data.coded_test is not None
            return self._single(self.data.coded_test.images(members[places]))

        if self.activations is None:
            return inputs(np.arange(len(members)))
        return self._remembered.of([(which, index) for index in members.tolist()], inputs)

    def exemplars(self) -> AnyPool:
        """All exemplars; their labels are indices of network outputs.

        They are decoded once per commit if they fit into a share of the free memory, else once per batch.
        """
        if self._exemplars is None or self._exemplars[0] != self.memory.commits:
            self._exemplars = None  # free the last stage's before decoding this one's
            self._exemplars = (self.memory.commits, self._exemplar_pool())
            pool = self._exemplars[1]
            self.streamed |= isinstance(pool, StreamedPool) and not pool.held
        return self._exemplars[1]

    def _exemplar_pool(self) -> AnyPool:
        extras, classes = None, len(self.data.scenario.order)
        if self.method.extra_bytes(classes):
            extras = torch.from_numpy(self.method.unpack_extras(self.memory.extras(), classes)).to(self.device)
        payloads, labels, _ = self.memory.all_payloads()
        outputs = self._outputs(labels)
        codec, size = self.data.codec, self.memory.size

        def at(positions: np.ndarray) -> list[bytes]:
            return [payloads[position] for position in positions]

        take = self._pools.read(lambda positions: codec.decode(at(positions), size))
        if (store := self._cropped_store) is not None:
            return self._pools.of_whole(take, lambda positions: store.decode_whole(at(positions)), outputs, extras)
        if self.activations is None:
            return self._pools.of(take, outputs, extras)
        keys = [identity(payload) for payload in payloads]

        def remembered(positions: torch.Tensor) -> torch.Tensor:
            chosen = [keys[position] for position in positions.tolist()]
            return self._remembered.of(chosen, lambda places: take(positions[places])).to(self.device)

        return self._pools.of(remembered, outputs, extras)

    # -- internals ---------------------------------------------------------------------------------------------

    def _backbone(self, tune: str) -> nn.Module:
        if tune != "all":
            rest = rest_of(self.start, tune, self.config.size)
            return Classifier(rest, 1, None, None) if self.kind.frozen else rest
        if not self.kind.frozen:
            return self.start.backbone()
        extractor = build_extractor(
            self.config.extractor,
            self.data.dataset,
            device=self.device,
            initial=self.config.initial,
            class_order=self.data.scenario.order,
            seed=self.seed,
            progress=self.progress,
        )
        self.start = Start(extractor.name, extractor.architecture, extractor.weights, lambda: extractor.network)
        return extractor.network

    def _placed(self, network: nn.Module) -> nn.Module:
        return network.to(self.device, memory_format=torch.channels_last)  # type: ignore[call-overload]

    def _memory_share(self, new: AnyPool, old: AnyPool | None) -> float:
        share = self.config.memory_share
        if share == "natural":
            return len(old) / (len(old) + len(new)) if old is not None else 0.0
        return float(share)

    @property
    def _cropped_store(self) -> StoreCodec | None:
        """The codec, if batches have random crops of all that it stores of an image."""
        codec = self.data.codec
        return codec if isinstance(codec, StoreCodec) and cropped_side(self.config) is not None else None

    def _images(self, indices: np.ndarray) -> np.ndarray:
        """Images of the training split as they are trained on, uint8 (K, H, W, 3), or their stored features."""
        # decoded once, because they are read in every epoch
        source = self.data.dataset.train.images if self.config.align == "none" else self.data.coded_train.decoded
        return np.asarray(source[indices])

    def _whole_images(self, store: StoreCodec, indices: np.ndarray) -> list[np.ndarray]:
        """All of the same images, each uint8 (H, W, 3) of its own size."""
        if self.config.align == "none":
            return store.whole_of(np.asarray(self.data.dataset.train.images[indices]))
        return store.decode_whole([self.data.coded_train.payload(int(index)) for index in indices])

    def _pool(self, indices: np.ndarray) -> AnyPool:
        """Training images of a stage."""
        outputs = self._outputs(self.data.dataset.train.labels[indices])
        take = self._pools.read(lambda positions: self._images(indices[positions]))
        if (store := self._cropped_store) is not None:
            return self._pools.of_whole(take, lambda places: self._whole_images(store, indices[places]), outputs)
        return self._pools.of(take, outputs)

    def _outputs(self, labels: np.ndarray) -> torch.Tensor:
        """Indices of network outputs, on the device."""
        return torch.from_numpy(self.data.position[labels]).to(self.device)

    def _predicted(self, scores: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> np.ndarray:
        """Predicted labels, int64 (N,)."""
        return np.array(self.data.scenario.order)[self._predict(scores, inputs).argmax(axis=1)]

    def _candidates(self, stage: int) -> tuple[dict[int, list[bytes]], dict[int, list[bytes]]]:
        """Payloads of the new classes in selection order, based on their decoded images, and their extras."""
        coded, labels = self.data.coded_train, self.data.dataset.train.labels
        candidates, extras = {}, {}
        for label in self.data.scenario.stages[stage]:
            members = np.flatnonzero(labels == label)
            inputs = self._single(coded.images(members))
            if self.config.selection == "herding":
                features = self._predict(self.network.features, inputs)  # type: ignore[arg-type]
                order = herding_order(features)
            else:
                order = random_order(len(members), np.random.default_rng(derive(self.seed, 3, label)))
            candidates[label] = [coded.payload(int(index)) for index in members[order]]
            if self.method.extra_bytes(self.data.stage(stage).total):
                logits = self._predict(self.network, inputs[torch.from_numpy(order)])
                extras[label] = self.method.pack_extras(logits)
        return candidates, extras

    def _single(self, images: np.ndarray) -> torch.Tensor:
        """What the network gets for images uint8 (N, H, W, 3), without augmentation."""
        return torch.from_numpy(np.array(images)) if self.activations is None else self._pools.inputs(images, 1)

    def _predict(self, network: Callable[[torch.Tensor], torch.Tensor], inputs: torch.Tensor) -> np.ndarray:
        outputs = predict(
            network,
            inputs,
            device=self.device,
            mixed_precision=self.config.mixed_precision and not self.kind.frozen,
        )
        return outputs.cpu().numpy()


def open_pilot_memory(config: PilotConfig, data: PilotData, folder: Path) -> ExemplarMemory:
    """The memory file of the run, created or reopened."""
    return ExemplarMemory(folder / "memory.recall", data.budget, data.codec)
