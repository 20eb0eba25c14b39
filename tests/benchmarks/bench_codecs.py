"""Codec speed and bytes against peers in the same run.

``python tests/benchmarks/bench_codecs.py`` prints tables and writes ``results/codecs.json`` beside this file. The
images are Tiny-ImageNet's where RECALLRATE_DATA names the folder that holds ``tiny-imagenet-20``, else the demo set's.
"""

from __future__ import annotations

import functools
import io
import sys
import zlib

import numpy as np
from PIL import Image
from reporting import benchmark_images, save, seconds, table

from toolkit.codecs.spec import parse_codec
from toolkit.foundation import threads

BYTE_SETTINGS = (
    "jpeg:quality=10,subsampling=420,entropy=huffman",
    "jpeg:quality=30,subsampling=420,entropy=huffman",
    "jpeg:quality=50,subsampling=420,entropy=huffman",
    "jpeg:quality=75,subsampling=420,entropy=huffman",
    "jpeg:quality=50,entropy=huffman",
    "webp:quality=50",
    "webp:lossless=yes",
    "avif:quality=40",
    "avif:quality=60",
    "jxl:quality=60,effort=3",
    "jpeg2000:psnr=31",
    "png",
)
THREAD_SETTINGS = {
    "jpeg:quality=50,entropy=huffman": "fast",
    "png": "slow",
    "webp:quality=60": "slow",
    "avif:quality=40,speed=8": "slow",
    "jxl:quality=60,effort=3": "slow",
    "jpeg2000:psnr=31": "slow",
}


def bench_decode(distinct: int = 2000, rounds: int = 25) -> dict:
    """Decode ``distinct`` 32-pixel JPEGs ``rounds`` times, headers put back included, in turn with Pillow."""
    name, pixels = benchmark_images(32, distinct)
    codec = parse_codec("jpeg:quality=50,subsampling=420,entropy=huffman")
    payloads = codec.encode(pixels)
    files = [codec.to_file(payload) for payload in payloads]

    def by_pillow() -> np.ndarray:
        return np.stack([np.asarray(Image.open(io.BytesIO(file))) for file in files])

    assert np.array_equal(codec.decode(payloads), by_pillow())
    ours = theirs = 0.0
    for _ in range(rounds):
        ours += seconds(lambda: codec.decode(payloads))
        theirs += seconds(by_pillow)
    decoded = rounds * len(files)
    return {
        "dataset": name,
        "images": decoded,
        "ours_us": 1e6 * ours / decoded,
        "pillow_us": 1e6 * theirs / decoded,
        "ratio": ours / theirs,
    }


def deflate_bytes(files: list[bytes], sample: bytes) -> float:
    """Mean bytes a file by raw DEFLATE with ``sample`` as the preset dictionary."""
    total = 0
    for file in files:
        compressor = zlib.compressobj(9, zlib.DEFLATED, -15, 9, zlib.Z_DEFAULT_STRATEGY, sample)
        total += len(compressor.compress(file) + compressor.flush())
    return total / len(files)


def bench_bytes(size: int, count: int = 300) -> list[dict]:
    """Mean bytes an image: ordinary files, DEFLATE with one sample file as the dictionary, our shared header."""
    name, pixels = benchmark_images(size, count + 1)
    rows = []
    for spec in BYTE_SETTINGS:
        codec = parse_codec(spec)
        payloads = codec.encode(pixels)
        sample, *files = [codec.to_file(payload) for payload in payloads]
        rows.append(
            {
                "dataset": name,
                "size": size,
                "codec": spec,
                "file": sum(map(len, files)) / len(files),
                "deflate": deflate_bytes(files, sample),
                "ours": sum(map(len, payloads[1:])) / len(files),
                "deflate_once": len(sample),
                "ours_once": codec.shared_bytes(),
            }
        )
    return rows


def bench_threads(size: int, count: int, repeats: int = 3) -> list[dict]:
    """Time with two threads over time with one; the best of ``repeats`` each, in turn.

    The peer is zlib on large blocks, which needs no lock: its ratio tells what a second thread was worth just then.
    """
    _, pixels = benchmark_images(size, count)
    blocks = [np.random.default_rng(seed).integers(0, 64, 100_000, np.uint8).tobytes() for seed in range(32)]
    before = threads._threads
    rows = []
    try:
        for spec, pace in THREAD_SETTINGS.items():
            codec = parse_codec(spec)
            payloads = codec.encode(pixels)
            work = {
                "encode": functools.partial(codec.encode, pixels),
                "decode": functools.partial(codec.decode, payloads),
                "peer": lambda: list(threads.ordered_map(zlib.compress, blocks, group=1)),
            }
            best = {(name, workers): float("inf") for name in work for workers in (1, 2)}
            for _ in range(repeats):
                for name, workers in best:
                    threads.set_threads(workers)
                    best[name, workers] = min(best[name, workers], seconds(work[name]))
            row = {"codec": spec, "pace": pace, "size": size}
            row |= {f"{name}_us": 1e6 * best[name, 1] / len(pixels) for name in ("encode", "decode")}
            rows.append(row | {f"{name}_ratio": best[name, 2] / best[name, 1] for name in work})
    finally:
        threads.set_threads(before)
    return rows


def main() -> int:
    decode = bench_decode()
    print("Decoding 32-pixel JPEGs\n" + table([decode]))
    sizes = [row for size in (32, 64) for row in bench_bytes(size)]
    print("\nBytes an image (..._once: stored once)\n" + table(sizes))
    on_two: list[dict] = []
    if threads.available_cores() >= 2:
        on_two = bench_threads(32, 600) + bench_threads(64, 300)
        print("\nOne thread: microseconds an image; two threads: time over that of one\n" + table(on_two))
    save("codecs", {"decode": decode, "bytes": sizes, "threads": on_two})
    return 0


if __name__ == "__main__":
    sys.exit(main())
