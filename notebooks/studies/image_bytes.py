"""What an image takes: lossless formats, JPEG, WebP and AVIF at 32, 64 and 224 px, and the file of a memory.

    python notebooks/studies/image_bytes.py DATA [--images N]

``results/image-bytes.{json,md}``: N training images (300) of Tiny-ImageNet-20 at 32 and 64 px and of flowers17 at
224 px. Stored bytes per image, without the header that all share; the same as an ordinary file; PSNR over all images;
and the bytes on disk per byte that counts, of a memory with a budget of 1 MB. The originals are files of another size
at 32 and 224 px: at 64 px those of Tiny-ImageNet are the images themselves, as JPEG files of quality 75.
"""

from __future__ import annotations

import argparse
import tempfile
from pathlib import Path
from typing import TypedDict

import numpy as np
from study import RESULTS

from toolkit.codecs.base import image_size
from toolkit.codecs.encoders import encoder_versions
from toolkit.codecs.psnr import psnr_of
from toolkit.codecs.spec import parse_codec, short_spec
from toolkit.data.catalog import load_dataset
from toolkit.foundation.files import write_json
from toolkit.memory.store import ExemplarMemory
from toolkit.runs.environment import environment

SIZES = ((32, "tiny-imagenet-20"), (64, "tiny-imagenet-20"), (224, "flowers17"))
SETTINGS = (
    "raw",
    "png",
    "webp:lossless=yes",
    "jxl:lossless=yes",
    *(f"jpeg:quality={quality}" for quality in (90, 75, 50, 20)),
    *(f"webp:quality={quality}" for quality in (75, 50)),
    *(f"avif:quality={quality}" for quality in (60, 40)),
    "jxl:quality=60",
)
BUDGET = 1_000_000


class Row(TypedDict):
    """One setting at one size; ``psnr`` in dB, None if lossless; ``disk`` is file bytes per byte that counts."""

    size: int
    dataset: str
    codec: str
    stored_bytes: float
    file_bytes: float
    psnr: float | None
    disk: float


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("data", type=Path, help="folder with tiny-imagenet-20 and flowers17")
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
    chosen = opened.stratified_train_indices(count, seed=0)
    pixels = np.ascontiguousarray(opened.train.images[chosen])
    rows: list[Row] = []
    for spec in SETTINGS:
        codec = parse_codec(spec)
        codec.fit(pixels)
        payloads = codec.encode(pixels)
        decoded = codec.decode(payloads, image_size(pixels))
        psnr = None if codec.lossless else float(psnr_of(pixels, decoded).mean())
        stored = sum(map(len, payloads)) / len(payloads)
        files = sum(len(codec.to_file(payload)) for payload in payloads) / len(payloads)
        row: Row = {
            "size": size,
            "dataset": dataset.name,
            "codec": short_spec(spec),
            "stored_bytes": round(stored, 1),
            "file_bytes": round(files, 1),
            "psnr": None if psnr is None else round(psnr, 2),
            "disk": round(on_disk(spec, payloads), 4),
        }
        rows.append(row)
        print(f"{size} px, {row['codec']}: {row['stored_bytes']} bytes", flush=True)
    return rows


def on_disk(spec: str, payloads: list[bytes]) -> float:
    """Bytes of a memory's file per byte that counts, filled up to a budget of 1 MB."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "memory.recall"
        with ExemplarMemory(path, BUDGET, spec) as memory:
            times = 1 + BUDGET // max(1, sum(map(len, payloads)))
            memory.add({0: payloads * times})
            return path.stat().st_size / memory.nbytes


def as_table(rows: list[Row], images: int) -> str:
    """Markdown: one row per setting, the sizes side by side."""
    lines = [
        f"Mean of {images} training images; PSNR in dB. Disk: bytes of a memory's file per byte that counts, 1 MB.",
        "",
        "| setting | " + " | ".join(f"{size} px: bytes | as a file | PSNR | disk" for size, _ in SIZES) + " |",
        "|---|" + "--:|--:|--:|--:|" * len(SIZES),
    ]
    for spec in SETTINGS:
        cells = []
        for size, _ in SIZES:
            row = next(one for one in rows if (one["size"], one["codec"]) == (size, short_spec(spec)))
            quality = "lossless" if row["psnr"] is None else f"{row['psnr']:.1f}"
            cells.append(f"{row['stored_bytes']:,.0f} | {row['file_bytes']:,.0f} | {quality} | {row['disk']:.3f}")
        lines.append(f"| `{short_spec(spec)}` | " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
