"""The JPEG layer on a CUDA device against a copy of its images. ``python tests/benchmarks/bench_jpeg_gpu.py``."""

from __future__ import annotations

import re
import statistics
import sys
from collections.abc import Callable
from typing import Any

import torch
from reporting import save, seconds, table

from toolkit.jpeg.layer import JPEGLayer
from toolkit.jpeg.tables import standard_tables

SHAPES = ((32, 3, 224, 224), (256, 3, 32, 32))
ROUNDS = 20
CALLS = 50
ROTATED = 512 << 20
"""Bytes of images that take turns, several times a GPU's cache: a training step's images are not in it either."""

Work = Callable[[int], object]


def bench_layer(shape: tuple[int, int, int, int]) -> list[dict[str, Any]]:
    """A row for each kind of work: milliseconds of the device, those as called from Python, and ratios to the copy.

    The device's are of a CUDA graph that holds the work for every set of images, so that launching does not count.
    Forward and backward gives the gradients of images and steps.
    """
    sets = max(4, ROTATED // (4 * torch.Size(shape).numel()))
    images = [torch.rand(shape, device="cuda").mul_(255).requires_grad_() for _ in range(sets)]
    gradients = [torch.randn(shape, device="cuda") for _ in range(sets)]

    def copy(index: int) -> object:
        return images[index].detach().clone()

    rows = [_row(shape, "copy", copy, sets, None)]
    for name, layer in (("fused", _layer()), ("eager", _eager(_layer()))):

        def forward(index: int, layer: JPEGLayer = layer) -> torch.Tensor:
            return layer(images[index])

        def both(index: int, layer: JPEGLayer = layer) -> object:
            out = layer(images[index])
            return out, torch.autograd.grad(out, (images[index], layer.steps), gradients[index])

        rows += [
            _row(shape, f"{name} forward", forward, sets, rows[0]),
            _row(shape, f"{name} forward + backward", both, sets, rows[0]),
        ]
    return rows


def _layer() -> JPEGLayer:
    return JPEGLayer(standard_tables(75)).cuda()


def _eager(layer: JPEGLayer) -> JPEGLayer:
    layer._fused = lambda images: None  # type: ignore[method-assign]
    return layer


def _row(shape: tuple[int, ...], name: str, work: Work, sets: int, copy: dict[str, Any] | None) -> dict[str, Any]:
    device = _graph_ms(work, sets)
    return {
        "images": "x".join(map(str, shape)),
        "work": name,
        "ms": device,
        "over copy": device / copy["ms"] if copy else 1.0,
        "ms as called": _called_ms(work, sets),
    }


def _graph_ms(work: Work, sets: int) -> float:
    """Median time of the device for one call, from replays of a graph of ``sets`` calls."""
    aside = torch.cuda.Stream()
    aside.wait_stream(torch.cuda.current_stream())
    with torch.cuda.stream(aside):  # compiles kernels, which a graph cannot hold
        for index in range(3):
            work(index)
    torch.cuda.current_stream().wait_stream(aside)
    graph = torch.cuda.CUDAGraph()
    with torch.cuda.graph(graph):
        kept = [work(index) for index in range(sets)]  # else all would write to the same, cached, memory
    times = []
    for _ in range(ROUNDS):
        start, end = torch.cuda.Event(enable_timing=True), torch.cuda.Event(enable_timing=True)
        start.record()
        graph.replay()
        end.record()
        end.synchronize()
        times.append(start.elapsed_time(end))
    del kept
    return statistics.median(times[2:]) / sets


def _called_ms(work: Work, sets: int) -> float:
    """Wall time of one of many calls in a row."""

    def calls() -> None:
        for index in range(CALLS):
            work(index % sets)
        torch.cuda.synchronize()

    calls()
    return 1000 * statistics.median(seconds(calls) for _ in range(5)) / CALLS


def main() -> int:
    if not torch.cuda.is_available():
        print("bench_jpeg_gpu: no CUDA device here")
        return 1
    device = torch.cuda.get_device_name()
    rows = [row for shape in SHAPES for row in bench_layer(shape)]
    print(device)
    print(table(rows))
    name = re.sub(r"[^a-z0-9]+", "-", device.lower()).strip("-")
    save(f"jpeg-{name}", {"device": device, "torch": torch.__version__, "rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
