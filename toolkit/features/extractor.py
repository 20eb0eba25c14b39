"""Networks whose features measure compression: pretrained, loaded, or trained on demand.

``timm:NAME``, ``checkpoint:PATH``  see :mod:`toolkit.training.network_spec`
``stage0``           a small network trained on the classes of the first stage, which a deployed learner has
``self``             the same network trained on all classes
``random``           the same network with its initial weights, as a control
``auto``             the pretrained network from 96 pixels on, else ``stage0``
"""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Callable, Sequence
from contextlib import AbstractContextManager, nullcontext
from functools import cache, partial

import numpy as np
import torch

from toolkit.data.dataset import ImageDataset
from toolkit.data.scenario import class_order_from_seed, default_initial
from toolkit.features.names import require_extractor, resolve_extractor
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.files import cache_root
from toolkit.foundation.image_size import WrittenSize
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.seeds import derive
from toolkit.training.activations import Activations
from toolkit.training.backbones import build_backbone, default_network
from toolkit.training.batches import Pool, ReplayBatches
from toolkit.training.loop import Recipe, predict, train
from toolkit.training.network_spec import is_large
from toolkit.training.networks import Classifier, pixel_statistics
from toolkit.training.start import NEUTRAL, Start, open_network, require_size
from toolkit.training.trunk import Trunk
from toolkit.training.weights import load_network, save_network

STEPS = 150
BATCH_SIZE = 64


class FeatureExtractor:
    """Images to features, in float32 so that small distortions are not lost in bfloat16 rounding.

    A large network with weights from elsewhere runs as a frozen trunk instead, in bfloat16 where the hardware has it:
    four times as fast, and with a relative FMSE within 2 % of float32's for JPEG from quality 10 to 95 (flowers17,
    224 px, EfficientNet-Lite0).

    Args:
        name: the spec, with what ``auto`` stands for.
        network: has ``features``: images (N, 3, H, W) in [0, 255] to (N, D).
        layer: name of a submodule whose spatially averaged output is used; None uses the pooled penultimate features.
        device: where it runs.
        classes: the label of each output of the head; None if unknown.
        architecture: of the network's backbone, for :func:`~toolkit.training.weights.save_network`.
        weights: one line on where the network's weights are from.
        trunk: computes the pooled penultimate features in place of the network.
        frozen: makes the frozen layers before the classifier, for codecs that store features; None if they are trained
            here or another layer is looked at.

    Raises:
        UsageError: no such layer; the message lists some layers.
    """

    def __init__(
        self,
        name: str,
        network: Classifier,
        device: torch.device,
        layer: str | None = None,
        classes: Sequence[int] | None = None,
        *,
        architecture: str = "",
        weights: str = "",
        trunk: Trunk | None = None,
        frozen: Callable[[], Trunk] | None = None,
    ) -> None:
        self._trunk = trunk
        self.frozen = frozen
        self.name = name
        self.architecture = architecture
        self.weights = weights
        self.layer = layer
        self.device = device
        self.classes = classes
        self.network = network.to(device, memory_format=torch.channels_last).eval()  # type: ignore[call-overload]
        self._forward: Callable[[torch.Tensor], torch.Tensor] = network.features
        self._turn: AbstractContextManager[object] = nullcontext()
        if layer is not None:
            self._forward = _tap(network, layer)
            self._turn = threading.Lock()  # the hook stores the output of one thread at a time

    def __call__(self, images: np.ndarray, batch_size: int = 50) -> torch.Tensor:
        """Features, float32 (N, D) on the CPU, of images uint8 (N, H, W, 3).

        Raises:
            UsageError: no images, or images of another shape or type.
        """
        if images.dtype != np.uint8 or images.ndim != 4 or not len(images):
            raise UsageError(f"images must be uint8 (N, H, W, 3) with N > 0, got {images.dtype} {images.shape}")
        tensor = torch.from_numpy(np.array(images))  # a copy: memory maps are read-only
        if self._trunk is not None:
            return self._trunk(tensor).float()
        with self._turn:
            features = predict(self._forward, tensor, batch_size=batch_size, device=self.device, mixed_precision=False)
        return features.cpu()


def _tap(network: Classifier, layer: str) -> Callable[[torch.Tensor], torch.Tensor]:
    modules = dict(network.named_modules())
    if layer not in modules or layer == "":
        known = [name for name in modules if name.count(".") <= 1 and name]
        raise UsageError(f"the network has no layer {layer!r}; its layers include {', '.join(known[:12])}")
    caught: list[object] = []
    modules[layer].register_forward_hook(lambda module, inputs, output: caught.append(output))

    def forward(images: torch.Tensor) -> torch.Tensor:
        caught.clear()
        network(images)
        if not caught:
            raise WorkError(f"layer {layer} is not used in the forward pass")
        if not isinstance(caught[-1], torch.Tensor):
            raise UsageError(f"layer {layer} returns a {type(caught[-1]).__name__}, not a tensor: choose one inside it")
        return pool(caught[-1])

    return forward


def pool(features: torch.Tensor) -> torch.Tensor:
    """Average a layer's output over space: (N, D, H, W) or (N, tokens, D) to (N, D)."""
    if features.ndim == 4:
        return features.mean(dim=(2, 3))
    return features.mean(dim=1) if features.ndim == 3 else features.flatten(1)


def build_extractor(
    spec: str,
    dataset: ImageDataset,
    *,
    device: torch.device,
    layer: str | None = None,
    initial: int | None = None,
    class_order: Sequence[int] | None = None,
    seed: int = 0,
    steps: int = STEPS,
    afresh: bool = False,
    progress: Progress = silent,
) -> FeatureExtractor:
    """Build the extractor of a spec.

    Args:
        spec: see the module.
        dataset: training data of ``stage0`` and ``self`` (training images only).
        device: where to run.
        layer: see :class:`FeatureExtractor`.
        initial: number of classes in the first stage; by default a fifth of all, at least 2.
        class_order: by default drawn from ``seed``, as in a pilot.
        seed: of class order, weights and batches.
        steps: training steps of ``stage0`` and ``self``.
        afresh: train even if the network is cached, so that the training can be timed.
        progress: reports training.

    Raises:
        UsageError: unknown spec or layer, or a checkpoint that is not plain weights (nothing in it is executed).
        WorkError: weights that cannot be downloaded or read.
    """
    require_extractor(spec)
    spec = resolve_extractor(spec, dataset.size)
    if ":" in spec:
        return _opened(open_network(spec), dataset.size, device, layer)
    count = len(dataset.class_names)
    order = list(class_order) if class_order else class_order_from_seed(count, seed)
    first = initial if initial is not None else default_initial(count)
    if not 1 <= first <= count:
        raise UsageError(f"initial must be 1..{count} (the number of classes), got {first}")
    classes = order[:first] if spec == "stage0" else order
    network = _trained(dataset, classes, device, seed, 0 if spec == "random" else steps, afresh, progress)
    return FeatureExtractor(
        spec,
        network,
        device,
        layer,
        None if spec == "random" else classes,
        architecture=default_network(device),
        weights="random" if spec == "random" else f"trained here on {len(classes)} classes",
    )


def _opened(start: Start, size: WrittenSize, device: torch.device, layer: str | None) -> FeatureExtractor:
    """An extractor with weights from elsewhere; a network that does not take the images is refused."""
    require_size(start, size)
    network = Classifier(start.backbone(), 1, *(start.statistics or NEUTRAL))
    frozen = cache(partial(Trunk, start, "head", size, device)) if layer is None else None
    trunk = frozen() if frozen is not None and is_large(size) else None
    return FeatureExtractor(
        start.name,
        network,
        device,
        layer,
        architecture=start.architecture,
        weights=start.weights,
        trunk=trunk,
        frozen=frozen,
    )


def frozen_layers(extractor: FeatureExtractor, progress: Progress = silent) -> Activations:
    """The layers whose outputs are the extractor's features, for codecs that store them.

    Raises:
        UsageError: the extractor is trained here, or looks at another layer.
    """
    if extractor.frozen is None:
        raise UsageError(
            f"extractor {extractor.name} has no frozen layers whose outputs could be stored: take timm:NAME or "
            "checkpoint:PATH, without a layer"
        )
    return Activations(extractor.frozen(), progress)


def _trained(
    dataset: ImageDataset,
    classes: Sequence[int],
    device: torch.device,
    seed: int,
    steps: int,
    afresh: bool,
    progress: Progress,
) -> Classifier:
    """A classifier of ``classes`` trained for ``steps`` steps, from the cache if it was trained before."""
    name = default_network(device)
    key = hashlib.sha256(
        f"1|{dataset.signature}|{list(classes)}|{name}|{seed}|{steps}|{BATCH_SIZE}|{device.type}".encode()
    ).hexdigest()[:32]
    path = cache_root() / "extractors" / f"{key}.pt"
    if path.exists() and not afresh:
        return load_network(path)
    torch.manual_seed(derive(seed, 10))
    position = {label: index for index, label in enumerate(classes)}
    members = np.flatnonzero(np.isin(dataset.train.labels, list(classes)))
    images = np.asarray(dataset.train.images[members])
    labels = torch.tensor([position[int(label)] for label in dataset.train.labels[members]])
    mean, std = pixel_statistics(images[:: max(1, len(images) // 2000)])
    network = Classifier(build_backbone(name), len(classes), mean, std)
    network = network.to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    pool_ = Pool(torch.from_numpy(images).to(device), labels.to(device))
    if steps:
        train(
            network,
            ReplayBatches(pool_, None, BATCH_SIZE, seed=derive(seed, 11)),
            Recipe(steps),
            device=device,
            after_step=lambda step, loss, optimizer: progress("training the extractor", step, steps),
        )
    save_network(network, name, path)
    return network.eval()
