"""JPEG files under the context model: bytes and speed against Huffman codes and JPEG XL's transcoding in the same run.

``python tests/benchmarks/bench_lossless_jpeg.py`` prints a table and writes ``results/lossless-jpeg.json`` beside this
file. The images are Tiny-ImageNet's at 32 and 64 px and flowers17's at 224 px where RECALLRATE_DATA names the folder
that holds both, else the demo set's.
"""

from __future__ import annotations

import os
from pathlib import Path

import imagecodecs
import numpy as np
from reporting import save, seconds, table

from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.foundation.threads import available_cores, set_threads, thread_count

SETS = ((32, "tiny-imagenet-20", 600), (64, "tiny-imagenet-20", 300), (224, "flowers17", 60))
QUALITY = 50


def bench_lossless_jpeg(size: int, name: str, count: int) -> dict:
    """Encode and decode ``count`` images, pixels to payloads and back; files come back to the byte in all ways."""
    folder = os.environ.get("RECALLRATE_DATA")
    images = load_dataset(str(Path(folder) / name) if folder else "demo", size).test.images
    pixels = np.ascontiguousarray(images[:: max(1, len(images) // count)][:count])
    context, huffman = (parse_codec(f"jpeg:quality={QUALITY},entropy={entropy}") for entropy in ("context", "huffman"))
    for codec in (context, huffman):
        codec.decode(codec.encode(pixels[:2]))  # compiled before it is timed
    row: dict = {"dataset": name if folder else "demo", "size": size, "images": len(pixels), "threads": thread_count()}
    for label, codec in (("context", context), ("huffman", huffman)):
        row[f"{label} encode/s"] = len(pixels) / seconds(lambda codec=codec: codec.encode(pixels))
        payloads = codec.encode(pixels)
        row[f"{label} decode/s"] = len(pixels) / seconds(lambda codec=codec, coded=payloads: codec.decode(coded))
        row[f"{label} bytes"] = sum(map(len, payloads)) / len(payloads)
    files = [huffman.to_file(payload) for payload in huffman.encode(pixels)]
    row["jxl encode/s"] = len(files) / seconds(lambda: list(map(imagecodecs.jpegxl_encode_jpeg, files)))
    transcoded = list(map(imagecodecs.jpegxl_encode_jpeg, files))
    row["jxl decode/s"] = len(files) / seconds(lambda: list(map(imagecodecs.jpegxl_decode_jpeg, transcoded)))
    row["jxl bytes"] = sum(map(len, transcoded)) / len(transcoded)
    row["context over huffman"] = row["context bytes"] / row["huffman bytes"]
    row["context over jxl"] = row["context bytes"] / row["jxl bytes"]
    return row


if __name__ == "__main__":
    set_threads(available_cores())
    rows = [bench_lossless_jpeg(*one) for one in SETS]
    print(table(rows))
    save("lossless-jpeg", {"quality": QUALITY, "rows": rows})
