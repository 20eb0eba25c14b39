"""The batch of each step, a pure function of (seed, step), so that resuming needs no sampler state."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import NamedTuple

import torch

from toolkit.foundation.seeds import derive
from toolkit.training.augment import AUGMENTATIONS, augmented_input, plain_input, random_crops


class Batch(NamedTuple):
    """Training data of one step.

    Attributes:
        images: (N, 3, H, W) in [0, 255], channels_last in memory, or activations of frozen layers, (N, ...); new images
            first, then exemplars.
        labels: int64 (N,).
        exemplars: M, the number of exemplars among the images.
        extras: float32 (M, ...), data that the method stores with the exemplars, such as logits; None if there is none.
    """

    images: torch.Tensor
    labels: torch.Tensor
    exemplars: int = 0
    extras: torch.Tensor | None = None

    def tensors(self) -> list[torch.Tensor]:
        """All tensors of the batch."""
        return [self.images, self.labels] + ([] if self.extras is None else [self.extras])

    def clone(self) -> Batch:
        """A batch with copies of the tensors."""
        extras = None if self.extras is None else self.extras.clone()
        return Batch(self.images.clone(), self.labels.clone(), self.exemplars, extras)


@dataclass(frozen=True)
class Pool:
    """What to draw from, on the device.

    Attributes:
        images: uint8 (N, H, W, 3), or activations of frozen layers (N, views, ...).
        labels: int64 (N,).
        extras: as in :class:`Batch`.
    """

    images: torch.Tensor
    labels: torch.Tensor
    extras: torch.Tensor | None = None

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: torch.Tensor) -> Pool:
        """The items at ``index``, int64 (K,)."""
        index = index.to(self.labels.device)
        extras = None if self.extras is None else self.extras[index]
        return Pool(self.images[index], self.labels[index], extras)

    def subset(self, index: torch.Tensor) -> Pool:
        """A pool of the items at ``index``, int64 (K,)."""
        return self.take(index)

    def inputs(self) -> torch.Tensor:
        """All items."""
        return self.images


class WholeImages(NamedTuple):
    """All of the images of a pool, of which a network is given parts.

    Attributes:
        read: positions, int64 (K,), to uint8 (H, W, 3) of each image's own size.
        size: height and width of the parts.
    """

    read: Callable[[torch.Tensor], list[torch.Tensor]]
    size: tuple[int, int]


@dataclass(frozen=True)
class StreamedPool:
    """Images decoded when a batch needs them, for a memory too large to keep decoded on the device.

    Attributes:
        decode: positions, int64 (K,), to images or activations as in :class:`Pool`; called from another thread.
        positions: int64 (N,) of this pool's items, on the CPU.
        labels, extras: of these items, as in :class:`Pool`.
        whole: for random crops; None if there is no more of the images than ``decode`` gives.
        held: whether the images are kept decoded in main memory all the same.
    """

    decode: Callable[[torch.Tensor], torch.Tensor]
    positions: torch.Tensor
    labels: torch.Tensor
    extras: torch.Tensor | None = None
    whole: WholeImages | None = None
    held: bool = False

    def __len__(self) -> int:
        return len(self.labels)

    def take(self, index: torch.Tensor) -> Pool:
        """The items at ``index``, int64 (K,), decoded."""
        chosen = self.subset(index)
        return Pool(chosen.inputs(), chosen.labels, chosen.extras)

    def subset(self, index: torch.Tensor) -> StreamedPool:
        """A pool of the items at ``index``, int64 (K,), without decoding them yet."""
        there = index.to(self.labels.device)
        extras = None if self.extras is None else self.extras[there]
        return StreamedPool(self.decode, self.positions[index.cpu()], self.labels[there], extras, self.whole, self.held)

    def inputs(self) -> torch.Tensor:
        """All items as in :class:`Pool`, decoded."""
        return self.decode(self.positions)


AnyPool = Pool | StreamedPool


def chunks(pool: AnyPool, size: int = 500) -> Iterator[Pool]:
    """The pool's items in order, decoded, at most ``size`` at a time."""
    for start in range(0, len(pool), size):
        yield pool.take(torch.arange(start, min(start + size, len(pool))))


class IndexStream:
    """Endless shuffled passes over ``count`` items with random access.

    Pass e is a permutation seeded by (seed, e), so every item occurs once per pass.
    """

    def __init__(self, count: int, seed: int) -> None:
        if count < 1:
            raise ValueError(f"cannot draw from {count} items")
        self.count = count
        self.seed = seed
        self._passes: dict[int, torch.Tensor] = {}

    def take(self, start: int, amount: int) -> torch.Tensor:
        """Items at positions ``start .. start + amount - 1`` of the stream, int64."""
        pieces = [torch.empty(0, dtype=torch.int64)]
        while amount > 0:
            number, offset = divmod(start, self.count)
            piece = self._pass(number)[offset : offset + amount]
            pieces.append(piece)
            start += len(piece)
            amount -= len(piece)
        return torch.cat(pieces)

    def _pass(self, number: int) -> torch.Tensor:
        if number not in self._passes:
            self._passes = {key: value for key, value in self._passes.items() if key == number - 1}
            generator = torch.Generator().manual_seed(derive(self.seed, number))
            self._passes[number] = torch.randperm(self.count, generator=generator)
        return self._passes[number]


class ReplayBatches:
    """Augmented batches of new images and exemplars from the memory.

    Args:
        new: the current stage's training images.
        memory: decoded exemplars of earlier classes; None in the first stage.
        batch_size: images per step.
        memory_share: fraction of each batch drawn from the memory, if there is one.
        seed: of order and augmentation.
        brightness: see :func:`~toolkit.training.augment.crop_flip`.
        augment: of images, one of :data:`~toolkit.training.augment.AUGMENTATIONS`.
        augmented: False disables augmentation.
    """

    def __init__(
        self,
        new: AnyPool,
        memory: AnyPool | None,
        batch_size: int,
        *,
        memory_share: float = 0.5,
        seed: int = 0,
        brightness: float = 0.0,
        augment: str = AUGMENTATIONS[0],
        augmented: bool = True,
    ) -> None:
        from_memory = 0
        if memory is not None and memory_share > 0:
            from_memory = round(batch_size * memory_share)
            if memory_share < 1:  # every batch needs at least one image of each kind
                from_memory = min(max(from_memory, 1), batch_size - 1)
        self._pools = [(new, batch_size - from_memory, IndexStream(len(new), derive(seed, 0)))]
        if memory is not None and from_memory:
            self._pools.append((memory, from_memory, IndexStream(len(memory), derive(seed, 1))))
        self._seed = seed
        self._brightness = brightness
        self._augment = augment
        self._augmented = augmented

        streamed = any(isinstance(pool, StreamedPool) for pool in (new, memory))
        in_order = augmented and augment != "crop-flip"  # draws from torch's own generator, as training may
        self._worker = ThreadPoolExecutor(1) if streamed and not in_order else None
        self._next: tuple[int, Future[Batch]] | None = None

    def __call__(self, step: int) -> Batch:
        """The batch of one step. With streamed pools, the next batch is prepared in the background."""
        if self._worker is None:
            return self._batch(step)
        ready = self._next
        batch = ready[1].result() if ready is not None and ready[0] == step else self._batch(step)
        self._next = (step + 1, self._worker.submit(self._batch, step + 1))
        return batch

    def _batch(self, step: int) -> Batch:
        drawn = [pool.subset(stream.take(step * amount, amount)) for pool, amount, stream in self._pools]
        labels = torch.cat([pool.labels for pool in drawn])
        return Batch(self._images(drawn, step), labels, sum(map(len, drawn[1:])), drawn[-1].extras)

    def _images(self, drawn: Sequence[AnyPool], step: int) -> torch.Tensor:
        """What the network is given of all items."""
        generator = torch.Generator().manual_seed(derive(self._seed, 2, step))
        whole = [(pool.whole, pool.positions) for pool in drawn if isinstance(pool, StreamedPool) and pool.whole]
        if self._augmented and self._augment != "crop-flip" and len(whole) == len(drawn):
            images = [image for source, positions in whole for image in source.read(positions)]
            return random_crops(images, whole[0][0].size, generator, self._brightness, self._augment)
        inputs = torch.cat([pool.inputs() for pool in drawn])
        if not self._augmented:
            return plain_input(inputs)
        return augmented_input(inputs, generator, self._brightness, self._augment)
