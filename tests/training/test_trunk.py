"""Frozen layers computed once: division, views and the cache."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import torch

from toolkit.foundation.errors import UsageError, WorkError
from toolkit.training import activations as cache
from toolkit.training.activations import Activations
from toolkit.training.networks import Normalisation
from toolkit.training.start import Start, open_network
from toolkit.training.trunk import Trunk, rest_of, views

CPU = torch.device("cpu")
SIZE = 96
IMAGES = torch.from_numpy(np.random.default_rng(0).integers(0, 256, (11, SIZE, SIZE, 3), dtype=np.uint8))


def trained(name: str) -> Start:
    """A network as if it came with weights and a normalisation."""
    torch.manual_seed(0)
    network = open_network(name).backbone()
    with torch.no_grad():
        for module in network.modules():
            if isinstance(module, torch.nn.BatchNorm2d):  # no identity, so that a wrong fold shows
                module.weight.uniform_(0.5, 1.5)
                module.bias.uniform_(-0.5, 0.5)
                module.running_mean.uniform_(-0.5, 0.5)  # type: ignore[union-attr]
                module.running_var.uniform_(0.5, 1.5)  # type: ignore[union-attr]
    state = network.state_dict()

    def backbone() -> torch.nn.Module:
        made = open_network(name).backbone()
        made.load_state_dict(state)
        return made

    return Start(name, name, "made up", backbone, ((0.4, 0.5, 0.6), (0.2, 0.3, 0.25)))


def plain(start: Start, images: torch.Tensor) -> torch.Tensor:
    """Features of the undivided network in float32."""
    assert start.statistics is not None
    with torch.inference_mode():
        return start.backbone().eval()(Normalisation(*start.statistics)(images.permute(0, 3, 1, 2)))


@pytest.mark.parametrize(
    "name", ["resnet8", "timm:resnet10t,pretrained=no", "timm:tf_efficientnet_lite0,pretrained=no"]
)
@pytest.mark.parametrize("tune", ["head", "last-block"])
def test_trunk_and_rest_together_are_the_network(name: str, tune: str) -> None:
    start = trained(name)
    with torch.inference_mode():
        found = rest_of(start, tune, SIZE).eval()(Trunk(start, tune, SIZE, CPU)(IMAGES).float())
    expected = plain(start, IMAGES)
    assert found.shape == expected.shape
    assert float((found - expected).norm() / expected.norm()) < 0.05  # bfloat16, by the depth of the network


def test_the_rest_holds_the_last_block_only_under_the_names_of_the_network() -> None:
    start = trained("timm:resnet10t,pretrained=no")
    rest, whole = rest_of(start, "last-block", SIZE).state_dict(), start.backbone().state_dict()
    assert set(rest) == {name for name in whole if name.startswith("layer4.")}
    assert all(torch.equal(tensor, whole[name]) for name, tensor in rest.items())
    assert not rest_of(start, "head", SIZE).state_dict()


def test_an_images_output_does_not_depend_on_the_others() -> None:
    trunk = Trunk(trained("resnet8"), "last-block", SIZE, CPU)
    together = trunk(IMAGES)
    assert together.dtype == torch.bfloat16
    assert torch.equal(trunk(IMAGES[9:10]), together[9:10])
    assert torch.equal(trunk(IMAGES.flip(0)).flip(0), together)


def test_networks_that_cannot_be_divided_are_refused_in_one_line() -> None:
    with pytest.raises(UsageError, match=r"vit_tiny.* cannot be divided before its last block: train its head"):
        rest_of(open_network("timm:vit_tiny_patch16_224,pretrained=no"), "last-block", 224)
    assert rest_of(open_network("timm:vit_tiny_patch16_224,pretrained=no"), "head", 224).num_features == 192


def test_other_weights_parts_and_normalisations_have_other_digests() -> None:
    first, second = trained("resnet8"), open_network("resnet8")
    shifted = Start(first.name, first.architecture, first.weights, first.backbone, ((0.5,) * 3, (0.2,) * 3))
    digests = {
        Trunk(start, tune, SIZE, CPU).digest for start in (first, second, shifted) for tune in ("head", "last-block")
    }
    assert len(digests) == 6
    assert Trunk(first, "head", SIZE, CPU).digest in digests


def test_views_are_the_image_its_mirror_image_and_enlarged_crops() -> None:
    image = torch.arange(SIZE * SIZE * 3).view(1, SIZE, SIZE, 3).to(torch.uint8)
    ramp = torch.linspace(0, 255, SIZE).round().to(torch.uint8).view(1, 1, SIZE, 1).expand(1, SIZE, SIZE, 3)
    made = views(torch.cat([image, ramp]), 4)
    assert made.shape == (2, 4, SIZE, SIZE, 3)
    assert torch.equal(made[0, 0], image[0])
    assert torch.equal(made[0, 1], image[0].flip(1))
    row = made[1, 2, SIZE // 2, :, 0].float()  # the left 7/8 of a ramp from 0 to 255
    assert row[0] <= 2
    assert abs(float(row[-1]) - 255 * 7 / 8) < 3
    assert torch.equal(made[1, 3], made[1, 2].flip(1))
    assert torch.equal(views(image, 1)[:, 0], image)
    assert len({tuple(view.flatten().tolist()) for view in views(image, 10)[0]}) == 10


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> Callable[[], int]:
    """How many images trunks have computed."""
    seen = [0]
    original = Trunk.__call__

    def call(self: Trunk, images: torch.Tensor) -> torch.Tensor:
        seen[0] += len(images)
        return original(self, images)

    monkeypatch.setattr(Trunk, "__call__", call)
    return lambda: seen[0]


def test_outputs_are_computed_once_per_image_and_view(counted: Callable[[], int]) -> None:
    trunk, images = Trunk(trained("resnet8"), "last-block", SIZE, CPU), IMAGES.numpy()
    first = Activations(trunk).of(images[:5], 2)
    assert first.shape == (5, 2, 32, SIZE // 2, SIZE // 2)
    assert counted() == 10
    torch.testing.assert_close(first[:, 0], trunk(IMAGES[:5]))
    before = counted()
    again = Activations(trunk).of(images[[4, 0, 4]], 2)
    assert torch.equal(again, first[[4, 0, 4]])
    assert counted() == before
    more = Activations(trunk).of(images[[0, 6, 6]], 1)  # two equal new images
    assert counted() == before + 1
    assert torch.equal(more[1], more[2])
    assert torch.equal(Activations(trunk).of(images[:1], 3)[:, :2], first[:1])
    assert counted() == before + 2


def test_a_damaged_cache_is_named_in_one_line() -> None:
    start = trained("resnet8")
    known = Activations(Trunk(start, "head", SIZE, CPU))
    known.of(IMAGES.numpy())
    with sqlite3.connect(known.path) as connection:
        connection.execute("UPDATE outputs SET output = substr(output, 1, 5)")
    connection.close()
    with pytest.raises(WorkError, match=r"cache of activations .*delete that file"):
        known.of(IMAGES.numpy())
    known.path.with_name(known.path.name + "-wal").unlink(missing_ok=True)
    known.path.write_bytes(b"hello" * 1000)
    with pytest.raises(WorkError, match=r"cache of activations .*delete that file"):
        known.of(IMAGES.numpy())
    known.path.unlink()
    assert known.of(IMAGES.numpy()).shape == (11, 1, 64)


def test_a_full_disk_is_refused_before_it_is_filled(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    class Usage:
        free = 1000

    monkeypatch.setattr(cache.shutil, "disk_usage", lambda path: Usage)
    trunk = Trunk(trained("timm:resnet10t,pretrained=no"), "head", SIZE, CPU)
    with pytest.raises(WorkError, match=r"need 0\.0 GB in .*train the head only, or use fewer views or images"):
        Activations(trunk).of(IMAGES.numpy(), 4)
