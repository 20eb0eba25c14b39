"""Single images coded with one codec: bytes, distortion and position in feature space of each."""

from __future__ import annotations

from base64 import b64encode
from collections.abc import Sequence
from dataclasses import dataclass
from typing import NotRequired, TypedDict

import numpy as np
import torch

from toolkit.codecs.base import Codec, fitting_sample, image_size
from toolkit.codecs.features import refuse_features
from toolkit.codecs.guide import give_guide, needs_network
from toolkit.codecs.original import give_originals
from toolkit.codecs.spec import parse_codec
from toolkit.data.dataset import ImageDataset
from toolkit.data.images import png_bytes
from toolkit.features import distortion
from toolkit.features.extractor import FeatureExtractor
from toolkit.features.guide import NetworkGuide
from toolkit.foundation.errors import UsageError
from toolkit.foundation.progress import Progress, silent
from toolkit.probe.contents import ImageRow, ImagesResult

_BATCH = 100


def measure_images(
    dataset: ImageDataset,
    spec: str,
    extractor: FeatureExtractor,
    *,
    images: int = 400,
    seed: int = 0,
    progress: Progress = silent,
) -> ImagesResult:
    """Measure single training images with one codec; the ``images`` JSON, see
    :class:`~toolkit.probe.contents.ImagesResult`.

    Args:
        dataset: only its training split is used.
        spec: a codec.
        extractor: compares the decoded images with the originals.
        images: maximum number of images, stratified over the classes.
        seed: seed of the sample.
        progress: receives the number of images done.

    Raises:
        UsageError: fewer than 2 images, or a codec that stores none.
    """
    if images < 2:
        raise UsageError(f"at least 2 images are required, got {images}")
    chosen = np.sort(dataset.stratified_train_indices(images, seed))
    codec = parse_codec(spec)
    refuse_features(codec, "a measurement of single images")
    give_guide([codec], lambda: NetworkGuide(extractor, dataset.train.images, dataset.train.labels))
    give_originals([codec], dataset.originals)
    codec.fit(dataset.train.images[fitting_sample(chosen)])
    coded: list[_Coded] = []
    before, after = [], []
    for start in range(0, len(chosen), _BATCH):
        indices = chosen[start : start + _BATCH]
        pixels = np.ascontiguousarray(dataset.train.images[indices])
        payloads = codec.encode(pixels)
        decoded = codec.decode(payloads, image_size(pixels))
        before.append(extractor(pixels))
        after.append(before[-1] if codec.lossless else extractor(decoded))
        coded += _compare(codec, pixels, payloads, decoded)
        progress(f"measuring images of {codec}", min(start + _BATCH, len(chosen)), len(chosen))
    originals, features = torch.cat(before), torch.cat(after)
    plane = _Plane.of(originals)
    return {
        "dataset": dataset.name,
        "size": dataset.size,
        "codec": str(codec),
        "extractor": extractor.name,
        "layer": extractor.layer,
        "shared_bytes": codec.shared_bytes(),
        "seed": seed,
        "explained": plane.explained,
        "images": _rows(dataset, chosen, coded, originals, features, plane),
    }


class _Coded(TypedDict):
    """The keys of an :class:`~toolkit.probe.contents.ImageRow` that need no features."""

    stored_bytes: int
    file_bytes: int
    psnr: float | None
    ssim: float
    decoded: NotRequired[str]


def _rows(
    dataset: ImageDataset,
    chosen: np.ndarray,
    coded: Sequence[_Coded],
    originals: torch.Tensor,
    features: torch.Tensor,
    plane: _Plane,
) -> list[ImageRow]:
    """Rows of the chosen images, from features (N, D) of the original and the decoded images."""
    fmse = distortion.fmse(originals, features, "none").tolist()
    scale = float(originals.square().mean()) or 1.0
    return [
        {
            "index": index,
            "class": dataset.class_names[int(dataset.train.labels[index])],
            **image,
            "fmse": loss,
            "x": x,
            "y": y,
            "decoded_x": decoded_x,
            "decoded_y": decoded_y,
            "fmse_relative": loss / scale,
        }
        for index, image, loss, (x, y), (decoded_x, decoded_y) in zip(
            chosen.tolist(), coded, fmse, plane.places(originals), plane.places(features), strict=True
        )
    ]


def _compare(codec: Codec, pixels: np.ndarray, payloads: Sequence[bytes], decoded: np.ndarray) -> list[_Coded]:
    original, coded = torch.from_numpy(pixels), torch.from_numpy(decoded)
    psnr, ssim = distortion.psnr(original, coded, "none"), distortion.ssim(original, coded, "none")
    rows: list[_Coded] = []
    for n, payload in enumerate(payloads):
        row: _Coded = {
            "stored_bytes": len(payload),
            "file_bytes": len(codec.to_file(payload)),
            "psnr": None if float(psnr[n]) >= distortion.PSNR_CAP else round(float(psnr[n]), 3),
            "ssim": round(float(ssim[n]), 5),
        }
        if needs_network(codec):
            row["decoded"] = b64encode(png_bytes(decoded[n])).decode()
        rows.append(row)
    return rows


@dataclass(frozen=True)
class _Plane:
    """The plane of the first two principal components of features.

    Attributes:
        centre: float32 (D,).
        axes: float64 (D, 1 or 2).
        explained: share of variance per axis.
    """

    centre: torch.Tensor
    axes: torch.Tensor
    explained: list[float]

    @classmethod
    def of(cls, features: torch.Tensor) -> _Plane:
        """The plane of features (N, D)."""
        centre = features.mean(dim=0)
        _, spread, axes = torch.linalg.svd((features - centre).double(), full_matrices=False)
        variance = spread.square()
        return cls(centre, axes[:2].T, (variance[:2] / variance.sum().clamp_min(1e-30)).tolist())

    def places(self, features: torch.Tensor) -> list[tuple[float, float]]:
        """Coordinates of features (N, D); y is 0 if there is only one axis."""
        found = ((features - self.centre).double() @ self.axes).tolist()
        return [(place[0], place[1] if len(place) > 1 else 0.0) for place in found]
