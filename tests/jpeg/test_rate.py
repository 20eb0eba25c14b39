"""The analytic rate against counting, brute force and finite differences."""

from __future__ import annotations

import math

import pytest
import torch

from toolkit.jpeg.rate import bits_per_pixel, entropy, hard_entropy, hard_probabilities, level_probabilities


def test_hard_probabilities_count_indices() -> None:
    z = torch.tensor([[0.0, 10.0], [0.4, -9.0], [3.1, 10.0], [-2.9, 99.0]])
    shares = hard_probabilities(z, torch.tensor([1.0, 5.0]), bits=4)
    assert shares.shape == (2, 15)
    assert shares[0, 7] == 0.5
    assert shares[0, 7 + 3] == shares[0, 7 - 3] == 0.25
    assert shares[1, 7 + 2] == 0.5
    assert shares[1, 7 - 2] == shares[1, 14] == 0.25


@pytest.mark.parametrize("bits", [4, 12])
def test_entropy_without_a_histogram_is_the_histograms(bits: int) -> None:
    z, q = torch.randn(500, 3) * 20, torch.tensor([0.5, 4.0, 90.0])
    torch.testing.assert_close(hard_entropy(z, q, bits), entropy(hard_probabilities(z, q, bits)), rtol=1e-4, atol=1e-5)


def test_entropy_of_known_distributions() -> None:
    p = torch.tensor([[0.5, 0.5, 0.0, 0.0], [0.25, 0.25, 0.25, 0.25], [1.0, 0.0, 0.0, 0.0], [0.5, 0.25, 0.125, 0.125]])
    torch.testing.assert_close(entropy(p), torch.tensor([1.0, 2.0, 0.0, 1.75]))


def test_the_rate_of_a_plane_is_bits_times_blocks_by_pixels() -> None:
    assert float(bits_per_pixel(torch.full((64,), 2.0), blocks=10, pixels=640)) == 2


@pytest.mark.parametrize("kappa", [0.05, 0.7, 3.0, 50.0])
@pytest.mark.parametrize("levels", [5, "full"])
def test_probabilities_are_the_mean_softmax_over_levels(kappa: float, levels: int | str) -> None:
    z = torch.randn(40, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(0)) * 6
    q = torch.tensor([0.8, 2.0, 5.0], dtype=torch.float64)
    alpha = kappa / q.square()
    i = torch.arange(-15, 16, dtype=torch.float64)
    exponent = -alpha[:, None] * (z[..., None] - i * q[:, None]) ** 2
    if levels != "full":
        start = (torch.round(z / q) - 2).clamp(-15, 11)[..., None]
        exponent = exponent.masked_fill((i < start) | (i >= start + 5), -torch.inf)
    torch.testing.assert_close(level_probabilities(z, q, alpha, levels, 5), torch.softmax(exponent, -1).mean(0))


@pytest.mark.parametrize("levels", [5, "full"])
def test_gradients_of_the_rate(levels: int | str) -> None:
    z = (torch.randn(15, 3, dtype=torch.float64, generator=torch.Generator().manual_seed(1)) * 20).requires_grad_()
    q = torch.tensor([0.9, 3.0, 8.0], dtype=torch.float64).requires_grad_()
    alpha = torch.tensor([0.9, 0.2, 0.05], dtype=torch.float64).requires_grad_()

    def rate(*inputs: torch.Tensor) -> torch.Tensor:
        return entropy(level_probabilities(*inputs, levels, 5))

    assert torch.autograd.gradcheck(rate, (z, q, alpha))


def test_a_gradient_exists_where_an_index_never_occurs() -> None:
    z, q = torch.zeros(4, 2), torch.ones(2, requires_grad=True)
    entropy(level_probabilities(z, q, torch.full((2,), 1e3))).sum().backward()
    assert torch.isfinite(q.grad).all()


def test_coarser_steps_cost_fewer_bits() -> None:
    z = torch.randn(4000, 1, generator=torch.Generator().manual_seed(2)) * 30
    rates = [float(entropy(hard_probabilities(z, torch.tensor([q]), 12))[0]) for q in (2.0, 4.0, 8.0)]
    # at high rate, twice the step saves one bit; the entropy itself is the differential one less log2 of the step
    assert rates[0] - rates[1] == pytest.approx(1, abs=0.1)
    assert rates[0] == pytest.approx(0.5 * math.log2(2 * math.pi * math.e * 900) - 1, abs=0.1)
