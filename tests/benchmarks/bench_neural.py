"""Neural streams against CompressAI's own, in the same run: bytes an exemplar, images a second, one exemplar alone.

``python tests/benchmarks/bench_neural.py``. On a GPU it also times latents to pixels there.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from compressai.ans import BufferedRansEncoder, RansDecoder
from reporting import benchmark_images, save, seconds, table

from toolkit.codecs.neural.codec import SMALL_FOLDER
from toolkit.codecs.neural.model_file import read_model_manifest, read_model_state
from toolkit.codecs.neural.networks import build, load_state, open_model
from toolkit.codecs.spec import parse_codec
from toolkit.foundation import threads

BATCH = 256
PATH = SMALL_FOLDER / "small-2.npz"


def bench_streams(size: int = 32, rounds: int = 3) -> list[dict[str, Any]]:
    """Images a second with :data:`BATCH` at a time, streams included, and what reading one of them takes.

    Rows: ours; CompressAI with a stream an image; and with one stream for groups of 16 and for the whole batch.
    """
    images = benchmark_images(size, BATCH)[1]
    codec = parse_codec("neural:model=small,quality=2")
    payloads = codec.encode(images)
    rows = [
        _row(
            "ours, a stream an image",
            np.mean([len(one) for one in payloads]),
            rounds,
            lambda: codec.encode(images),
            lambda: codec.decode(payloads),
            lambda: codec.decode(payloads[:1]),
        )
    ]
    network = _compressais()
    x = torch.from_numpy(images).permute(0, 3, 1, 2).float() / 255
    with torch.inference_mode():
        single = [network.compress(one) for one in x.split(1)]
        rows.append(
            _row(
                "CompressAI, a stream an image",
                np.mean([len(one["strings"][0][0]) for one in single]),
                rounds,
                lambda: [network.compress(one) for one in x.split(1)],
                lambda: [network.decompress(one["strings"], one["shape"]) for one in single],
                lambda: network.decompress(single[0]["strings"], single[0]["shape"]),
            )
        )
        for group in (16, BATCH):
            streams = [_one_stream(network, part) for part in x.split(group)]

            def decode(some: list[bytes], count: int = group) -> list[torch.Tensor]:
                return [_from_one_stream(network, stream, count, size) for stream in some]

            rows.append(
                _row(
                    f"CompressAI, a stream for {group}",
                    sum(map(len, streams)) / BATCH,
                    rounds,
                    lambda group=group: [_one_stream(network, part) for part in x.split(group)],
                    lambda streams=streams, decode=decode: decode(streams),
                    lambda streams=streams, decode=decode: decode(streams[:1]),
                )
            )
    return rows


def _row(
    name: str,
    stored: float,
    rounds: int,
    encode: Callable[[], object],
    decode: Callable[[], object],
    alone: Callable[[], object],
) -> dict[str, Any]:
    times = [[seconds(work) for _ in range(rounds)] for work in (encode, decode, alone)]
    encoding, decoding, single = (statistics.median(one) for one in times)
    return {
        "streams": name,
        "bytes an image": float(stored),
        "encode images/s": BATCH / encoding,
        "decode images/s": BATCH / decoding,
        "one exemplar ms": 1e3 * single,
    }


def _compressais() -> Any:
    """The same network behind CompressAI's own coder, with tables for its silent channels as well."""
    manifest = read_model_manifest(PATH)
    assert manifest is not None
    network = build(manifest.architecture).eval()
    load_state(network, read_model_state(PATH))
    network.entropy_bottleneck.update(force=True)
    return network


def _one_stream(network: Any, x: torch.Tensor) -> bytes:
    bottleneck = network.entropy_bottleneck
    latents = network.g_a(x)
    symbols = bottleneck.quantize(latents, "symbols", bottleneck._get_medians().reshape(1, -1, 1, 1))
    encoder = BufferedRansEncoder()
    indexes = bottleneck._build_indexes(latents.size()).reshape(-1).tolist()
    encoder.encode_with_indexes(symbols.reshape(-1).tolist(), indexes, *_tables(bottleneck))
    return encoder.flush()


def _from_one_stream(network: Any, stream: bytes, count: int, size: int) -> torch.Tensor:
    bottleneck = network.entropy_bottleneck
    shape = (count, network.M, size // 2**network.stages, size // 2**network.stages)
    decoder = RansDecoder()
    decoder.set_stream(stream)
    values = decoder.decode_stream(bottleneck._build_indexes(shape).reshape(-1).tolist(), *_tables(bottleneck))
    latents = torch.tensor(values, dtype=torch.float32).reshape(shape)
    return network.g_s(latents + bottleneck._get_medians().reshape(1, -1, 1, 1)).clamp(0, 1)


def _tables(bottleneck: Any) -> tuple[list[list[int]], list[int], list[int]]:
    return bottleneck.quantized_cdf.tolist(), bottleneck.cdf_length.tolist(), bottleneck.offset.tolist()


def bench_pixels(device: torch.device, size: int = 32, batch: int = 4096, rounds: int = 10) -> dict[str, Any]:
    """Images a second from latents to 8-bit pixels on a device."""
    network: Any = open_model(PATH).network.to(device)  # type: ignore[attr-defined]
    side = size // 2**network.stages
    latents = torch.randn(batch, network.M, side, side, device=device).contiguous(memory_format=torch.channels_last)

    @torch.inference_mode()
    def decode() -> None:
        (network.g_s(latents).clamp(0, 1) * 255).round().to(torch.uint8)
        if device.type == "cuda":
            torch.cuda.synchronize()

    decode()
    typical = statistics.median(seconds(decode) for _ in range(rounds))
    return {"device": device.type, "size": size, "images/s": batch / typical}


def main() -> int:
    torch.set_num_threads(threads.thread_count())
    rows = bench_streams()
    print(table(rows))
    larger = bench_streams(64)
    print(table(larger))
    pixels = [bench_pixels(torch.device("cpu"), batch=512, rounds=3)]
    if torch.cuda.is_available():
        pixels.append(bench_pixels(torch.device("cuda")))
    print(table(pixels))
    name = "neural-" + torch.cuda.get_device_name().replace(" ", "-").lower() if torch.cuda.is_available() else "neural"
    save(name, {"threads": torch.get_num_threads(), "batch": BATCH, "at_32": rows, "at_64": larger, "pixels": pixels})
    return 0


if __name__ == "__main__":
    sys.exit(main())
