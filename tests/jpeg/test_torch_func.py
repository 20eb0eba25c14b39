"""The layer under ``torch.func`` and forward-mode AD, against plain backward passes, loops and finite differences."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
import torch
from torch import nn
from torch.autograd import forward_ad
from torch.func import functional_call, grad, jacfwd, jacrev, jvp, vmap

from toolkit.jpeg.layer import JPEGLayer, prepend
from toolkit.jpeg.quantizer import straight_through
from toolkit.jpeg.rate import level_probabilities
from toolkit.jpeg.tables import standard_tables

SMOOTH = ["soft", "ste", "identity"]
DRAWN = ["noise", "sample"]


def make(mode: str = "soft", **choices: Any) -> JPEGLayer:
    return JPEGLayer(standard_tables(50), **{"mode": mode, "alpha": 0.02, "alpha_mode": "trained", **choices}).double()


def pixels(*shape: int, seed: int = 0) -> torch.Tensor:
    return torch.rand(*shape, dtype=torch.float64, generator=torch.Generator().manual_seed(seed)) * 255


def parameters(module: nn.Module) -> dict[str, torch.Tensor]:
    return {name: one.detach() for name, one in module.named_parameters()}


def loss(module: nn.Module) -> Callable[[dict[str, torch.Tensor], torch.Tensor], torch.Tensor]:
    return lambda given, images: functional_call(module, given, (images,)).square().mean()


@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("mode", SMOOTH)
def test_grad_is_the_backward_pass(mode: str, subsampling: str) -> None:
    layer, x = make(mode, subsampling=subsampling), pixels(2, 3, 19, 21)
    found = grad(loss(layer), argnums=(0, 1))(parameters(layer), x)
    inputs = x.clone().requires_grad_()
    layer(inputs).square().mean().backward()
    torch.testing.assert_close(found[1], inputs.grad)
    for name, one in layer.named_parameters():
        torch.testing.assert_close(found[0][name], torch.zeros_like(one) if one.grad is None else one.grad)


@pytest.mark.parametrize("subsampling", ["444", "420"])
@pytest.mark.parametrize("mode", SMOOTH)
def test_gradients_per_sample_are_those_of_samples_one_by_one(mode: str, subsampling: str) -> None:
    torch.manual_seed(0)
    network = nn.Sequential(nn.Conv2d(3, 2, 8, stride=8), nn.Flatten(), nn.Linear(8, 3))
    model, x = prepend(network, make(mode, subsampling=subsampling, pixel_range=1)).double(), pixels(4, 3, 16, 16) / 255
    x = x.contiguous(memory_format=torch.channels_last)
    found = vmap(grad(lambda given, one: loss(model)(given, one[None])), in_dims=(None, 0))(parameters(model), x)
    for index in range(4):
        model.zero_grad()
        model(x[index : index + 1]).square().mean().backward()
        for name, one in model.named_parameters():
            expected = torch.zeros_like(one) if one.grad is None else one.grad
            torch.testing.assert_close(found[name][index], expected)


@pytest.mark.parametrize("mode", [*SMOOTH, "hard"])
@pytest.mark.parametrize("choices", [{}, {"subsampling": "420", "padding": "replicate"}, {"levels": "full", "bits": 5}])
def test_vmap_over_batches_is_a_loop(mode: str, choices: dict[str, Any]) -> None:
    layer, x = make(mode, **choices), pixels(3, 2, 3, 17, 16)
    torch.testing.assert_close(vmap(layer)(x), torch.stack([layer(one) for one in x]))


@pytest.mark.parametrize("mode", [*SMOOTH, "hard"])
def test_vmap_over_tables_is_a_loop(mode: str) -> None:
    layer, x = make(mode), pixels(2, 3, 16, 16)
    steps = torch.stack([standard_tables(quality).double() for quality in (20, 50, 90)])

    def run(one: torch.Tensor) -> torch.Tensor:
        return functional_call(layer, {"steps": one}, (x,))

    torch.testing.assert_close(vmap(run)(steps), torch.stack([run(one) for one in steps]))


@pytest.mark.parametrize("levels", [5, "full"])
def test_tangents_are_finite_differences(levels: int | str) -> None:
    layer, x = make(levels=levels, bits=12 if levels == 5 else 8), pixels(1, 3, 16, 16)
    given, way = parameters(layer), {name: torch.randn_like(one) for name, one in parameters(layer).items()}

    def run(given: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        return functional_call(layer, given, (images,))

    direction = (way, torch.randn_like(x))
    value, tangent = jvp(run, (given, x), direction)
    torch.testing.assert_close(value, layer(x))
    step = 1e-6
    there, back = (
        run({name: given[name] + sign * step * way[name] for name in given}, x + sign * step * direction[1])
        for sign in (1, -1)
    )
    torch.testing.assert_close(tangent, (there - back) / (2 * step), rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("mode", [*SMOOTH, *DRAWN])
def test_tangents_and_gradients_are_each_others_transposes(mode: str) -> None:
    layer, x = make(mode), pixels(1, 3, 16, 16)
    given = {"steps": layer.steps.detach(), "log_alpha": layer.log_alpha.detach()}

    def run(given: dict[str, torch.Tensor], images: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return functional_call(layer, given, (images,))

    way = {name: torch.randn_like(one) for name, one in given.items()}, torch.randn_like(x)
    across = torch.randn_like(x)
    _, tangent = jvp(run, (given, x), way)
    of_given, of_x = grad(lambda *inputs: (run(*inputs) * across).sum(), argnums=(0, 1))(given, x)
    pulled = sum(float((of_given[name] * way[0][name]).sum()) for name in given) + float((of_x * way[1]).sum())
    assert float((tangent * across).sum()) == pytest.approx(pulled, rel=1e-8)


@pytest.mark.parametrize("mode", [*SMOOTH, *DRAWN])
def test_dual_numbers_carry_the_same_tangent(mode: str) -> None:
    layer, x = make(mode), pixels(1, 3, 16, 16)
    way = torch.randn_like(x)

    def run(images: torch.Tensor) -> torch.Tensor:
        torch.manual_seed(0)
        return layer(images)

    with forward_ad.dual_level():
        found = forward_ad.unpack_dual(run(forward_ad.make_dual(x, way))).tangent
    torch.testing.assert_close(found, jvp(run, (x,), (way,))[1])


def test_hard_rounding_has_no_tangent_from_images() -> None:
    layer, x = make("hard"), pixels(1, 3, 16, 16)
    value, tangent = jvp(layer, (x,), (torch.ones_like(x),))
    assert torch.equal(value, layer(x))
    assert not tangent.any()


def test_second_derivatives_are_finite_differences_of_the_first() -> None:
    layer, x = make(), pixels(1, 3, 8, 8)
    slope, way = grad(lambda images: layer(images).square().mean()), torch.randn(1, 3, 8, 8, dtype=torch.float64)
    expected = (slope(x + 1e-5 * way) - slope(x - 1e-5 * way)) / 2e-5
    torch.testing.assert_close(jvp(slope, (x,), (way,))[1], expected, rtol=1e-4, atol=1e-6)
    inputs = x.clone().requires_grad_()
    (first,) = torch.autograd.grad(layer(inputs).square().mean(), inputs, create_graph=True)
    torch.testing.assert_close(torch.autograd.grad(first, inputs, way)[0], expected, rtol=1e-4, atol=1e-6)


def test_every_way_to_a_jacobian_gives_the_same() -> None:
    layer, x = make(), pixels(1, 3, 8, 8)

    def run(steps: torch.Tensor) -> torch.Tensor:
        return functional_call(layer, {"steps": steps}, (x,)).flatten()[::40]

    steps = layer.steps.detach()
    expected = torch.autograd.functional.jacobian(run, steps)
    batched = torch.autograd.functional.jacobian(run, steps, vectorize=True)
    for found in (jacrev(run)(steps), jacfwd(run)(steps), batched):
        torch.testing.assert_close(found, expected)


@pytest.mark.parametrize("mode", DRAWN)
def test_random_modes_draw_per_sample_on_request(mode: str) -> None:
    layer, x = make(mode), pixels(1, 1, 3, 16, 16).expand(2, -1, -1, -1, -1)
    first, second = vmap(layer, randomness="different")(x)
    assert not torch.equal(first, second)


def test_full_windows_report_what_they_do_not_support() -> None:
    layer, x = make(levels="full"), pixels(1, 3, 16, 16)
    with pytest.raises(ValueError, match=r"levels=full needs .* the tables, which .* a vmap over them hide"):
        vmap(lambda steps: functional_call(layer, {"steps": steps}, (x,)))(layer.steps.detach()[None])


def test_straight_through_is_rounding_plus_the_identity() -> None:
    z = pixels(7, 5) - 100
    q = torch.tensor([3.0, 5.0, 7.0, 11.0, 13.0], dtype=torch.float64)

    def plain(z: torch.Tensor, q: torch.Tensor) -> torch.Tensor:
        ratio = z / q
        return q * (ratio + ((ratio.abs() + 0.5).floor() * ratio.sign() - ratio).detach())

    way = (torch.randn_like(z), torch.randn_like(q))
    torch.testing.assert_close(jvp(straight_through, (z, q), way), jvp(plain, (z, q), way))
    torch.testing.assert_close(jacrev(straight_through, argnums=(0, 1))(z, q), jacrev(plain, argnums=(0, 1))(z, q))


@pytest.mark.parametrize("levels", [5, "full"])
def test_probabilities_of_levels_have_all_derivatives(levels: int | str) -> None:
    z = torch.randn(6, 4, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 3
    q = torch.tensor([0.7, 1.1, 1.3, 2.0], dtype=torch.float64)
    alpha = 0.6 / q.square()
    inputs = tuple(one.clone().requires_grad_() for one in (z, q, alpha))
    assert torch.autograd.gradcheck(
        lambda *given: level_probabilities(*given, levels, 4), inputs, check_forward_ad=True, check_batched_grad=True
    )
    stacked = torch.stack([z, 2 * z])
    found = vmap(lambda one: level_probabilities(one, q, alpha, levels, 4))(stacked)
    torch.testing.assert_close(found, torch.stack([level_probabilities(one, q, alpha, levels, 4) for one in stacked]))


def test_steps_outside_their_bounds_come_back_under_grad_as_well() -> None:
    layer = JPEGLayer(torch.ones(2, 8, 8))
    steps = layer.steps.detach().clone()
    steps[0, 0, 0], steps[1, 7, 7] = -3.0, 400.0
    slope = grad(lambda given, sign: (functional_call(Tables(layer), {"layer.steps": given}, ()) * sign).sum())
    outwards, inwards = (slope(steps, sign * torch.where(steps > 255, -1.0, 1.0)) for sign in (1, -1))
    assert outwards[0, 0, 0] == outwards[1, 7, 7] == 0
    assert (inwards[0, 0, 0], inwards[1, 7, 7]) == (-1, 1)


class Tables(nn.Module):
    """A layer's tables as a module's output."""

    def __init__(self, layer: JPEGLayer) -> None:
        super().__init__()
        self.layer = layer

    def forward(self) -> torch.Tensor:
        return self.layer.tables()
