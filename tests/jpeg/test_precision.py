"""The layer in other types than float32, against the float32 layer: values, gradients, and rounding by casts."""

from __future__ import annotations

import copy
import pickle
from typing import Any

import numpy as np
import pytest
import torch
from torch import nn

from toolkit.jpeg.layer import JPEGLayer, prepend
from toolkit.jpeg.tables import standard_tables
from toolkit.jpeg.transform import BlockTransform

DTYPES = [torch.float16, torch.bfloat16, torch.float64]
MODES = ["soft", "hard", "ste", "noise", "sample", "identity"]
NORMALISED: dict[str, Any] = {"mean": (120.0, 115.0, 100.0), "std": (60.0, 62.0, 64.0)}
VARIANTS: dict[str, dict[str, Any]] = {
    "plain": {},
    "4:2:0, normalised": {"subsampling": "420", **NORMALISED},
    "alpha matched": {"alpha_mode": "matched"},
    "integers": {"integer": True, "subsampling": "420"},
}
CASES = [
    (mode, variant, dtype)
    for mode in MODES
    for variant in VARIANTS
    for dtype in DTYPES
    # integers are for hard rounding; torch draws other random numbers in float64
    if (variant != "integers" or mode == "hard") and (mode not in ("noise", "sample") or dtype != torch.float64)
]


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    """Whole numbers from 0 to 255, which every floating-point type holds."""
    return torch.randint(0, 256, shape, generator=torch.Generator().manual_seed(seed)).float()


def make(mode: str, **choices: Any) -> JPEGLayer:
    """Standard tables are whole numbers, too."""
    return JPEGLayer(standard_tables(50), mode=mode, alpha=0.05, **choices)


def seeded(layer: nn.Module, images: torch.Tensor) -> torch.Tensor:
    torch.manual_seed(1)
    return layer(images)


@pytest.mark.parametrize("cast", ["half", "bfloat16", "double"])
@pytest.mark.parametrize("mode", MODES)
def test_a_network_behind_the_layer_takes_images_of_its_own_type(mode: str, cast: str) -> None:
    network = nn.Sequential(nn.Conv2d(3, 4, 3), nn.Flatten(), nn.Linear(4 * 14 * 14, 2))
    model = getattr(prepend(network, make(mode)), cast)()
    images = getattr(pixels(2, 3, 16, 16), cast)()
    assert seeded(model, images).dtype == images.dtype == model.layer(images).dtype
    assert model(pixels(2, 3, 16, 16).byte()).dtype == images.dtype


@pytest.mark.parametrize(("mode", "variant", "dtype"), CASES)
def test_values_are_the_float32_layers_but_for_the_rounding_of_the_result(
    mode: str, variant: str, dtype: torch.dtype
) -> None:
    layer, images = make(mode, **VARIANTS[variant]), pixels(2, 3, 19, 21)
    expected = seeded(layer, images)
    found = seeded(copy.deepcopy(layer).to(dtype), images.to(dtype))
    assert found.dtype == dtype
    room = max(torch.finfo(dtype).eps, 1e-5) * float(expected.detach().abs().max())
    if mode in ("soft", "sample") and variant != "alpha matched":
        room += 255 * torch.finfo(dtype).eps  # alpha is rounded as well
    assert float((found.double() - expected.double()).detach().abs().mean()) <= room / 2
    if mode != "sample":  # where a draw may fall on another level
        assert float((found.double() - expected.double()).detach().abs().max()) <= room


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("mode", MODES)
def test_tables_alone_are_rounded(mode: str, dtype: torch.dtype) -> None:
    fine = JPEGLayer(standard_tables(50) * 0.777, mode=mode, alpha=0.033, **NORMALISED)
    cast = copy.deepcopy(fine).to(dtype)
    images = (pixels(2, 3, 19, 21) * 0.97).to(dtype)
    exact = copy.deepcopy(cast).float()
    assert torch.equal(exact.steps, (standard_tables(50) * 0.777).to(dtype).float())
    assert torch.equal(seeded(cast, images), seeded(exact, images.float()).to(dtype))


@pytest.mark.parametrize("dtype", DTYPES)
def test_a_cast_and_back_leaves_the_transform_as_it_was(dtype: torch.dtype) -> None:
    layer, images = make("identity"), pixels(1, 3, 16, 16)
    assert torch.equal(copy.deepcopy(layer).to(dtype).float()(images), layer(images))


def test_in_double_the_transform_inverts_to_fifteen_digits() -> None:
    images = pixels(1, 3, 16, 16).double()
    transform = BlockTransform().double()
    torch.testing.assert_close(transform.synthesise(transform.analyse(images), (16, 16)), images, rtol=0, atol=1e-11)


@pytest.mark.parametrize(("alpha_mode", "subsampling"), [("trained", "444"), ("fixed", "420")])
def test_gradients_in_double_are_finite_differences(alpha_mode: str, subsampling: str) -> None:
    steps = 9 + torch.arange(128.0).view(2, 8, 8) / 50
    choices = {"alpha_mode": alpha_mode, "subsampling": subsampling, "mean": (100.0,), "std": (50.0,)}
    layer = JPEGLayer(steps, alpha=0.02, bits=12, **choices).double()
    images = (100 + pixels(1, 3, 8, 8) / 10).double().requires_grad_()

    def run(images: torch.Tensor, steps: torch.Tensor, log_alpha: torch.Tensor) -> torch.Tensor:
        given = {"steps": steps, "log_alpha": log_alpha}
        return torch.func.functional_call(layer, given, (images,))[..., ::3]

    inputs = (images, layer.steps.detach().requires_grad_(), layer.log_alpha.detach().requires_grad_())
    assert torch.autograd.gradcheck(run, inputs, eps=1e-5, atol=1e-5, fast_mode=True, check_forward_ad=True)


@pytest.mark.parametrize("dtype", DTYPES)
@pytest.mark.parametrize("mode", ["soft", "ste", "identity"])
def test_gradients_are_the_float32_layers_in_the_type_of_what_they_are_for(mode: str, dtype: torch.dtype) -> None:
    layer = JPEGLayer(standard_tables(50), mode=mode, alpha=0.05, alpha_mode="trained", pixel_range=1, std=(0.2,))
    twin = copy.deepcopy(layer).to(dtype)
    images = (pixels(2, 3, 16, 16) / 256).requires_grad_()
    copied = images.detach().to(dtype).requires_grad_()
    layer(images).square().mean().backward()
    twin(copied).float().square().mean().backward()
    pairs = [(copied, images), *zip(twin.parameters(), layer.parameters(), strict=True)]
    for ours, theirs in pairs:
        if theirs.grad is None:
            assert ours.grad is None
            continue
        assert ours.grad.dtype == dtype
        distance = (ours.grad.double() - theirs.grad.double()).norm() / theirs.grad.double().norm().clamp_min(1e-30)
        assert float(distance) < 8 * max(torch.finfo(dtype).eps, 5e-5)


@pytest.mark.parametrize(
    ("images", "steps"),
    [
        (torch.float64, torch.float32),
        (torch.float16, torch.float32),
        (torch.float32, torch.float16),
        (torch.float32, torch.float64),
    ],
)
def test_images_and_tables_may_differ_in_type(images: torch.dtype, steps: torch.dtype) -> None:
    layer, x = make("soft"), pixels(2, 3, 16, 16)
    found = copy.deepcopy(layer).to(steps)(x.to(images))
    assert found.dtype == images
    torch.testing.assert_close(found.float(), layer(x), rtol=0, atol=0.2)


@pytest.mark.parametrize("dtype", [torch.uint8, torch.int16, torch.int64])
@pytest.mark.parametrize("cast", [torch.float32, *DTYPES])
def test_integers_come_out_in_the_type_of_the_tables(dtype: torch.dtype, cast: torch.dtype) -> None:
    layer, x = make("hard").to(cast), pixels(1, 3, 16, 16)
    assert torch.equal(layer(x.to(dtype)), layer(x.to(cast)))


def test_normalisation_by_an_array_of_doubles_leaves_float32() -> None:
    layer = JPEGLayer(standard_tables(50), mean=np.array([1.0, 2.0, 3.0]), std=np.array([0.5]))
    assert layer(pixels(1, 3, 16, 16)).dtype == torch.float32


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("mode", ["soft", "ste"])
def test_autocast_changes_no_gradient_even_around_the_backward_pass(
    mode: str, subsampling: str, dtype: torch.dtype
) -> None:
    layer, images = make(mode, subsampling=subsampling), pixels(2, 3, 16, 16).requires_grad_()
    wanted = (images, layer.steps)
    expected = torch.autograd.grad(layer(images).square().mean(), wanted)
    with torch.autocast("cpu", dtype):
        found = torch.autograd.grad(layer(images).square().mean(), wanted)
    torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16])
def test_channels_last_and_crops_in_other_types(dtype: torch.dtype) -> None:
    layer, x = make("soft").to(dtype), pixels(2, 3, 24, 29).to(dtype)
    last = x.contiguous(memory_format=torch.channels_last)
    assert layer(last).is_contiguous(memory_format=torch.channels_last)
    torch.testing.assert_close(layer(last), layer(x))
    crop = x[:, :, 3:, 5:]
    torch.testing.assert_close(layer(crop), layer(crop.contiguous()))


@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("mode", MODES)
def test_an_empty_batch_stays_empty_and_keeps_its_type(mode: str, subsampling: str) -> None:
    found = make(mode, subsampling=subsampling).half()(torch.zeros(0, 3, 16, 20, dtype=torch.float16))
    assert found.shape == (0, 3, 16, 20)
    assert found.dtype == torch.float16


@pytest.mark.parametrize("mode", MODES)
def test_inference_mode_gives_the_same(mode: str) -> None:
    layer, x = make(mode).half(), pixels(1, 3, 16, 16).half()
    with torch.inference_mode():
        found = seeded(layer, x)
    assert torch.equal(found, seeded(layer, x))


@pytest.mark.parametrize("dtype", DTYPES)
def test_copies_and_states_travel_between_types(dtype: torch.dtype) -> None:
    layer, x = make("hard", **NORMALISED).to(dtype), pixels(1, 3, 16, 16)
    for twin in (copy.deepcopy(layer), pickle.loads(pickle.dumps(layer))):
        assert torch.equal(twin(x.to(dtype)), layer(x.to(dtype)))
    other = JPEGLayer(torch.ones(2, 8, 8), mode="hard", mean=(0.0,) * 3, std=(1.0,) * 3)
    other.load_state_dict(layer.state_dict())
    assert other.steps.dtype == torch.float32
    assert torch.equal(other(x), layer.float()(x))
