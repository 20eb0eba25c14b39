"""A feature extractor and known classes as a guide for encoders (:mod:`toolkit.codecs.guide`)."""

from __future__ import annotations

import hashlib
import threading
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from toolkit.features.extractor import FeatureExtractor
from toolkit.features.heads import class_means, nearest_mean_scores
from toolkit.foundation.errors import UsageError
from toolkit.training.loop import predict
from toolkit.training.networks import Classifier, add_weights

IMAGES_PER_CLASS = 100
"""Maximum number of images for the mean feature of a class."""
LEAST_MAP = 2
_BATCH = 50


class NetworkGuide:
    """Features and class-activation boxes of a network.

    The map of a class weights the last feature maps with the head's weights if the head has this class (CAM, Zhou et
    al., CVPR 2016), and otherwise with the class's mean feature minus the mean of the reference classes: for classes
    of equal spread this is the direction of the closed-form linear classifier.

    Images in ``images`` have their labelled class. Any other image is assigned the reference class with the nearest
    mean: labels of test images are never used.

    Args:
        extractor: provides the network.
        images: uint8 (N, H, W, 3) of the known classes, training images only.
        labels: int64 (N,).
        reference: classes that centre the means and can be assigned to unknown images; all of ``labels`` by default.
    """

    def __init__(
        self,
        extractor: FeatureExtractor,
        images: np.ndarray,
        labels: np.ndarray,
        reference: Sequence[int] | None = None,
    ) -> None:
        self._extractor = extractor
        self._images = images
        self._labels = labels
        self._reference = sorted(set(labels.tolist()) if reference is None else reference)
        self._known: dict[bytes, int] = {}
        for image, label in zip(images, labels.tolist(), strict=True):
            self._known.setdefault(_content(image), label)
        self._lock = threading.Lock()
        self._statistics: _Statistics | None = None
        self.digest = self._digest()

    def features(self, images: np.ndarray) -> np.ndarray:
        return self._extractor(images).numpy() / self._at_hand().scale

    def boxes(self, images: np.ndarray, threshold: float) -> np.ndarray:
        known = self._at_hand()
        found = [np.empty((0, 4), np.int64)]
        for start in range(0, len(images), _BATCH):
            batch = images[start : start + _BATCH]
            maps = self._maps(batch)
            labels = [self._known.get(_content(image), -1) for image in batch]
            nearest = nearest_mean_scores(maps.mean(dim=(2, 3)), known.unit_means).argmax(dim=1).tolist()
            classes = [
                self._reference[near] if label < 0 else label for label, near in zip(labels, nearest, strict=True)
            ]
            weights = torch.stack([known.weights[label] for label in classes])
            activation = torch.einsum("ndhw,nd->nhw", maps, weights)
            found.append(tight_boxes(activation, threshold, batch.shape[1], batch.shape[2]))
        return np.concatenate(found)

    def _maps(self, images: np.ndarray) -> torch.Tensor:
        """Last feature maps, float32 (N, D, h, w) on the CPU; their mean over space is the pooled feature."""
        network, device = self._extractor.network, self._extractor.device
        pixels = torch.from_numpy(np.array(images))  # a copy: memory maps are read-only
        maps = predict(
            lambda batch: spatial_maps(network, batch), pixels, batch_size=_BATCH, device=device, mixed_precision=False
        ).cpu()
        if min(maps.shape[2:]) < LEAST_MAP:
            size = " x ".join(map(str, maps.shape[2:]))
            raise UsageError(
                f"the maps of extractor {self._extractor.name} are {size} for images of {images.shape[1]} pixels, "
                "too small to locate anything: use larger images, or extractor stage0"
            )
        return maps

    def _at_hand(self) -> _Statistics:
        with self._lock:
            if self._statistics is None:
                self._statistics = self._measure()
            return self._statistics

    def _measure(self) -> _Statistics:
        """Class means and the scale of the features, from at most :data:`IMAGES_PER_CLASS` images per class."""
        classes = sorted(set(self._labels.tolist()))
        chosen = np.concatenate([_spread(np.flatnonzero(self._labels == label)) for label in classes])
        labels = torch.from_numpy(np.searchsorted(classes, self._labels[chosen]))
        pixels = [np.asarray(self._images[part]) for part in np.array_split(chosen, -(-len(chosen) // _BATCH))]
        seen = torch.cat([self._extractor(part) for part in pixels])
        reference = torch.isin(labels, torch.tensor(np.searchsorted(classes, self._reference)))
        scale = max(float(seen[reference].square().mean()) ** 0.5, 1e-12)
        # from the means of the last maps, as the extractor may use another layer
        last = seen if self._extractor.layer is None else torch.cat([self._maps(p).mean(dim=(2, 3)) for p in pixels])
        means = torch.stack([last[labels == place].mean(dim=0) for place in range(len(classes))])
        by_label = dict(zip(classes, means, strict=True))
        centre = torch.stack([by_label[label] for label in self._reference]).mean(dim=0)
        if len(self._reference) < 2:
            centre = torch.zeros_like(centre)
        weights = {label: mean - centre for label, mean in by_label.items()} | self._head_weights()
        unit = class_means(last, labels, len(classes))
        return _Statistics(scale, weights, unit[torch.tensor(np.searchsorted(classes, self._reference))])

    def _head_weights(self) -> dict[int, torch.Tensor]:
        known = self._extractor.classes or ()
        rows = self._extractor.network.head.weight.detach().float().cpu()
        return dict(zip(known, rows, strict=False))

    def _digest(self) -> str:
        digest = hashlib.sha256(f"1|{self._extractor.layer}|{self._extractor.device.type}|{self._reference}|".encode())
        add_weights(digest, self._extractor.network)
        for content, label in sorted(self._known.items()):
            digest.update(content + label.to_bytes(8, "little"))
        return digest.hexdigest()[:32]


@dataclass(frozen=True)
class _Statistics:
    """Statistics of the known classes.

    Attributes:
        scale: root mean square of the reference classes' features.
        weights: of each class's map, float32 (D,), by label.
        unit_means: float32 (reference classes, D), of unit length.
    """

    scale: float
    weights: dict[int, torch.Tensor]
    unit_means: torch.Tensor


def spatial_maps(network: Classifier, images: torch.Tensor) -> torch.Tensor:
    """The feature maps, float (N, D, h, w), whose spatial means are the network's features.

    Raises:
        UsageError: the network has none, for example a transformer.
    """
    backbone: Any = getattr(network, "backbone", None)
    maps = None
    if hasattr(backbone, "feature_maps"):
        maps = backbone.feature_maps(network.normalise(images))[-1]
    elif hasattr(backbone, "forward_features"):
        maps = backbone.forward_features(network.normalise(images))
    if maps is None or maps.ndim != 4 or maps.shape[1] != backbone.num_features:
        raise UsageError("this extractor's network has no feature maps before its pooling: use stage0 or a timm CNN")
    return maps


def tight_boxes(maps: torch.Tensor, threshold: float, height: int, width: int) -> np.ndarray:
    """The bounding box of where each map, scaled from its minimum (0) to its maximum (1), is at least ``threshold``.

    Maps are first enlarged bilinearly. The box of a constant map is the whole image.

    Args:
        maps: float (N, h, w).
        threshold: 0 to 1.
        height, width: of the images.

    Returns:
        int64 (N, 4): top, left, bottom, right; the last two exclusive.
    """
    enlarged = functional.interpolate(maps[:, None].double(), size=(height, width), mode="bilinear")[:, 0]
    low, high = enlarged.amin(dim=(1, 2), keepdim=True), enlarged.amax(dim=(1, 2), keepdim=True)
    inside = (enlarged - low >= threshold * (high - low)).numpy()
    inside |= (high - low <= 1e-9 * torch.maximum(high.abs(), low.abs())).numpy()
    rows, columns = inside.any(axis=2), inside.any(axis=1)
    edges = (
        rows.argmax(axis=1),
        columns.argmax(axis=1),
        height - rows[:, ::-1].argmax(axis=1),
        width - columns[:, ::-1].argmax(axis=1),
    )
    return np.stack(edges, axis=1).astype(np.int64)


def _spread(members: np.ndarray) -> np.ndarray:
    """At most :data:`IMAGES_PER_CLASS` of ``members``, evenly spaced."""
    return members[np.unique(np.linspace(0, len(members) - 1, min(IMAGES_PER_CLASS, len(members))).astype(np.int64))]


def _content(image: np.ndarray) -> bytes:
    return hashlib.blake2b(np.ascontiguousarray(image).data, digest_size=8).digest()
