"""Rates of tables, the quality that matches one, calibration against real files, dead zones."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch

from toolkit.data.catalog import load_dataset
from toolkit.jpeg.layer import JPEGLayer
from toolkit.jpeg.tables import ones, standard_tables
from toolkit.jpeg.transform import BlockTransform
from toolkit.jpeg_dl.calibration import calibrate_rate
from toolkit.jpeg_dl.rates import code_lengths, energy_passed, hard_rate, matching_quality, soft_rate


def demo_images(count: int = 40, size: int = 32) -> torch.Tensor:
    images = np.array(load_dataset("demo", size).train.images[:count])
    return torch.from_numpy(images).permute(0, 3, 1, 2).float()


@pytest.mark.parametrize("quality", [5, 37, 80])
@pytest.mark.parametrize("subsampling", ["444", "420"])
def test_standard_tables_match_their_own_rate(quality: int, subsampling: str) -> None:
    images, transform = demo_images(), BlockTransform(subsampling)
    rate = hard_rate(images, standard_tables(quality), transform)
    assert matching_quality(images, rate, transform) == quality


def test_rates_out_of_range_give_the_first_or_last_quality() -> None:
    images, transform = demo_images(8), BlockTransform()
    assert matching_quality(images, 1e-6, transform) == 1
    assert matching_quality(images, 99.0, transform) == 100


def test_the_passed_energy_is_that_of_the_rounded_coefficients() -> None:
    """By hand: half a step rounds to a whole one (four times the energy), less than half to zero."""
    blocks = torch.zeros(2, 1, 1, 3, 64)
    blocks[:, ..., 0, 0] = torch.tensor([5.0, 10.0]).view(2, 1, 1)  # steps of 10: 10 and 10
    blocks[:, ..., 0, 1] = 4.0
    blocks[:, ..., 1:, 2] = 1000.0  # beyond 127 steps of 2 in 8 bits
    tables = torch.ones(2, 8, 8)
    tables[0] *= 10
    tables[1] *= 2
    transform = BlockTransform()
    transform.analyse = lambda _: (blocks,)  # type: ignore[method-assign, assignment, return-value]
    passed = energy_passed(torch.zeros(2, 3, 8, 8), tables, transform, bits=8)
    assert passed[0, 0, 0] == pytest.approx(200 / 125)
    assert passed[0, 0, 1] == 0
    assert passed[1, 0, 2] == pytest.approx((254 / 1000) ** 2)
    assert passed[1, 7, 7] == 1


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64])
def test_the_rate_of_a_layer_of_another_dtype_equals_that_in_float32(dtype: torch.dtype) -> None:
    layer, images = JPEGLayer(standard_tables(50), alpha=0.05, alpha_mode="trained"), demo_images(4)
    expected = soft_rate(layer, images)
    slope, _ = torch.autograd.grad(expected, [layer.steps, layer.log_alpha])
    layer = layer.to(dtype)
    found = soft_rate(layer, images.to(dtype))
    found.backward()
    room = 4 * max(torch.finfo(dtype).eps, 1e-5)
    torch.testing.assert_close(found.float(), expected, rtol=room, atol=0)
    assert layer.steps.grad is not None
    assert layer.steps.grad.dtype == dtype
    assert float((layer.steps.grad.float() - slope).norm() / slope.norm()) < room


def test_the_rate_counts_every_plane_once() -> None:
    """Coefficients uniform over four indices in luma only: 2 bits each."""
    index = torch.randint(0, 4, (400, 1, 1, 3, 64), generator=torch.Generator().manual_seed(0)).float()
    index[..., 1:, :] = 0
    images = BlockTransform().synthesise((index * 8,), (8, 8))
    assert hard_rate(images, 8 * ones(), BlockTransform()) == pytest.approx(2, abs=0.02)


def test_code_lengths_average_to_the_rate() -> None:
    images, transform = demo_images(), BlockTransform()
    lengths = code_lengths(images, standard_tables(30), transform)
    assert lengths.shape == (40,)
    assert float(lengths.mean()) == pytest.approx(hard_rate(images, standard_tables(30), transform), rel=1e-4)


def test_the_soft_rate_of_a_hard_layer_is_the_hard_rate() -> None:
    images = demo_images(16)
    layer = JPEGLayer(standard_tables(50), alpha=50.0, bits=12)
    found = float(soft_rate(layer, images))
    assert found == pytest.approx(hard_rate(images, standard_tables(50), layer.transform), rel=0.01)


def test_coarser_tables_follow_from_descending_the_soft_rate() -> None:
    images = demo_images(16)
    layer = JPEGLayer(torch.full((2, 8, 8), 6.0), alpha_mode="matched", hardness=3.0, bits=12)
    optimizer = torch.optim.Adam(layer.parameter_groups(lr=0.5))
    rates = []
    for _ in range(10):
        rate = soft_rate(layer, images)
        optimizer.zero_grad()
        rate.backward()
        optimizer.step()
        rates.append(hard_rate(images, layer.tables().detach(), layer.transform))
    assert rates[-1] < 0.8 * rates[0]
    assert float(layer.tables().mean()) > 6


@pytest.mark.parametrize("name", ["flowers17", "tiny-imagenet-20"])
@pytest.mark.parametrize("subsampling", ["444", "420"])
def test_the_estimate_ranks_real_files(real_data: Path, name: str, subsampling: str) -> None:
    train = load_dataset(str(real_data / name), 64).train.images
    images = np.array(train[:: len(train) // 60][:60])
    random = np.random.default_rng(0)
    tables = [standard_tables(quality).numpy().astype(int) for quality in (5, 10, 20, 35, 50, 75, 90, 95)]
    assert calibrate_rate(images, tables, subsampling)["rank_correlation"] >= 0.98
    tables += [np.clip(np.rint(np.exp(random.uniform(0, 5, (2, 8, 8)))), 1, 255).astype(int) for _ in range(4)]
    found = calibrate_rate(images, tables, subsampling)
    assert found["rank_correlation"] >= 0.95
    assert 1 <= found["scale"] <= 1.6  # what the estimate leaves out costs bits
    assert found["pairs"] == 12 * 60
