"""The probabilities with which the context model of ``jpeg:entropy=context`` begins every image.

    python notebooks/studies/jpeg_prior.py DATA [-o toolkit/codecs/lossless_jpeg/prior.npz] [--images N]

Decisions are counted over training images (1,000 below 100 px, 150 above) of Tiny-ImageNet-20 at 32 and 64 px and of
flowers17 at 224 px, at four qualities each. A new file is another codec: memories written with the one before can no
longer be decoded. ``notebooks/studies/image_bytes.py`` measures on images that were not counted.
"""

from __future__ import annotations

import argparse
from pathlib import Path

import numpy as np

from toolkit.codecs.lossless_jpeg.frame import frame_of, scan_start
from toolkit.codecs.lossless_jpeg.model import CONTEXTS, PRIOR, count_decisions
from toolkit.codecs.lossless_jpeg.scan import read_scan
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset

SETS = ((32, "tiny-imagenet-20", "444"), (64, "tiny-imagenet-20", "444"), (224, "flowers17", "420"))
QUALITIES = (20, 50, 75, 90)
MOST_SEEN = 20
"""A prior weighs at most as much as so many decisions of an image; 10 to 160 were tried."""
SEEN_PER_DECISION = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with tiny-imagenet-20 and flowers17")
    parser.add_argument("-o", "--output", type=Path, default=PRIOR)
    parser.add_argument("--images", type=int, help="images of each dataset and size")
    asked = parser.parse_args()
    counts = np.zeros((CONTEXTS, 2), np.int64)
    for size, name, subsampling in SETS:
        images = load_dataset(str(asked.data / name), size).train.images
        chosen = np.random.default_rng(0).permutation(len(images))[: asked.images or (1000 if size < 100 else 150)]
        for quality in QUALITIES:
            codec = parse_codec(f"jpeg:quality={quality},subsampling={subsampling},shared=no")
            for file in codec.encode(np.ascontiguousarray(images[chosen])):
                count_file(file, counts)
        print(f"{name} at {size} px: {counts.sum():,} decisions", flush=True)
    total = counts.sum(axis=1)
    probabilities = np.rint((counts[:, 1] + 0.4) / (total + 0.8) * 2**16).clip(48, 2**16 - 48).astype(np.uint16)
    seen = np.minimum(total // SEEN_PER_DECISION, MOST_SEEN).astype(np.uint8)
    np.savez_compressed(asked.output, probabilities=probabilities, seen=seen)


def count_file(file: bytes, counts: np.ndarray) -> None:
    """Add the decisions of one JPEG file."""
    frame = frame_of(file[: scan_start(file)])
    assert frame is not None  # a baseline file of our own encoder
    coefficients = read_scan(file, frame)
    assert coefficients is not None
    count_decisions(coefficients, frame, counts)


if __name__ == "__main__":
    main()
