"""Forward and backward pass of a training step as one CUDA graph: small networks are limited by kernel launches."""

from __future__ import annotations

from collections.abc import Callable

import torch
from torch import nn

from toolkit.training.batches import Batch

WARMUP_STEPS = 3
"""Eager steps before the capture, in which libraries allocate memory that the graph needs."""


class GraphedStep:
    """Computes the loss of a batch and the gradients, like ``loss(...)`` and ``backward()``, in one launch.

    The first :data:`WARMUP_STEPS` calls run eagerly. All batches must have the shapes of the first one, and the loss
    must not read values on the host. After the capture, gradients are in the graph's memory: every call overwrites
    them, and they must not be set to None.

    Args:
        loss: the batch's loss, a scalar; called within autocast.
        network: gets the gradients.
        autocast: creates the context for forward passes.
    """

    def __init__(
        self, loss: Callable[[Batch], torch.Tensor], network: nn.Module, autocast: Callable[[], torch.autocast]
    ) -> None:
        self._loss = loss
        self._network = network
        self._autocast = autocast
        self._calls = 0
        self._graph: torch.cuda.CUDAGraph | None = None
        self._batch: Batch | None = None
        self._value = torch.empty(0)

    def __call__(self, batch: Batch) -> torch.Tensor:
        """The batch's loss; valid until the next call."""
        self._calls += 1
        if self._graph is None and self._calls <= WARMUP_STEPS:
            return self._warm_up(batch)
        if self._graph is None:
            self._capture(batch)
        assert self._graph is not None
        assert self._batch is not None
        for static, fresh in zip(self._batch.tensors(), batch.tensors(), strict=True):
            static.copy_(fresh)
        self._graph.replay()
        return self._value

    def _warm_up(self, batch: Batch) -> torch.Tensor:
        """An eager step on a side stream, as required before a capture."""
        stream = torch.cuda.Stream()
        stream.wait_stream(torch.cuda.current_stream())
        with torch.cuda.stream(stream):
            value = self._eager(batch)
        torch.cuda.current_stream().wait_stream(stream)
        return value

    def _eager(self, batch: Batch) -> torch.Tensor:
        self._network.zero_grad(set_to_none=True)
        with self._autocast():
            value = self._loss(batch)
        value.backward()
        return value

    def _capture(self, batch: Batch) -> None:
        self._batch = batch.clone()
        self._graph = torch.cuda.CUDAGraph()
        self._network.zero_grad(set_to_none=True)
        # another thread may be preparing the next batch
        with torch.cuda.graph(self._graph, capture_error_mode="thread_local"):
            self._value = self._eager(self._batch)
