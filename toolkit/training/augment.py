"""Augmentation of a batch on the device: crop and flip for small images, torchvision's transforms for large ones."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch.nn import functional

from toolkit.foundation.errors import UsageError

PAD = 4
AUGMENTATIONS = ("crop-flip", "resized-crop", "rand-augment")
"""``crop-flip``: :func:`crop_flip`. ``resized-crop``: a random part of the image, scaled to the size of training, and
flips, as usual for ImageNet. ``rand-augment``: the same, then RandAugment (Cubuk et al., 2020)."""


def plain_input(images: torch.Tensor) -> torch.Tensor:
    """What a network takes, without augmentation: images uint8 (N, H, W, 3) as (N, 3, H, W), or the first view (N, ...)
    of activations, float (N, views, ...)."""
    return images.permute(0, 3, 1, 2) if images.dtype == torch.uint8 else images[:, 0]


def augmented_input(
    images: torch.Tensor, generator: torch.Generator, brightness: float = 0.0, augment: str = AUGMENTATIONS[0]
) -> torch.Tensor:
    """What a network takes, augmented: images, or a random view of each image's activations.

    Args:
        images: uint8 (N, H, W, 3), or activations, float (N, views, ...).
        generator: a CPU generator, so that the draw is the same on every device.
        brightness: of images.
        augment: of images, one of :data:`AUGMENTATIONS`.
    """
    if images.dtype == torch.uint8 and augment != "crop-flip":
        return random_crops(images, (images.shape[1], images.shape[2]), generator, brightness, augment)
    if images.dtype == torch.uint8:
        return crop_flip(images, generator, brightness=brightness)
    count, views = images.shape[:2]
    drawn = torch.randint(0, views, (count,), generator=generator).to(images.device)
    return images[torch.arange(count, device=images.device), drawn]


def random_crops(
    images: Iterable[torch.Tensor],
    size: tuple[int, int],
    generator: torch.Generator,
    brightness: float = 0.0,
    augment: str = "resized-crop",
) -> torch.Tensor:
    """Torchvision's RandomResizedCrop and RandomHorizontalFlip, and RandAugment on request, for each image on its own.

    Torchvision draws from torch's own generator, which is seeded from ``generator`` and restored afterwards. Call it in
    the thread that trains: another thread's draws would come in between.

    Args:
        images: each uint8 (H, W, 3), of any size.
        size: height and width of the result.
        generator: a CPU generator.
        brightness: maximum relative change of brightness.
        augment: ``resized-crop``, or ``rand-augment`` for two random operations of magnitude 9 per image as well.

    Returns:
        uint8 (N, 3, H, W), channels_last in memory.
    """
    from torchvision.transforms import v2

    steps = [v2.RandomResizedCrop(size, antialias=True), v2.RandomHorizontalFlip()]
    steps += [v2.RandAugment()] if augment == "rand-augment" else []
    steps += [v2.ColorJitter(brightness=brightness)] if brightness else []
    transform = v2.Compose(steps)
    seed = int(torch.randint(0, 2**62, (1,), generator=generator))
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(seed)
        changed = torch.stack([transform(image.permute(2, 0, 1)) for image in images])
    return changed.contiguous(memory_format=torch.channels_last)


def crop_flip(
    images: torch.Tensor, generator: torch.Generator, *, pad: int = PAD, brightness: float = 0.0
) -> torch.Tensor:
    """Zero-pad by ``pad``, crop at random, flip half of the images horizontally, jitter the brightness.

    Args:
        images: uint8 (N, H, W, 3).
        generator: a CPU generator, so that the draw is the same on every device.
        pad: zero pixels added on each side before the crop.
        brightness: maximum relative change of brightness; 0 disables it.

    Returns:
        uint8 (float32 in [0, 255] with brightness) of shape (N, 3, H, W), channels_last in memory.

    Raises:
        UsageError: a negative ``pad``, or ``brightness`` outside [0, 1].
    """
    if pad < 0 or not 0 <= brightness <= 1:
        raise UsageError(f"pad must be at least 0 and brightness from 0 to 1, got {pad} and {brightness:g}")
    count, height, width = images.shape[:3]
    device = images.device
    draw = torch.randint(0, 2 * pad + 1, (2, count), generator=generator)
    flip = torch.randint(0, 2, (count, 1), generator=generator, dtype=torch.bool)
    padded = functional.pad(images, (0, 0, pad, pad, pad, pad))
    rows = (draw[0, :, None] + torch.arange(height)).to(device)
    across = torch.where(flip, torch.arange(width - 1, -1, -1), torch.arange(width))
    columns = (draw[1, :, None] + across).to(device)
    which = torch.arange(count, device=device)[:, None, None]
    cropped = padded[which, rows[:, :, None], columns[:, None, :]].permute(0, 3, 1, 2)
    if not brightness:
        return cropped
    factor = 1 + brightness * (2 * torch.rand(count, 1, 1, 1, generator=generator) - 1)
    return (cropped.float() * factor.to(device)).clamp_(0, 255)
