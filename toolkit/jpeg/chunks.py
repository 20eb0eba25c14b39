"""Values and derivatives of element-wise functions of coefficients, computed in chunks that stay in the cache."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence

import torch

CHUNK = 1 << 16
"""Elements per chunk."""
ChunkSlice = slice | None
Slopes = Callable[..., tuple[torch.Tensor | None, ...]]
"""From z, the tensors that broadcast against it and the wanted derivatives to these derivatives, element-wise."""


def cache_chunks(z: torch.Tensor, *others: torch.Tensor) -> Iterator[tuple[ChunkSlice, tuple[torch.Tensor, ...]]]:
    """Chunks of z along its first dimension that fit the cache, with the tensors that broadcast against them.

    The slice is None for the whole, which compilers and GPUs process faster.
    """
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    whole = traced or z.device.type != "cpu" or z.dim() < 2 or z.numel() <= CHUNK
    if whole or any(other.dim() == z.dim() and other.shape[0] != 1 for other in others):
        yield None, (z, *others)
        return
    rows = max(1, CHUNK // (z.numel() // z.shape[0]))
    for start in range(0, z.shape[0], rows):
        yield slice(start, start + rows), (z[start : start + rows], *others)


def cut(one: torch.Tensor, part: ChunkSlice) -> torch.Tensor:
    return one if part is None else one[part]


def join_chunks(parts: list[torch.Tensor]) -> torch.Tensor:
    return parts[0] if len(parts) == 1 else torch.cat(parts)


def pulled_back(
    slopes: Slopes, grad: torch.Tensor, inputs: Sequence[torch.Tensor], wanted: Sequence[bool]
) -> tuple[torch.Tensor | None, ...]:
    """The gradients of the inputs, z first, for a gradient of the output."""
    of_z: list[torch.Tensor] = []
    of_others: list[torch.Tensor | None] = [None] * len(inputs[1:])
    for part, pieces in cache_chunks(*inputs):
        first, *others = slopes(*pieces, wanted)
        if first is not None:
            of_z.append(first * cut(grad, part))
        for place, (slope, one) in enumerate(zip(others, inputs[1:], strict=True)):
            if slope is not None:
                summed, before = (slope * cut(grad, part)).sum_to_size(one.shape), of_others[place]
                of_others[place] = summed if before is None else before + summed
    return join_chunks(of_z) if wanted[0] else None, *of_others


def pushed_forward(
    slopes: Slopes, tangents: Sequence[torch.Tensor | None], inputs: Sequence[torch.Tensor]
) -> torch.Tensor:
    """The output's tangent for tangents of the inputs, z first."""
    wanted = [one is not None for one in tangents]
    found = []
    for part, pieces in cache_chunks(*inputs):
        terms = [
            slope * (cut(tangent, part) if place == 0 else tangent)
            for place, (slope, tangent) in enumerate(zip(slopes(*pieces, wanted), tangents, strict=True))
            if slope is not None and tangent is not None
        ]
        found.append(functools.reduce(torch.add, terms))
    return join_chunks(found)
