"""The quantisers against a brute-force sum over every level, differentiated by autograd, in float64."""

from __future__ import annotations

import pytest
import torch

from toolkit.jpeg.quantizer import (
    additive_noise,
    clipped,
    hard_quantize,
    sample_quantize,
    soft_quantize,
    straight_through,
)

KAPPAS = [1e-3, 1e-2, 0.1, 0.5, 1.0, 2.0, 10.0, 100.0, 1e3]


def brute_force(z: torch.Tensor, q: torch.Tensor, alpha: torch.Tensor, levels: int | str, bits: int) -> torch.Tensor:
    """The definition: a softmax over all levels, or over the authors' window of ``levels`` of them."""
    limit = 2 ** (bits - 1) - 1
    i = torch.arange(-limit, limit + 1, dtype=z.dtype)
    exponent = -alpha[..., None] * (z[..., None] - i * q[..., None]) ** 2
    if levels != "full":
        start = (torch.round(z / q) - levels // 2).clamp(-limit, limit - levels + 1)
        inside = (i >= start[..., None]) & (i < start[..., None] + levels)
        exponent = exponent.masked_fill(~inside, -torch.inf)
    return (torch.softmax(exponent, -1) * i * q[..., None]).sum(-1)


def coefficients(q: float, bits: int, seed: int = 0) -> torch.Tensor:
    """Coefficients in the range of indices, at its ends, and far beyond them; none on a rounding tie."""
    limit = 2 ** (bits - 1) - 1
    generator = torch.Generator().manual_seed(seed)
    inside = (2 * torch.rand(60, generator=generator, dtype=torch.float64) - 1) * limit
    ends = torch.tensor([0.0, limit - 0.4, limit + 0.3, limit - 1.7, limit + 5.2, 3.1 * limit], dtype=torch.float64)
    return torch.cat([inside, ends, -ends]) * q


@pytest.mark.parametrize("kappa", KAPPAS)
@pytest.mark.parametrize("q", [1e-3, 0.7, 30.0])
@pytest.mark.parametrize(("levels", "bits"), [(5, 8), ("full", 8), (3, 4), (5, 11)])
def test_values_and_gradients_are_those_of_the_sum_over_all_levels(
    kappa: float, q: float, levels: int | str, bits: int
) -> None:
    z = coefficients(q, bits)
    ours = [
        z.clone().requires_grad_(),
        torch.full_like(z, q).requires_grad_(),
        torch.full_like(z, kappa / q**2).requires_grad_(),
    ]
    theirs = [one.detach().clone().requires_grad_() for one in ours]
    found = soft_quantize(*ours, levels, bits)
    expected = brute_force(*theirs, levels, bits)
    torch.testing.assert_close(found, expected, rtol=1e-9, atol=1e-9 * q)
    weight = torch.linspace(-1, 2, len(z), dtype=torch.float64)
    (found * weight).sum().backward()
    (expected * weight).sum().backward()
    for our, their, unit in zip(ours, theirs, (1, 1, q**3), strict=True):
        scale = float(their.grad.abs().max()) + unit
        torch.testing.assert_close(our.grad, their.grad, rtol=1e-6, atol=1e-9 * scale)


@pytest.mark.parametrize("levels", [5, "full"])
@pytest.mark.parametrize("kappa", [0.05, 1.0, 8.0])
def test_gradcheck(levels: int | str, kappa: float) -> None:
    q = torch.tensor([0.5, 2.0, 7.0], dtype=torch.float64).requires_grad_()
    z = (torch.randn(12, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(3)) * 9).requires_grad_()
    alpha = (kappa / q.detach().square()).requires_grad_()
    assert torch.autograd.gradcheck(lambda *inputs: soft_quantize(*inputs, levels, 5), (z, q, alpha))


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("kappa", [*KAPPAS, 1e6])
def test_nothing_overflows(dtype: torch.dtype, kappa: float) -> None:
    q = torch.tensor([1e-5, 1.0, 255.0], dtype=dtype)
    z = torch.tensor([[-2048.0], [-0.5], [0.0], [1e-6], [127.5], [2048.0]], dtype=dtype).expand(-1, 3).clone()
    inputs = [z.requires_grad_(), q.requires_grad_(), (kappa / q.detach().square()).requires_grad_()]
    soft_quantize(*inputs).sum().backward()
    for one in inputs:
        assert torch.isfinite(one.grad).all()


def test_steps_and_sharpness_broadcast_and_their_gradients_are_summed() -> None:
    z = torch.randn(7, 3, 4, dtype=torch.float64) * 5
    q = torch.rand(3, 1, dtype=torch.float64).add(0.5).requires_grad_()
    alpha = torch.rand(4, dtype=torch.float64).add(0.5).requires_grad_()
    soft_quantize(z, q, alpha).square().sum().backward()
    wide_q, wide_alpha = (one.detach().expand_as(z).clone().requires_grad_() for one in (q, alpha))
    brute_force(z, wide_q, wide_alpha, 5, 8).square().sum().backward()
    torch.testing.assert_close(q.grad, wide_q.grad.sum((0, 2))[:, None])
    torch.testing.assert_close(alpha.grad, wide_alpha.grad.sum((0, 1)))


def test_working_in_chunks_changes_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    z = torch.randn(50, 8, dtype=torch.float64)
    results = []
    for chunk in (1 << 16, 24):
        monkeypatch.setattr("toolkit.jpeg.chunks.CHUNK", chunk)
        inputs = [z.clone().requires_grad_(), torch.full((8,), 0.3, dtype=torch.float64).requires_grad_()]
        for quantise in (lambda z, q: soft_quantize(z, q, 5.0), straight_through):
            out = quantise(*inputs)
            results.append([out.detach(), *torch.autograd.grad(out.square().sum(), inputs)])
    torch.testing.assert_close(results[:2], results[2:])


def test_only_the_coefficients_are_kept_for_the_backward_pass() -> None:
    z = torch.randn(1000, 64, requires_grad=True)
    kept: list[int] = []

    def keep(tensor: torch.Tensor) -> torch.Tensor:
        kept.append(tensor.untyped_storage().nbytes())
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(keep, lambda tensor: tensor):
        soft_quantize(z, torch.ones(64, requires_grad=True), 5.0)
    assert sum(kept) <= z.untyped_storage().nbytes() + 2 * 64 * 4


def test_hard_rounding_goes_away_from_zero_and_stops_at_the_limit() -> None:
    z = torch.tensor([0.49, 0.5, -0.5, 1.5, -2.5, 300.0, -300.0])
    expected = torch.tensor([0.0, 1.0, -1.0, 2.0, -3.0, 127.0, -127.0])
    assert torch.equal(hard_quantize(z, torch.tensor(1.0)), expected)
    assert torch.equal(hard_quantize(z * 3, torch.tensor(3.0), bits=10)[-2:], torch.tensor([900.0, -900.0]))


def test_a_very_hard_soft_quantiser_rounds() -> None:
    z, q = coefficients(2.0, 8), torch.tensor(2.0, dtype=torch.float64)
    torch.testing.assert_close(soft_quantize(z, q, 1e3), hard_quantize(z, q))


def test_straight_through_passes_the_gradient_except_for_clipped_coefficients() -> None:
    z = torch.tensor([0.6, -7.3, 126.9, 127.4, 127.6, -500.0], dtype=torch.float64).requires_grad_()
    q = torch.ones(6, dtype=torch.float64, requires_grad=True)
    out = straight_through(z, q)
    out.sum().backward()
    assert out.tolist() == [1, -7, 127, 127, 127, -127]
    assert z.grad.tolist() == [1, 1, 1, 1, 0, 0]
    torch.testing.assert_close(q.grad, torch.tensor([0.4, 0.3, 0.1, -0.4, 127, -127], dtype=torch.float64))


def test_noise_is_uniform_over_one_step() -> None:
    z, q = torch.zeros(200_000), torch.tensor(3.0, requires_grad=True)
    out = additive_noise(z, q, generator=torch.Generator().manual_seed(0))
    assert float(out.abs().max()) <= 1.5
    assert float(out.detach().var()) == pytest.approx(9 / 12, rel=0.01)
    (gradient,) = torch.autograd.grad(out.sum(), q)
    assert float(gradient) == pytest.approx(float(out.detach().sum()) / 3, rel=1e-4)


@pytest.mark.parametrize(("levels", "kappa"), [(5, 0.6), (5, 3.0), ("full", 0.05)])
def test_samples_are_levels_whose_mean_and_gradient_are_the_soft_quantisers(levels: int | str, kappa: float) -> None:
    one = torch.tensor([0.3, -1.45, 6.9, 9.0], dtype=torch.float64)
    z = one.repeat(40_000, 1).requires_grad_()
    q = torch.tensor(1.0, dtype=torch.float64)
    drawn = sample_quantize(z, q, kappa, levels, 4, generator=torch.Generator().manual_seed(1))
    assert torch.equal(drawn, drawn.round())
    assert float(drawn.abs().max()) <= 7
    mean = brute_force(one, q.expand(4), torch.full((4,), kappa, dtype=torch.float64), levels, 4)
    torch.testing.assert_close(drawn.detach().mean(0), mean, atol=0.03, rtol=0)
    exact = one.clone().requires_grad_()
    soft_quantize(exact, q, kappa, levels, 4).sum().backward()
    drawn.sum().backward()
    torch.testing.assert_close(z.grad[0], exact.grad)


def test_clipped_marks_what_the_limit_shortens() -> None:
    z = torch.tensor([127.4, 127.5, -127.6])
    assert clipped(z, torch.tensor(1.0)).tolist() == [False, True, True]


@pytest.mark.parametrize("levels", [4, 1, 15, "all", 2.0])
def test_impossible_windows_are_refused(levels: int | str) -> None:
    with pytest.raises(ValueError, match="levels must be full or an odd number from 3 to 13"):
        soft_quantize(torch.zeros(1), torch.ones(1), 1.0, levels, bits=4)
