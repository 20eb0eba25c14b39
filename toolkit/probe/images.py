"""Single images through one codec: what each costs and loses, and where it lies among the others in feature space."""

from __future__ import annotations

from base64 import b64encode
from typing import Any

import numpy as np
import torch

from toolkit.codecs.base import fitting_sample, image_size
from toolkit.codecs.guide import give_guide, needs_network
from toolkit.codecs.spec import parse_codec
from toolkit.data.dataset import ImageDataset
from toolkit.data.images import png_bytes
from toolkit.features import distortion
from toolkit.features.extractor import FeatureExtractor
from toolkit.features.guide import NetworkGuide
from toolkit.foundation.errors import UsageError
from toolkit.foundation.progress import Progress, silent

_BATCH = 100


def measure_images(
    dataset: ImageDataset,
    spec: str,
    extractor: FeatureExtractor,
    *,
    images: int = 400,
    seed: int = 0,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The ``images`` JSON: a row for each of some training images.

    Each row has ``index`` (in the training split), ``class``, ``stored_bytes``, ``file_bytes``, ``psnr`` (None for an
    image without error), ``ssim``, ``fmse``, ``fmse_relative`` (to the mean square of all originals' features, so that
    the mean over rows is the probe's), and places in the plane of the originals' first two principal components, of
    the original (``x``, ``y``) and of the decoded image (``decoded_x``, ``decoded_y``). Where coding runs a network,
    ``decoded`` is the decoded image as PNG (base64), for pages, which run none.

    Args:
        dataset: only its training split is used.
        spec: a codec.
        extractor: judges the decoded images.
        images: how many at most, stratified over the classes.
        seed: of the draw.
        progress: told about images done.

    Raises:
        UsageError: fewer than 2 images.
    """
    if images < 2:
        raise UsageError(f"two images at least are needed to compare, got {images}")
    chosen = np.sort(dataset.stratified_train_indices(images, seed))
    codec = parse_codec(spec)
    give_guide([codec], lambda: NetworkGuide(extractor, dataset.train.images, dataset.train.labels))
    codec.fit(dataset.train.images[fitting_sample(chosen)])
    kept = needs_network(codec)
    rows: list[dict[str, Any]] = []
    before, after = [], []
    for start in range(0, len(chosen), _BATCH):
        indices = chosen[start : start + _BATCH]
        pixels = np.ascontiguousarray(dataset.train.images[indices])
        payloads = codec.encode(pixels)
        decoded = codec.decode(payloads, image_size(pixels))
        before.append(extractor(pixels))
        after.append(before[-1] if codec.lossless else extractor(decoded))
        original, coded = torch.from_numpy(pixels), torch.from_numpy(decoded)
        psnr, ssim = distortion.psnr(original, coded, "none"), distortion.ssim(original, coded, "none")
        fmse = distortion.fmse(before[-1], after[-1], "none")
        for n, index in enumerate(indices.tolist()):
            rows.append(
                {
                    "index": index,
                    "class": dataset.class_names[int(dataset.train.labels[index])],
                    "stored_bytes": len(payloads[n]),
                    "file_bytes": len(codec.to_file(payloads[n])),
                    "psnr": None if float(psnr[n]) >= distortion.PSNR_CAP else round(float(psnr[n]), 3),
                    "ssim": round(float(ssim[n]), 5),
                    "fmse": float(fmse[n]),
                    **({"decoded": _png(decoded[n])} if kept else {}),
                }
            )
        progress(f"looking at images of {codec}", min(start + _BATCH, len(chosen)), len(chosen))
    originals, coded_features = torch.cat(before), torch.cat(after)
    scale = float(originals.square().mean()) or 1.0
    centre = originals.mean(dim=0)
    _, spread, axes = torch.linalg.svd((originals - centre).double(), full_matrices=False)
    plane = axes[:2].T
    for kind, features in (("", originals), ("decoded_", coded_features)):
        places = ((features - centre).double() @ plane).tolist()
        for row, place in zip(rows, places, strict=True):
            row |= {f"{kind}x": place[0], f"{kind}y": place[1] if len(place) > 1 else 0.0}
    for row in rows:
        row["fmse_relative"] = row["fmse"] / scale
    variance = spread.square()
    return {
        "dataset": dataset.name,
        "size": dataset.size,
        "codec": str(codec),
        "extractor": extractor.name,
        "layer": extractor.layer,
        "shared_bytes": codec.shared_bytes(),
        "seed": seed,
        "explained": (variance[:2] / variance.sum().clamp_min(1e-30)).tolist(),
        "images": rows,
    }


def _png(image: np.ndarray) -> str:
    return b64encode(png_bytes(image)).decode()
