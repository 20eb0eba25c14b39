"""What an image takes: lossless formats, source files, JPEG, WebP and AVIF at 32, 64 and 224 px, and a memory's file.

    python notebooks/studies/image_bytes.py DATA [--images N]

``results/image-bytes.{json,md}``: N test images (300) of Tiny-ImageNet-20 at 32 and 64 px and of flowers17 and
grocery24 at 224 px. Stored bytes per image, without the header that all share; the same as an ordinary file; PSNR over
all images; and the bytes on disk per byte of content, of a memory with a budget of 1 MB. Source files (``original``) of
Tiny-ImageNet have 64 px, those of flowers17 500 px and more, those of grocery24 348 px. The context model has not seen
these images, and none of grocery24 at all (``jpeg_prior.py``).
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TypedDict

import numpy as np
from study import RESULTS

from toolkit.codecs.base import Codec, image_size
from toolkit.codecs.encoders import encoder_versions
from toolkit.codecs.original import give_originals
from toolkit.codecs.psnr import psnr_of
from toolkit.codecs.spec import parse_codec, short_spec
from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import stratified_indices
from toolkit.foundation.files import write_json
from toolkit.memory.store import ExemplarMemory
from toolkit.runs.environment import environment

SIZES = ((32, "tiny-imagenet-20"), (64, "tiny-imagenet-20"), (224, "flowers17"), (224, "grocery24"))
SETTINGS = (
    "raw",
    "png",
    "webp:lossless=yes",
    "jxl:lossless=yes",
    *(f"original{choice}" for choice in (":shared=no", ":entropy=huffman", ":transcode=jxl", "")),
    *(f"jpeg:quality={quality}{coding}" for quality in (90, 75, 50, 20) for coding in (",entropy=huffman", "")),
    *(f"webp:quality={quality}" for quality in (75, 50)),
    *(f"avif:quality={quality}" for quality in (60, 40)),
    "jxl:quality=60",
)
BUDGET = 1_000_000
EQUAL_DB = 99.0
"""Of an image that comes back exactly."""


class Row(TypedDict):
    """One setting at one size; ``psnr`` in dB, None if lossless; ``disk`` is file bytes per byte of content."""

    size: int
    dataset: str
    codec: str
    stored_bytes: float
    file_bytes: float
    psnr: float | None
    disk: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with tiny-imagenet-20, flowers17 and grocery24")
    parser.add_argument("--images", type=int, default=300)
    parser.add_argument("--results", type=Path, default=RESULTS, help="folder to write to")
    asked = parser.parse_args()
    rows = [row for size, name in SIZES for row in measured(asked.data / name, size, asked.images)]
    facts = {"encoder": encoder_versions(), "images": asked.images, "environment": environment()}
    write_json(asked.results / "image-bytes.json", {**facts, "rows": rows})
    (asked.results / "image-bytes.md").write_text(as_table(rows, asked.images))


def measured(dataset: Path, size: int, count: int) -> list[Row]:
    """Every setting on images of a dataset at a size."""
    opened = load_dataset(str(dataset), size)
    chosen = stratified_indices(opened.test.labels, count, seed=0)
    pixels = np.ascontiguousarray(opened.test.images[chosen])
    rows: list[Row] = []
    for spec in SETTINGS:
        codec = parse_codec(spec)
        give_originals([codec], opened.originals)
        codec.fit(pixels)
        payloads = codec.encode(pixels)
        decoded = codec.decode(payloads, image_size(pixels))
        psnr = None if codec.lossless else float(np.minimum(psnr_of(pixels, decoded), EQUAL_DB).mean())
        stored = sum(map(len, payloads)) / len(payloads)
        files = sum(len(codec.to_file(payload)) for payload in payloads) / len(payloads)
        row: Row = {
            "size": size,
            "dataset": dataset.name,
            "codec": short_spec(spec),
            "stored_bytes": round(stored, 1),
            "file_bytes": round(files, 1),
            "psnr": None if psnr is None else round(psnr, 2),
            "disk": round(on_disk(codec, payloads), 4),
        }
        rows.append(row)
        print(f"{size} px, {row['codec']}: {row['stored_bytes']} bytes", flush=True)
    return rows


def on_disk(codec: Codec, payloads: list[bytes]) -> float:
    """Bytes of a memory's file per byte of content, filled up to a budget of 1 MB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.recall"
        with ExemplarMemory(path, BUDGET, codec) as memory:
            times = 1 + BUDGET // max(1, sum(map(len, payloads)))
            memory.add({0: payloads * times})
            return path.stat().st_size / memory.content_bytes


def as_table(rows: list[Row], images: int) -> str:
    """Markdown: one row per setting, the sizes side by side."""
    lines = [
        f"Mean of {images} test images; PSNR in dB. Disk: bytes of a memory's file per byte of content, 1 MB.",
        "",
        "| setting | " + " | ".join(f"{name}, {size} px: B | as a file | PSNR | disk" for size, name in SIZES) + " |",
        "|---|" + "--:|--:|--:|--:|" * len(SIZES),
    ]
    for spec in SETTINGS:
        cells = []
        for size, name in SIZES:
            known = (size, name, short_spec(spec))
            row = next(one for one in rows if (one["size"], one["dataset"], one["codec"]) == known)
            quality = "lossless" if row["psnr"] is None else f"{row['psnr']:.1f}"
            cells.append(f"{row['stored_bytes']:,.0f} | {row['file_bytes']:,.0f} | {quality} | {row['disk']:.3f}")
        lines.append(f"| `{short_spec(spec)}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
