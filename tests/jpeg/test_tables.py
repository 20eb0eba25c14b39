"""Standard tables against libjpeg's own, initialisers against their definitions."""

from __future__ import annotations

import io
import math

import numpy as np
import pytest
import scipy.fft
import torch
from PIL import Image
from torch import nn

from toolkit.jpeg.tables import (
    by_laplace,
    by_magnitude,
    by_sensitivity,
    clip_rate,
    ones,
    sensitivity,
    standard_tables,
)
from toolkit.jpeg.transform import BlockTransform


@pytest.mark.parametrize("quality", range(1, 101))
def test_standard_tables_are_libjpegs_at_every_quality(quality: int) -> None:
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    written = Image.open(file).quantization  # in natural order
    expected = torch.tensor([written[0], written[1]]).view(2, 8, 8).float()
    assert torch.equal(standard_tables(quality), expected)


@pytest.mark.parametrize("quality", [0, 101, 2.5, "75", None, True])
def test_other_qualities_are_refused(quality: object) -> None:
    with pytest.raises(ValueError, match=f"quality must be 1..100, got {quality!r}"):
        standard_tables(quality)  # type: ignore[arg-type]


class Linear(nn.Module):
    """Logits that are inner products with fixed images, so that gradients are known in closed form."""

    def __init__(self, size: int) -> None:
        super().__init__()
        generator = torch.Generator().manual_seed(0)
        self.weights = nn.Parameter(torch.randn(2, 3 * size * size, generator=generator) * 0.01)

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        return images.flatten(1) @ self.weights.T


def test_sensitivity_is_the_mean_square_of_the_gradient_per_image() -> None:
    network, transform = Linear(16), BlockTransform()
    images = torch.rand(5, 3, 16, 16, generator=torch.Generator().manual_seed(1)) * 255
    labels = torch.tensor([0, 1, 1, 0, 1])
    expected = torch.zeros(3, 64)
    for image, label in zip(images, labels, strict=True):
        # dCE/dx = sum_k (p_k - [k = label]) w_k; the DCT is orthonormal, RGB -> YCbCr's inverse transposed is not
        p = torch.softmax(network(image[None])[0], 0)
        p[label] -= 1
        pixel_gradient = (p @ network.weights).view(1, 3, 16, 16).detach()
        inverse = torch.linalg.inv(
            torch.tensor([[0.299, 0.587, 0.114], [-0.168736, -0.331264, 0.5], [0.5, -0.418688, -0.081312]])
        )
        planes = torch.einsum("nchw,cd->ndhw", pixel_gradient, inverse)
        for plane in range(3):
            for row in (0, 8):
                for column in (0, 8):
                    block = planes[0, plane, row : row + 8, column : column + 8]
                    dct = scipy.fft.dctn(block.numpy(), norm="ortho")
                    expected[plane] += torch.from_numpy(dct).flatten() ** 2 / (5 * 4)
    together = sensitivity(network, [(images, labels)], transform)
    in_batches = sensitivity(network, [(images[:2], labels[:2]), (images[2:], labels[2:])], transform)
    torch.testing.assert_close(together, expected, rtol=1e-3, atol=0)
    torch.testing.assert_close(in_batches, together)


def test_sensitive_frequencies_get_fine_steps() -> None:
    network, transform = Linear(16), BlockTransform()
    images, labels = torch.rand(4, 3, 16, 16) * 255, torch.tensor([0, 1, 0, 1])
    planes = sensitivity(network, [(images, labels)], transform)
    steps = by_sensitivity(network, [(images, labels)], transform, largest=12.0)
    assert steps.amax(dim=(1, 2)).tolist() == pytest.approx([12, 12])
    luma, chroma = steps.flatten(1)
    torch.testing.assert_close(luma * planes[0] / 12, planes[0].min().expand(64))
    torch.testing.assert_close(chroma * (planes[1] + planes[2]), (chroma * (planes[1] + planes[2]))[0].expand(64))


def test_an_insensitive_network_gives_finite_steps() -> None:
    network = Linear(16)
    nn.init.zeros_(network.weights)
    steps = by_sensitivity(network, [(torch.rand(2, 3, 16, 16) * 255, torch.tensor([0, 1]))], BlockTransform())
    assert torch.isfinite(steps).all()
    assert float(steps.min()) > 0


@pytest.mark.parametrize("subsampling", ["444", "420"])
def test_magnitude_and_laplace_follow_the_mean_magnitude(subsampling: str) -> None:
    transform = BlockTransform(subsampling)
    images = torch.rand(3, 3, 32, 32) * 255
    parts = transform.analyse(images)
    luma = parts[0][..., 0, :] if len(parts) == 1 else parts[0]
    chroma = parts[0][..., 1:, :] if len(parts) == 1 else parts[1]
    mean = torch.stack([part.reshape(-1, 64).abs().mean(0) for part in (luma, chroma)]).view(2, 8, 8)
    torch.testing.assert_close(by_magnitude([images[:1], images[1:]], transform), 2 * mean / math.sqrt(128))
    torch.testing.assert_close(by_laplace([images], transform, clip=0.01), mean * math.log(100) / 127)


def test_laplace_steps_clip_the_given_fraction() -> None:
    scale = torch.linspace(1, 40, 64)
    uniform = torch.rand(20_000, 64, generator=torch.Generator().manual_seed(2)) - 0.5
    z = -scale * torch.sign(uniform) * torch.log1p(-2 * uniform.abs())
    transform = BlockTransform()
    images = transform.synthesise((z.view(1, 100, 200, 1, 64).expand(-1, -1, -1, 3, -1),), (800, 1600))
    steps = by_laplace([images], transform, clip=0.01)
    assert clip_rate([images], transform, steps).mean() == pytest.approx(0.01, rel=0.1)


def test_clip_rate_counts_coefficients_beyond_the_limit() -> None:
    transform = BlockTransform()
    images = torch.full((2, 3, 16, 16), 255.0)
    images[0] = 128
    rate = clip_rate([images], transform, ones())  # DC of white is 8 * 127 = 1016 > 127
    assert rate[0, 0, 0] == 0.5
    assert float(rate.sum()) == 0.5
    assert float(clip_rate([images], transform, ones(), bits=12).sum()) == 0
    assert np.isfinite(rate.numpy()).all()
