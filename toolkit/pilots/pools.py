"""Pools of images, or of their activations, for a pilot's batches: decoded once if they fit, else for each batch."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import torch

from toolkit.foundation.image_size import ImageSize
from toolkit.training.activations import Activations
from toolkit.training.batches import AnyPool, Pool, StreamedPool, WholeImages
from toolkit.training.device import free_memory

DECODED_SHARE = 0.25
"""Share of the device's free memory for decoded images; beyond it, they are decoded per batch."""
_CHUNK = 256
"""Images decoded at a time for the frozen layers."""
_SAMPLED = 16
"""Whole images whose bytes are taken for those of all."""

Take = Callable[[torch.Tensor], torch.Tensor]
"""Images uint8 (K, H, W, 3) or activations (K, views, ...) at int64 (K,) positions, on the device."""


@dataclass
class PoolMaker:
    """Makes pools on a device.

    Attributes:
        size: of the images that the network is given.
        activations: of the layers that are not trained, if there are any.
        views: of each image, for those layers.
    """

    size: ImageSize
    device: torch.device
    activations: Activations | None
    views: int

    def read(self, images: Callable[[np.ndarray], np.ndarray]) -> Take:
        """Takes images, or their activations.

        Args:
            images: positions, int64 (K,), to uint8 (K, H, W, 3), or to stored features, float32 (K, ...).
        """

        def take(positions: torch.Tensor) -> torch.Tensor:
            if self.activations is None:
                return torch.from_numpy(images(positions.numpy())).to(self.device)
            parts = np.array_split(positions.numpy(), -(-len(positions) // _CHUNK))
            return torch.cat([self.inputs(images(part)) for part in parts]).to(self.device)

        return take

    def inputs(self, images: np.ndarray, views: int | None = None) -> torch.Tensor:
        """Activations of images uint8 (N, H, W, 3): (N, views, ...), :attr:`views` by default.

        Stored features, float32 (N, ...), are the activations of one view.
        """
        if images.dtype != np.uint8:
            return torch.from_numpy(images).to(torch.bfloat16)[:, None]
        assert self.activations is not None
        return self.activations.of(images, self.views if views is None else views)

    def of(self, take: Take, labels: torch.Tensor, extras: torch.Tensor | None = None) -> AnyPool:
        """A pool of all items if they fit into the device's memory, else one that takes them for each batch."""
        everything = torch.arange(len(labels))
        if len(labels) * self._item_bytes(take) > DECODED_SHARE * free_memory(self.device):
            return StreamedPool(take, everything, labels, extras)
        return Pool(take(everything), labels, extras)

    def of_whole(
        self,
        take: Take,
        read: Callable[[np.ndarray], list[np.ndarray]],
        labels: torch.Tensor,
        extras: torch.Tensor | None = None,
    ) -> StreamedPool:
        """A pool of all of the images, of which batches have random crops; decoded in main memory if they fit.

        Args:
            take: takes them without augmentation.
            read: positions, int64 (K,), to uint8 (H, W, 3) of each image's own size.
            labels, extras: as in :class:`~toolkit.training.batches.Pool`.
        """
        everything = np.arange(len(labels))
        some = read(everything[:: max(1, len(everything) // _SAMPLED)])
        needed = len(labels) * sum(image.nbytes for image in some) / max(1, len(some))
        held = needed <= DECODED_SHARE * free_memory(torch.device("cpu"))
        if held:
            read = _in_memory(read(everything))

        def images(positions: torch.Tensor) -> list[torch.Tensor]:
            return [torch.from_numpy(np.array(image)).to(self.device) for image in read(positions.numpy())]

        whole = WholeImages(images, self.size)
        return StreamedPool(take, torch.from_numpy(everything), labels, extras, whole, held)

    def _item_bytes(self, take: Take) -> int:
        return 3 * self.size.pixels if self.activations is None else take(torch.arange(1)).nbytes


def _in_memory(images: list[np.ndarray]) -> Callable[[np.ndarray], list[np.ndarray]]:
    return lambda positions: [images[position] for position in positions]
