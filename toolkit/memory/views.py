"""The memory as PyTorch data. Of this room, only this module and :mod:`toolkit.memory.replay` import torch."""

from __future__ import annotations

from bisect import bisect_right
from collections.abc import Callable
from itertools import accumulate
from typing import Any

import torch
from torch.utils.data import Dataset

from toolkit.codecs.features import stores_features
from toolkit.memory.facts import DatasetState
from toolkit.memory.sharded import ShardedMemory, open_memory
from toolkit.memory.store import ExemplarMemory


def decoded_tensors(memory: ExemplarMemory | ShardedMemory) -> tuple[torch.Tensor, torch.Tensor]:
    """All intact exemplars, decoded at once: images uint8 (N, H, W, 3) and labels int64 (N,)."""
    images, labels, _ = memory.decode_all()
    return torch.from_numpy(images), torch.from_numpy(labels)


class ExemplarDataset(Dataset[tuple[Any, int]]):
    """Exemplars decoded one at a time, for a ``DataLoader``.

    Args:
        memory: their memory; every worker process opens its files again.
        transform: applied to each image, a uint8 (H, W, 3) array; by default images become uint8 (3, H, W) tensors.
            Stored features are float32 arrays or tensors (C,) or (C, h, w).

    Reading a damaged exemplar raises :class:`~toolkit.foundation.errors.WorkError`.
    """

    def __init__(self, memory: ExemplarMemory | ShardedMemory, transform: Callable[[Any], Any] | None = None) -> None:
        self._memory = memory
        self.transform = transform
        self._labels = sorted(memory.class_counts)
        self._ends = list(accumulate(memory.class_counts[label] for label in self._labels))

    def __len__(self) -> int:
        return self._ends[-1] if self._ends else 0

    def __getitem__(self, index: int) -> tuple[Any, int]:
        if not -len(self) <= index < len(self):
            raise IndexError(f"index {index} is out of range for {len(self)} exemplars")
        index %= len(self)
        place = bisect_right(self._ends, index)
        rank = index - (self._ends[place - 1] if place else 0)
        label = self._labels[place]
        image = self._memory.codec.decode([self._memory.payload(label, rank)], self._memory.size)[0]
        if self.transform:
            return self.transform(image), label
        tensor = torch.from_numpy(image)
        return (tensor if stores_features(self._memory.codec) else tensor.permute(2, 0, 1)), label

    def __getstate__(self) -> DatasetState:
        return {"path": self._memory.path, "transform": self.transform}

    def __setstate__(self, state: DatasetState) -> None:
        self.__init__(open_memory(state["path"]), state["transform"])  # type: ignore[misc]  # reopen in the worker
