"""Networks and augmentation in other types than float32, under ``torch.func``, and with invalid arguments."""

from __future__ import annotations

import copy
from typing import Any

import pytest
import torch
from torch.func import functional_call, grad, vmap

from toolkit.foundation.errors import UsageError
from toolkit.jpeg.layer import JPEGLayer, prepend
from toolkit.jpeg.tables import standard_tables
from toolkit.training.augment import crop_flip
from toolkit.training.backbones import build_backbone
from toolkit.training.networks import Classifier, GrowingLinear, Normalisation

DTYPES = [torch.float16, torch.bfloat16, torch.float64]


def classifier() -> Classifier:
    torch.manual_seed(0)
    return Classifier(build_backbone("resnet8"), 3, (0.4, 0.5, 0.6), (0.2, 0.3, 0.25)).eval()


def images(count: int = 2) -> torch.Tensor:
    return torch.randint(0, 256, (count, 3, 16, 16), generator=torch.Generator().manual_seed(0), dtype=torch.uint8)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cast_network_takes_images_of_any_type_and_gives_its_own(dtype: torch.dtype) -> None:
    network, x = classifier(), images()
    expected = network(x)
    network = network.to(dtype)
    for given in (torch.uint8, torch.float32, dtype):
        found = network(x.to(given))
        assert found.dtype == dtype
        torch.testing.assert_close(found.float(), expected, rtol=0, atol=0.1 if dtype != torch.float64 else 1e-5)


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cast_network_behind_a_cast_layer(dtype: torch.dtype) -> None:
    model = prepend(classifier(), JPEGLayer(standard_tables(75))).to(dtype)
    out = model(images())
    assert out.dtype == dtype
    out.float().square().mean().backward()
    assert model.layer.steps.grad is not None
    assert bool(model.layer.steps.grad.isfinite().all())


def test_normalisation_is_exact_before_it_is_rounded() -> None:
    norm, x = Normalisation((0.5,), (0.25,)), images().float()
    expected = (x.double() - 127.5) / 63.75
    torch.testing.assert_close(norm(x), expected.float())
    assert torch.equal(norm.half()(x.half()), expected.half())


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_head_grows_in_its_own_type(dtype: torch.dtype) -> None:
    head = GrowingLinear(4, 2).to(dtype)
    before = head.weight.detach().clone()
    head.grow(5, 6)
    assert head.weight.dtype == head.bias.dtype == dtype
    assert torch.equal(head.weight[:2, :4], before)
    assert head(torch.ones(1, 6, dtype=dtype)).shape == (1, 5)


@pytest.mark.parametrize(("outputs", "inputs"), [(1, None), (2, 3)])
def test_a_head_does_not_shrink(outputs: int, inputs: int | None) -> None:
    with pytest.raises(UsageError, match="a head of 2 outputs of 4 inputs can only grow, got"):
        GrowingLinear(4, 2).grow(outputs, inputs)


def test_gradients_per_sample_are_those_of_samples_one_by_one() -> None:
    network, x = classifier().double(), images(3)
    given = {name: one.detach() for name, one in network.named_parameters()}
    found = vmap(
        grad(lambda given, one: functional_call(network, given, (one[None],)).square().sum()), in_dims=(None, 0)
    )(given, x)
    for index in range(3):
        network.zero_grad()
        network(x[index : index + 1]).square().sum().backward()
        for name, one in network.named_parameters():
            torch.testing.assert_close(found[name][index], one.grad)


def test_a_network_made_on_the_meta_device_is_filled_from_a_state() -> None:
    trained = classifier()
    with torch.device("meta"):
        network = classifier()
    network = network.to_empty(device="cpu")
    network.load_state_dict(trained.state_dict())
    assert torch.equal(network(images()), trained(images()))
    assert torch.equal(copy.deepcopy(network)(images()), trained(images()))


@pytest.mark.parametrize(
    ("mean", "std", "message"),
    [
        ((0.5, 0.5), (0.2,) * 3, r"mean must be 3 finite numbers, one per channel, or 1 for all, got \(0.5, 0.5\)"),
        ((0.5, 0.5, float("nan")), (0.2,) * 3, "mean must be 3 finite numbers"),
        ((0.5,) * 3, (0.2, 0.0, 0.2), r"std must be 3 positive numbers, .* got \(0.2, 0.0, 0.2\)"),
        ((0.5,) * 3, (), "std must be 3 positive numbers"),
    ],
)
def test_a_network_without_a_normalisation_is_refused(mean: Any, std: Any, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        Classifier(build_backbone("resnet8"), 3, mean, std)


@pytest.mark.parametrize(("pad", "brightness"), [(-1, 0.0), (4, -0.1), (4, 1.5), (4, float("nan"))])
def test_impossible_augmentation_is_refused(pad: int, brightness: float) -> None:
    message = f"pad must be at least 0 and brightness from 0 to 1, got {pad} and {brightness:g}"
    with pytest.raises(UsageError) as caught:
        crop_flip(images().permute(0, 2, 3, 1), torch.Generator(), pad=pad, brightness=brightness)
    assert str(caught.value) == message


def test_no_images_are_augmented_to_none() -> None:
    assert crop_flip(images()[:0].permute(0, 2, 3, 1), torch.Generator(), brightness=0.2).shape == (0, 3, 16, 16)
