"""Distortion measures against closed forms and slow, literal versions."""

from __future__ import annotations

import itertools
import math

import numpy as np
import pytest
import torch

from toolkit.features import distortion


def features(seed: int, count: int = 30, dimensions: int = 5) -> torch.Tensor:
    return torch.randn(count, dimensions, generator=torch.Generator().manual_seed(seed), dtype=torch.float64)


def test_flat_colours_that_do_not_differ_are_exactly_alike() -> None:
    flat = torch.full((1, 16, 16, 3), 37, dtype=torch.uint8)
    assert float(distortion.ssim(flat, flat)) == 1.0


def test_fmse_is_the_mean_squared_difference_of_the_feature_vectors() -> None:
    a, b = features(0), features(1)
    literal = [
        sum((float(x) - float(y)) ** 2 for x, y in zip(p, q, strict=True)) / 5 for p, q in zip(a, b, strict=True)
    ]
    assert distortion.fmse(a, b, "none").tolist() == pytest.approx(literal)
    assert float(distortion.fmse(a, b)) == pytest.approx(sum(literal) / 30)
    assert float(distortion.fmse(a, b, "sum")) == pytest.approx(sum(literal))


def test_relative_fmse_of_a_scaled_copy_is_the_scale_squared() -> None:
    a = features(0)
    assert float(distortion.relative_fmse(a, 1.3 * a)) == pytest.approx(0.09)
    assert float(distortion.relative_fmse(a, torch.zeros_like(a))) == pytest.approx(1.0)


def test_relative_fmse_does_not_depend_on_the_networks_scale() -> None:
    a, b = features(0), features(1)
    assert float(distortion.relative_fmse(7 * a, 7 * b)) == pytest.approx(float(distortion.relative_fmse(a, b)))


def test_cosine_distance_of_known_angles() -> None:
    a = torch.tensor([[1.0, 0.0], [1.0, 0.0], [1.0, 0.0], [2.0, 0.0]])
    b = torch.tensor([[3.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [1.0, 1.0]])
    assert distortion.cosine_distance(a, b, "none").tolist() == pytest.approx([0, 1, 2, 1 - math.sqrt(0.5)])


def literal_unbiased_hsic(k: np.ndarray, l: np.ndarray) -> float:  # noqa: E741
    """The U-statistic as a sum over all ordered quadruples of distinct indices."""
    n = len(k)
    total = 0.0
    for i, j, q, r in itertools.permutations(range(n), 4):
        total += k[i, j] * (l[i, j] + l[q, r] - 2 * l[i, q])
    return total / (n * (n - 1) * (n - 2) * (n - 3))


def test_unbiased_hsic_equals_its_definition_over_quadruples() -> None:
    a, b = features(0, 8, 3).numpy(), features(1, 8, 4).numpy()
    k, l = a @ a.T, b @ b.T  # noqa: E741
    computed = float(distortion.unbiased_hsic(torch.from_numpy(k), torch.from_numpy(l)))
    assert computed == pytest.approx(literal_unbiased_hsic(k, l))


def test_cka_is_one_up_to_rotation_scale_and_shift() -> None:
    a = features(0, 60, 6)
    rotation, _ = torch.linalg.qr(features(3, 6, 6))
    assert distortion.linear_cka(a, 2.5 * a @ rotation + 4) == pytest.approx(1.0)


def test_cka_of_unrelated_features_averages_to_zero_where_the_biased_one_does_not() -> None:
    values = [distortion.linear_cka(features(2 * s, 20, 40), features(2 * s + 1, 20, 40)) for s in range(200)]
    standard_error = np.std(values) / math.sqrt(len(values))
    assert abs(np.mean(values)) < 3 * standard_error + 1e-3


def test_minibatches_give_the_same_cka_in_expectation() -> None:
    a = features(0, 3000, 6)
    b = a + 0.7 * features(1, 3000, 6)
    whole = distortion.linear_cka(a, b)
    batched = distortion.LinearCKA()
    for start in range(0, 3000, 50):
        batched.update(a[start : start + 50], b[start : start + 50])
    assert batched.compute() == pytest.approx(whole, abs=0.01)


def test_constant_features_have_no_cka() -> None:
    assert math.isnan(distortion.linear_cka(torch.ones(8, 3), features(0, 8, 3)))


def images(seed: int) -> torch.Tensor:
    return torch.randint(0, 256, (6, 24, 20, 3), generator=torch.Generator().manual_seed(seed), dtype=torch.uint8)


def test_psnr_by_its_formula_and_its_cap() -> None:
    a = images(0)
    b = a.clone()
    b[1] = (a[1].int() + 5).clamp(0, 255).to(torch.uint8)
    error = (a[1].double() - b[1].double()).square().mean()
    values = distortion.psnr(a, b, "none")
    assert float(values[1]) == pytest.approx(float(10 * torch.log10(255**2 / error)), rel=1e-5)
    assert float(values[0]) == distortion.PSNR_CAP


def test_ssim_is_one_for_equal_images_and_falls_with_noise() -> None:
    a = images(0)
    noisy = ((a.float() + images(1).float()) / 2).round().to(torch.uint8)
    values = distortion.ssim(a, noisy, "none")
    assert values.shape == (6,)
    assert distortion.ssim(a, a, "none").tolist() == pytest.approx([1.0] * 6)
    assert float(values.max()) < 0.99


def test_ssim_of_flat_images_follows_the_luminance_term() -> None:
    a, b = torch.full((2, 32, 32, 3), 100, dtype=torch.uint8), torch.full((2, 32, 32, 3), 120, dtype=torch.uint8)
    c1 = (0.01 * 255) ** 2
    assert float(distortion.ssim(a, b)) == pytest.approx(
        (2 * 100 * 120 + c1) / (100**2 + 120**2 + c1),
        rel=1e-3,  # float32 loses digits in the variances
    )


def test_ssim_takes_the_smallest_images_there_are() -> None:
    small = images(0)[:, :8, :8]
    assert float(distortion.ssim(small, small)) == pytest.approx(1.0)


def test_shapes_and_reductions_that_do_not_fit_are_refused() -> None:
    with pytest.raises(ValueError, match="same shape"):
        distortion.fmse(features(0), features(0, 29))
    with pytest.raises(ValueError, match="reduction"):
        distortion.fmse(features(0), features(0), "max")
    with pytest.raises(ValueError, match="at least 4"):
        distortion.linear_cka(features(0, 3), features(1, 3))
