"""The JPEG layer on the CPU against kornia and against the six-dimensional soft quantiser.

``python tests/benchmarks/bench_jpeg.py``: forward and backward of whole layers, batch 32 x 3 x 224 x 224, two threads,
peers in the same run; bytes that autograd keeps in between.
"""

from __future__ import annotations

import statistics
import sys
from collections.abc import Callable

import torch
from kornia.enhance import JPEGCodecDifferentiable
from reporting import save, seconds, table
from torch import nn

from toolkit.jpeg.layer import JPEGLayer
from toolkit.jpeg.tables import standard_tables
from toolkit.jpeg.transform import BlockTransform

SHAPE = (32, 3, 224, 224)
ROUNDS = 3
QUALITY = 75


class SixDimensional(nn.Module):
    """The soft quantiser written the obvious way: every coefficient's five levels in a sixth dimension, by autograd."""

    def __init__(self, steps: torch.Tensor, alpha: float, bits: int = 8) -> None:
        super().__init__()
        self.steps = nn.Parameter(steps.clone())
        self.transform = BlockTransform()
        self.alpha, self.limit = alpha, 2 ** (bits - 1) - 1

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        (z,) = self.transform.analyse(images)
        q = self.steps.flatten(1)[[0, 1, 1]]
        start = torch.clamp(torch.round(z / q) - 2, -self.limit, self.limit - 4).detach()
        levels = (start[..., None] + torch.arange(5.0)) * q[..., None]
        probabilities = torch.softmax(-self.alpha * (z[..., None] - levels) ** 2, dim=-1)
        quantised = (probabilities * levels).sum(-1)
        return self.transform.synthesise((quantised,), (images.shape[2], images.shape[3]))


def bench_jpeg() -> list[dict[str, object]]:
    """A row a layer: medians over rounds taken in turn of forward and of both ways in ms, MB kept, ratios to its peer.

    kornia is the peer of the straight-through layer, the six-dimensional form that of the soft one.
    """
    torch.set_num_threads(2)
    steps = standard_tables(QUALITY)
    images = torch.rand(SHAPE, generator=torch.Generator().manual_seed(0)) * 255
    kornia = JPEGCodecDifferentiable()
    quality = torch.full((SHAPE[0],), float(QUALITY))
    layers: dict[str, tuple[str, Callable[[torch.Tensor], torch.Tensor]]] = {
        "kornia": ("kornia", lambda x: kornia(x / 255, quality)),
        "straight-through": ("kornia", JPEGLayer(steps, mode="ste")),
        "straight-through, compiled": ("kornia", torch.compile(JPEGLayer(steps, mode="ste"))),
        "six-dimensional": ("six-dimensional", SixDimensional(steps, 5.0)),
        "soft": ("six-dimensional", JPEGLayer(steps, alpha=5.0)),
        "soft, compiled": ("six-dimensional", torch.compile(JPEGLayer(steps, alpha=5.0))),
    }
    for _, layer in layers.values():
        both_ways(layer, images)  # warm up, compile
    times: dict[str, list[tuple[float, float]]] = {name: [] for name in layers}
    for _ in range(ROUNDS):
        for name, (_, layer) in layers.items():
            times[name].append((seconds(lambda layer=layer: layer(images)), both_ways(layer, images)))
    forward = {name: statistics.median(pair[0] for pair in pairs) for name, pairs in times.items()}
    both = {name: statistics.median(pair[1] for pair in pairs) for name, pairs in times.items()}
    kept = {name: kept_bytes(layer, images) for name, (_, layer) in layers.items()}
    return [
        {
            "layer": name,
            "forward_ms": 1000 * forward[name],
            "both_ways_ms": 1000 * both[name],
            "kept_over_input": kept[name] / images.nbytes,
            "peer": peer,
            "times_faster": both[peer] / both[name],
        }
        for name, (peer, _) in layers.items()
    ]


def both_ways(layer: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> float:
    """Seconds of a forward and a backward pass, gradients of the images included."""
    inputs = images.detach().requires_grad_()
    return seconds(lambda: layer(inputs).sum().backward())


def kept_bytes(layer: Callable[[torch.Tensor], torch.Tensor], images: torch.Tensor) -> int:
    """Bytes of distinct tensors that autograd saves for the backward pass, parameters and buffers left out."""
    own = (
        {one.untyped_storage().data_ptr() for one in (*layer.parameters(), *layer.buffers())}
        if isinstance(layer, nn.Module)
        else set()
    )
    kept: dict[int, int] = {}

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        if tensor.untyped_storage().data_ptr() not in own:
            kept[tensor.untyped_storage().data_ptr()] = tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        result = layer(images.detach().requires_grad_())
    assert result.requires_grad
    return sum(kept.values())


def main() -> int:
    rows = bench_jpeg()
    print(table(rows))
    save("jpeg-cpu", {"shape": list(SHAPE), "threads": 2, "layers": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
