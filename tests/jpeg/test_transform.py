"""Colour, blocks and DCT against scipy and against libjpeg itself, through Pillow and jpeglib."""

from __future__ import annotations

import io
from pathlib import Path

import jpeglib
import numpy as np
import pytest
import scipy.fft
import torch
from PIL import Image

from toolkit.jpeg.layer import JPEGLayer
from toolkit.jpeg.tables import standard_tables
from toolkit.jpeg.transform import (
    BlockTransform,
    dct_matrix,
    double,
    from_blocks,
    halve,
    pad_to_multiple,
    rgb_to_ycbcr,
    to_blocks,
    ycbcr_to_rgb,
)


def kodak_crop(real_data: Path, number: int) -> Image.Image:
    return Image.open(real_data / "kodak" / f"{number:02d}.png").convert("RGB")


def tensor(image: Image.Image) -> torch.Tensor:
    return torch.from_numpy(np.array(image)).permute(2, 0, 1)[None].float()


def psnr(a: torch.Tensor, b: torch.Tensor) -> float:
    return float(10 * torch.log10(255**2 / (a - b).square().mean()))


def test_colours_are_pillows() -> None:
    pixels = torch.randint(0, 256, (1, 3, 16, 16), generator=torch.Generator().manual_seed(0)).float()
    image = Image.fromarray(pixels[0].permute(1, 2, 0).byte().numpy())
    expected = tensor(image.convert("YCbCr")) - torch.tensor([0.0, 128.0, 128.0]).view(1, 3, 1, 1)
    assert float((rgb_to_ycbcr(pixels) - expected).abs().max()) <= 1
    torch.testing.assert_close(ycbcr_to_rgb(rgb_to_ycbcr(pixels)), pixels, atol=1e-3, rtol=0)


def test_the_dct_is_scipys() -> None:
    block = np.random.default_rng(0).normal(size=(8, 8))
    matrix = dct_matrix().numpy()
    np.testing.assert_allclose(matrix @ block @ matrix.T, scipy.fft.dctn(block, norm="ortho"), atol=1e-12)


@pytest.mark.parametrize("channels_last", [False, True])
def test_blocks_come_back(channels_last: bool) -> None:
    planes = torch.randn(2, 3, 16, 24)
    blocks = to_blocks(planes)
    assert blocks.shape == (2, 2, 3, 3, 64)
    assert torch.equal(blocks[1, 1, 2, 0].view(8, 8), planes[1, 0, 8:, 16:])
    back = from_blocks(blocks, channels_last=channels_last)
    assert torch.equal(back, planes)
    assert back.is_contiguous(memory_format=torch.channels_last if channels_last else torch.contiguous_format)


@pytest.mark.parametrize("subsampling", ["444", "420"])
def test_coefficients_are_scipys(subsampling: str) -> None:
    images = torch.rand(1, 3, 32, 32) * 255
    parts = BlockTransform(subsampling).analyse(images)
    planes = rgb_to_ycbcr(images - 128)
    if subsampling == "420":
        planes = [planes[:, :1], planes[:, 1:].unflatten(3, (-1, 2)).unflatten(2, (-1, 2)).mean((3, 5))]
    else:
        planes = [planes]
    for part, plane in zip(parts, planes, strict=True):
        found = part[0, 1, 0, -1].view(8, 8).numpy()
        np.testing.assert_allclose(found, scipy.fft.dctn(plane[0, -1, 8:16, :8].numpy(), norm="ortho"), atol=1e-3)


@pytest.mark.parametrize("padding", ["zero", "replicate"])
@pytest.mark.parametrize("size", [(8, 8), (9, 15), (19, 32), (33, 8)])
def test_without_quantisation_images_come_back(size: tuple[int, int], padding: str) -> None:
    images = torch.rand(2, 3, *size) * 255
    transform = BlockTransform(padding=padding)
    torch.testing.assert_close(transform.synthesise(transform.analyse(images), size), images, atol=2e-3, rtol=0)


def test_padding_is_zero_or_the_edge() -> None:
    images = torch.arange(1.0, 10.0).view(1, 1, 3, 3)
    assert pad_to_multiple(images, 4, "zero")[0, 0, :, 3].tolist() == [0, 0, 0, 0]
    assert pad_to_multiple(images, 4, "replicate")[0, 0, :, 3].tolist() == [3, 6, 9, 9]
    assert pad_to_multiple(images, 3, "zero") is images


def test_halving_and_doubling_by_hand() -> None:
    planes = torch.tensor([[0.0, 1.0, 4.0, 8.0], [1.0, 0.0, 4.0, 9.0]]).view(1, 1, 2, 4)
    assert halve(planes).flatten().tolist() == [0.5, 6.25]
    assert halve(planes, integer=True).flatten().tolist() == [0, 6]  # (2 + 1) // 4, (25 + 2) // 4
    wide = double(torch.tensor([[0.0, 8.0]]).view(1, 1, 1, 2))
    assert wide[0, 0, 0].tolist() == [0, 2, 6, 8]


@pytest.mark.parametrize(
    ("subsampling", "integer", "least"), [("420", False, 43.0), ("420", True, 48.0), ("444", True, 48.0)]
)
def test_hard_mode_decodes_as_pillow_does(real_data: Path, subsampling: str, integer: bool, least: float) -> None:
    """Mean PSNR over Kodak at quality 75 between our decoded image and Pillow's."""
    found = []
    layer = JPEGLayer(standard_tables(75), mode="hard", bits=12, subsampling=subsampling, integer=integer)
    for number in range(1, 25):
        image = kodak_crop(real_data, number)
        file = io.BytesIO()
        image.save(file, "JPEG", quality=75, subsampling=2 if subsampling == "420" else 0)
        found.append(psnr(layer(tensor(image)), tensor(Image.open(file))))
    assert np.mean(found) >= least, found


def test_luma_coefficients_are_libjpeg_turbos(real_data: Path, tmp_path: Path) -> None:
    same = total = 0
    transform = BlockTransform("420", integer=True)
    steps = standard_tables(75)[0].flatten()
    for number in (3, 8, 19, 23):
        image = kodak_crop(real_data, number)
        image.save(tmp_path / "kodak.jpg", quality=75, subsampling=2)
        theirs = torch.from_numpy(np.array(jpeglib.read_dct(str(tmp_path / "kodak.jpg")).Y)).float()
        luma = transform.analyse(tensor(image))[0][0, :, :, 0] / steps
        ours = (torch.sign(luma) * torch.floor(luma.abs() + 0.5)).view(theirs.shape)
        same += int((ours == theirs).sum())
        total += theirs.numel()
    assert same / total >= 0.995


@pytest.mark.parametrize("wrong", [{"subsampling": "422"}, {"padding": "reflect"}])
def test_unknown_names_are_refused(wrong: dict[str, str]) -> None:
    with pytest.raises(ValueError, match="must be one of"):
        BlockTransform(**wrong)
