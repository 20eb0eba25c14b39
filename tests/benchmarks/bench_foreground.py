"""Looking for the foreground against a plain forward of the same network, and what encoding then takes.

``python tests/benchmarks/bench_foreground.py``.
"""

from __future__ import annotations

import statistics
import sys
from typing import Any

import numpy as np
import torch
from reporting import benchmark_spec, save, seconds, table

from toolkit.codecs.guide import give_guide
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.features.extractor import FeatureExtractor, build_extractor
from toolkit.features.guide import NetworkGuide
from toolkit.training.backbones import build_backbone
from toolkit.training.device import resolve_device
from toolkit.training.networks import Classifier

CODEC = "foreground:background=jpeg:quality=10|jpeg:quality=60"


def bench_foreground(size: int, images: int, network: str = "stage0", rounds: int = 5) -> dict[str, Any]:
    """Microseconds an image: a forward, the boxes, both codings of an image, all of encoding; medians of one run.

    ``ratio`` is what looking for boxes takes over a plain forward; the class means, made once, are not in it.
    """
    dataset = load_dataset(benchmark_spec(), size)
    device = resolve_device("auto")
    if network == "stage0":
        extractor = build_extractor("stage0", dataset, device=device)
    else:
        torch.manual_seed(0)
        extractor = FeatureExtractor(network, Classifier(build_backbone(network), 1).eval(), device)
    chosen = dataset.stratified_train_indices(images, seed=0)
    pixels = np.array(dataset.train.images[chosen])
    guide = NetworkGuide(extractor, pixels, dataset.train.labels[chosen])
    codec, plain = parse_codec(CODEC), parse_codec("jpeg:quality=60")
    give_guide([codec], lambda: guide)
    once = seconds(lambda: codec.encode(pixels))  # makes the class means
    plain.encode(pixels)
    times: dict[str, list[float]] = {"forward": [], "boxes": [], "encode": [], "jpeg": []}
    for _ in range(rounds):
        times["forward"].append(seconds(lambda: extractor(pixels)))
        times["boxes"].append(seconds(lambda: guide.boxes(pixels, 0.6)))
        times["encode"].append(seconds(lambda: codec.encode(pixels)))
        times["jpeg"].append(seconds(lambda: plain.encode(pixels)))
    typical = {name: statistics.median(values) for name, values in times.items()}
    return {
        "size": size,
        "images": images,
        "network": extractor.name,
        **{f"{name}_us": 1e6 * value / images for name, value in typical.items()},
        "means_once_seconds": once - typical["encode"],
        "ratio": typical["boxes"] / typical["forward"],
    }


def main() -> int:
    rows = [
        bench_foreground(32, 1000),
        bench_foreground(96, 200),
        bench_foreground(224, 50, "timm:resnet18", rounds=3),
    ]
    print(table(rows))
    save("foreground", {"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
