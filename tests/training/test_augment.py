"""Augmentation of large images by torchvision's transforms."""

from __future__ import annotations

from dataclasses import replace

import pytest
import torch

from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.training.augment import AUGMENTATIONS, augmented_input, random_crops
from toolkit.training.batches import Pool, ReplayBatches, StreamedPool, WholeImages

SIZE = (32, 32)


def ramps(count: int, side: int = 32) -> torch.Tensor:
    """Images whose red is the column and whose green is the row, so that a crop shows where it is from."""
    image = torch.zeros(side, side, 3, dtype=torch.uint8)
    image[..., 0] = torch.arange(side)[None] * 7
    image[..., 1] = torch.arange(side)[:, None] * 7
    return image.expand(count, -1, -1, -1).contiguous()


def generator(seed: int) -> torch.Generator:
    return torch.Generator().manual_seed(seed)


def test_every_image_shows_its_own_part_enlarged_and_half_are_mirrored() -> None:
    made = random_crops(ramps(200), SIZE, generator(0))
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
    first = random_crops(ramps(8), SIZE, generator(3), 0.2, "rand-augment")
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(8)
    assert torch.equal(random_crops(ramps(8), SIZE, generator(3), 0.2, "rand-augment"), first)
    assert not torch.equal(random_crops(ramps(8), SIZE, generator(4), 0.2, "rand-augment"), first)


def test_rand_augment_changes_more_than_place() -> None:
    plain = random_crops(ramps(60), SIZE, generator(1))
    more = random_crops(ramps(60), SIZE, generator(1), augment="rand-augment")
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


def test_crops_of_whole_images_show_what_no_crop_of_the_centre_has() -> None:
    wide = torch.zeros(32, 96, 3, dtype=torch.uint8)
    wide[:, :20, 0], wide[:, -20:, 1] = 255, 255  # outside the central square
    labels = torch.arange(40) % 4
    whole = WholeImages(lambda places: [wide[: 32 - int(place) % 3] for place in places], (16, 24))
    pool = StreamedPool(lambda places: torch.zeros(len(places), 16, 24, 3, dtype=torch.uint8), torch.arange(40), labels)
    pool = replace(pool, whole=whole)
    batches = ReplayBatches(pool, pool, 20, seed=1, augment="resized-crop")
    seen = torch.cat([batches(step).images for step in range(3)])
    assert (seen.shape[1:], seen.dtype) == ((3, 16, 24), torch.uint8)
    assert bool((seen[:, 0] > 200).any())
    assert bool((seen[:, 1] > 200).any())
    assert torch.equal(batches(2).images, seen[-20:])
    assert batches(0).exemplars == 10
    # without augmentation, and for the recipe of small images, it is the crop that the network is given
    for options in ({"augmented": False}, {"augment": "crop-flip"}):
        assert not ReplayBatches(pool, None, 20, seed=1, **{"augment": "resized-crop", **options})(0).images.any()


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
