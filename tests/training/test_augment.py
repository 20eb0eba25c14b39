"""Augmentation of large images by torchvision's transforms."""

from __future__ import annotations

import pytest
import torch

from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.training.augment import AUGMENTATIONS, augmented_input, transformed
from toolkit.training.batches import Pool, ReplayBatches, StreamedPool


def ramps(count: int, side: int = 32) -> torch.Tensor:
    """Images whose red is the column and whose green is the row, so that a crop shows where it is from."""
    image = torch.zeros(side, side, 3, dtype=torch.uint8)
    image[..., 0] = torch.arange(side)[None] * 7
    image[..., 1] = torch.arange(side)[:, None] * 7
    return image.expand(count, -1, -1, -1).contiguous()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_image_shows_its_own_part_enlarged_and_half_are_mirrored() -> None:
    made = transformed(ramps(200), generator(0))
    assert (made.shape, made.dtype) == ((200, 3, 32, 32), torch.uint8)
    assert made.is_contiguous(memory_format=torch.channels_last)
    across = made[:, 0, 16].double()
    mirrored = across[:, 0] > across[:, -1]
    assert 0.4 < float(mirrored.double().mean()) < 0.6
    width = (across[:, 0] - across[:, -1]).abs() / 7 / 31
    height = (made[:, 1, 0, 16].double() - made[:, 1, -1, 16].double()).abs() / 7 / 31
    area = width * height
    assert 0.02 < float(area.min()) < 0.2 < 0.8 < float(area.max()) <= 1
    assert float(area.mean()) == pytest.approx((1 + 0.08) / 2, abs=0.08)
    assert len(set(across[:, 0].tolist())) > 20
    # nothing is rolled: rows stay rows
    assert bool((made[:, 1].double().diff(dim=1) >= 0).all())


def test_the_draw_depends_on_the_generator_alone_and_leaves_torch_as_it_was() -> None:
    torch.manual_seed(7)
    state = torch.get_rng_state()
    first = transformed(ramps(8), generator(3), rand_augment=True, brightness=0.2)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    assert torch.equal(transformed(ramps(8), generator(3), rand_augment=True, brightness=0.2), first)
    assert not torch.equal(transformed(ramps(8), generator(4), rand_augment=True, brightness=0.2), first)


def test_rand_augment_changes_more_than_place() -> None:
    plain = transformed(ramps(60), generator(1))
    more = transformed(ramps(60), generator(1), rand_augment=True)
    assert float(plain[:, 2].double().max()) == 0  # blue is 0 everywhere
    assert float(more[:, 2].double().max()) > 0


def test_streamed_batches_are_those_of_a_pool_in_memory() -> None:
    images, labels = ramps(40), torch.arange(40)
    streamed = StreamedPool(lambda places: images[places], torch.arange(40), labels, None)
    for augment in AUGMENTATIONS:
        batches = [ReplayBatches(pool, None, 8, seed=5, augment=augment) for pool in (Pool(images, labels), streamed)]
        for step in (0, 1, 2):
            one, other = (made(step) for made in batches)
            assert torch.equal(one.images, other.images)
            assert one.images.shape == augmented_input(images[one.labels], generator(0), augment=augment).shape


def test_large_images_are_cropped_as_usual_for_imagenet_by_default() -> None:
    shared = {"dataset": "demo", "initial": 2, "increment": 2, "codec": "raw", "budget": "2img"}
    assert make_pilot_config(size=64, **shared).augment == "crop-flip"
    assert make_pilot_config(size=96, tune="all", **shared).augment == "resized-crop"
    assert make_pilot_config(size=96, network="resnet8", **shared).augment == "resized-crop"
    assert make_pilot_config(size=96, tune="all", augment="rand-augment", **shared).augment == "rand-augment"
    # frozen layers see fixed views instead
    assert make_pilot_config(size=96, **shared).augment == "crop-flip"
    assert make_pilot_config(size=96, method="ncm", **shared).augment == "crop-flip"


def test_all_augmentations_are_known_to_the_configuration() -> None:
    assert PilotConfig.model_fields["augment"].annotation.__args__ == AUGMENTATIONS  # type: ignore[union-attr]
