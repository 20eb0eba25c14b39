"""JPEG's transform between RGB images and DCT coefficients of 8x8 blocks.

Full-range BT.601 colour (JFIF), orthonormal DCT-II, chroma at full (4:4:4) or half (4:2:0) resolution. Colour transform
and DCT are linear, so at 4:4:4 they combine to one 192 x 192 matrix on the 3 x 64 samples of a block.
"""

from __future__ import annotations

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import nn
from torch.nn import functional

from toolkit.jpeg.derivatives import Derived, apply
from toolkit.jpeg.precision import computing_type, without_autocast

BLOCK = 8
SUBSAMPLINGS = ("444", "420")
PADDINGS = ("zero", "replicate")
LEVEL = 128.0
"""Level shift of samples before the DCT."""
COLOUR = (
    (0.299, 0.587, 0.114),
    (-0.168735891647856, -0.331264108352144, 0.5),
    (0.5, -0.418687589158345, -0.081312410841655),
)
"""RGB to Y, Cb, Cr (ITU-R BT.601, full range, as in JFIF), chroma centred on 0."""
INVERSE_COLOUR = tuple(map(tuple, torch.tensor(COLOUR, dtype=torch.float64, device="cpu").inverse().tolist()))
"""Y, Cb, Cr to RGB."""


def rgb_to_ycbcr(images: torch.Tensor) -> torch.Tensor:
    """Y, Cb, Cr of float RGB (N, 3, H, W); chroma is centred on 0 for any pixel range."""
    return _mixed(images, COLOUR)


def ycbcr_to_rgb(planes: torch.Tensor) -> torch.Tensor:
    """RGB of Y, Cb, Cr (N, 3, H, W) with chroma centred on 0; the inverse of :func:`rgb_to_ycbcr`."""
    return _mixed(planes, INVERSE_COLOUR)


def dct_matrix() -> torch.Tensor:
    """The orthonormal 8-point DCT-II, float64 (8, 8): row u is frequency u."""
    index = torch.arange(BLOCK, device="cpu")
    u, x = torch.meshgrid(index, index, indexing="ij")
    matrix = torch.cos(math.pi * (2 * x + 1).double() * u / (2 * BLOCK)) * math.sqrt(2 / BLOCK)
    matrix[0] /= math.sqrt(2)
    return matrix


def pad_to_multiple(images: torch.Tensor, multiple: int, padding: str) -> torch.Tensor:
    """Images (N, C, H, W) padded at the bottom and on the right to multiples of ``multiple``.

    ``zero`` is the choice of the layer's paper (grey, after the level shift), ``replicate`` that of JPEG encoders.
    """
    height, width = images.shape[-2:]
    below, right = -height % multiple, -width % multiple
    if not below and not right:
        return images
    return functional.pad(images, (0, right, 0, below), mode="constant" if padding == "zero" else "replicate")


def to_blocks(planes: torch.Tensor) -> torch.Tensor:
    """(N, C, H, W) with sides divisible by 8 to (N, H/8, W/8, C, 64), each block in row-major order."""
    cut = planes.unflatten(3, (-1, BLOCK)).unflatten(2, (-1, BLOCK))
    return cut.permute(0, 2, 4, 1, 3, 5).flatten(4)


def from_blocks(blocks: torch.Tensor, *, channels_last: bool = False) -> torch.Tensor:
    """The inverse of :func:`to_blocks`; ``channels_last`` selects the memory format of the result."""
    count, rows, columns, channels = blocks.shape[:4]
    cut = blocks.unflatten(4, (BLOCK, BLOCK))
    if channels_last:
        flat = cut.permute(0, 1, 4, 2, 5, 3).reshape(count, rows * BLOCK, columns * BLOCK, channels)
        return flat.permute(0, 3, 1, 2)
    return cut.permute(0, 3, 1, 4, 2, 5).reshape(count, channels, rows * BLOCK, columns * BLOCK)


def halve(planes: torch.Tensor, *, integer: bool = False) -> torch.Tensor:
    """Halve the resolution by averaging 2x2 samples; with ``integer``, ties alternate as in libjpeg."""
    if not integer:
        return functional.avg_pool2d(planes, 2)
    bias = planes.new_tensor([1.0, 2.0]).repeat(planes.shape[-1] // 4 + 1)[: planes.shape[-1] // 2]
    return torch.floor((4 * functional.avg_pool2d(planes, 2) + bias) / 4)


def double(planes: torch.Tensor, *, integer: bool = False) -> torch.Tensor:
    """Double the resolution with libjpeg's "fancy" triangle filter, 3/4 of the nearer and 1/4 of the farther sample.

    This is bilinear interpolation at pixel centres. With ``integer``, rounded as in libjpeg.
    """
    wide = functional.interpolate(planes, scale_factor=2, mode="bilinear", align_corners=False)
    if not integer:
        return wide
    bias = planes.new_tensor([8.0, 7.0]).repeat(planes.shape[-1]) / 16
    return torch.floor(wide + bias)


class BlockTransform(nn.Module):
    """RGB images to coefficients and back.

    ```
    RGB -- pad -- YCbCr -- [halve chroma] -- 8x8 blocks -- DCT --> coefficients
    RGB <- crop - RGB ---- [double chroma] - planes ----- IDCT <-- quantised
    ```

    Args:
        subsampling: ``444``, or ``420`` for chroma at half resolution.
        padding: ``zero`` or ``replicate``, at the bottom and on the right.
        integer: round samples to integers where libjpeg does, and clip pixels; without gradient.
        device: of the matrices; torch's default device if None.

    The matrices are float32 whatever type the module is cast to, or float64 after ``.double()``.

    Raises:
        ValueError: an unknown name.
    """

    dct: torch.Tensor
    forwards: torch.Tensor
    backwards: torch.Tensor

    def __init__(
        self,
        subsampling: str = "444",
        padding: str = "zero",
        *,
        integer: bool = False,
        device: torch.device | None = None,
    ) -> None:
        super().__init__()
        if subsampling not in SUBSAMPLINGS:
            raise ValueError(f"subsampling must be one of {', '.join(SUBSAMPLINGS)}, got {subsampling!r}")
        if padding not in PADDINGS:
            raise ValueError(f"padding must be one of {', '.join(PADDINGS)}, got {padding!r}")
        self.subsampling = subsampling
        self.padding = padding
        self.integer = integer
        for name, matrix in _matrices(device or torch.get_default_device(), torch.float32).items():
            self.register_buffer(name, matrix, persistent=False)

    def _apply(self, fn: Callable[[torch.Tensor], torch.Tensor], recurse: bool = True) -> BlockTransform:
        """Move to another device or type; the matrices are recomputed, so that they are neither rounded nor empty."""
        super()._apply(fn, recurse)
        for name, matrix in _matrices(self.dct.device, computing_type(self.dct)).items():
            setattr(self, name, matrix)
        return self

    def analyse(self, images: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """Coefficients of float RGB images (N, 3, H, W) in [0, 255].

        Returns:
            4:4:4: one tensor (N, h, w, 3, 64), with h and w in blocks; 4:2:0: luma (N, h, w, 1, 64) and chroma
            (N, h/2, w/2, 2, 64). Frequencies are in row-major order, DC first. float32, or float64 if the images are.
        """
        multiple = BLOCK if self.subsampling == "444" else 2 * BLOCK
        images = images.to(computing_type(images))
        centred = pad_to_multiple(images - LEVEL, multiple, self.padding)
        if self.subsampling == "444" and not self.integer:
            blocks = to_blocks(centred).flatten(3)
            return (_product(blocks, self.forwards.T).unflatten(3, (3, 64)),)
        planes = rgb_to_ycbcr(centred)
        if self.integer:
            planes = torch.round(planes)
        if self.subsampling == "444":
            return (self._forward(planes),)
        return self._forward(planes[:, :1]), self._forward(halve(planes[:, 1:], integer=self.integer))

    def synthesise(
        self, coefficients: tuple[torch.Tensor, ...], size: tuple[int, int], *, channels_last: bool = False
    ) -> torch.Tensor:
        """Float RGB images (N, 3, *size) of coefficients from :meth:`analyse`.

        Unless ``integer``, quantisation errors may move pixels outside [0, 255].
        """
        height, width = size
        if self.subsampling == "444" and not self.integer:
            blocks = _product(coefficients[0].flatten(3), self.backwards.T).unflatten(3, (3, 64))
            return from_blocks(blocks, channels_last=channels_last)[:, :, :height, :width] + LEVEL
        planes = [self._inverse(blocks) for blocks in coefficients]
        if self.subsampling == "420":
            # libjpeg interpolates only between real samples, never towards the padding
            chroma = planes[1][:, :, : -(-height // 2), : -(-width // 2)]
            planes = [plane[:, :, :height, :width] for plane in (planes[0], double(chroma, integer=self.integer))]
        images = ycbcr_to_rgb(torch.cat(planes, dim=1)[:, :, :height, :width]) + LEVEL
        if self.integer:
            images = torch.round(images).clamp(0, 255)
        return images.contiguous(memory_format=torch.channels_last) if channels_last else images

    def _forward(self, planes: torch.Tensor) -> torch.Tensor:
        return _product(to_blocks(planes), self.dct.T)

    def _inverse(self, blocks: torch.Tensor) -> torch.Tensor:
        planes = from_blocks(_product(blocks, self.dct))
        return torch.round(planes).clamp(-LEVEL, LEVEL - 1) if self.integer else planes


class _Product(Derived):
    """x @ matrix for a constant matrix, without autocast even if the backward pass runs under it."""

    @staticmethod
    def forward(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
        with without_autocast(x.device):
            return x @ matrix

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.save_for_backward(inputs[1])
        ctx.save_for_forward(inputs[1])

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        return _product(grads[0], ctx.saved_tensors[0].T), None

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> torch.Tensor:
        return _product(tangents[0], ctx.saved_tensors[0])


def _product(x: torch.Tensor, matrix: torch.Tensor) -> torch.Tensor:
    return apply(_Product, x, matrix.to(x.dtype))


def _mixed(planes: torch.Tensor, weights: tuple[tuple[float, ...], ...]) -> torch.Tensor:
    """Weighted sums of channels (N, C, H, W), with one row of weights per output channel."""
    return _product(planes.movedim(1, 3), planes.new_tensor(weights).T).movedim(3, 1)


def _matrices(device: torch.device, dtype: torch.dtype) -> dict[str, torch.Tensor]:
    """A block's DCT (64, 64), and the combined colour transform and DCT in both directions (192, 192)."""
    block = torch.kron(dct_matrix(), dct_matrix())
    colour, inverse = (torch.tensor(one, dtype=torch.float64, device="cpu") for one in (COLOUR, INVERSE_COLOUR))
    backwards = torch.kron(inverse, block.T.contiguous())
    exact = {"dct": block, "forwards": torch.kron(colour, block), "backwards": backwards}
    return {name: matrix.to(device, dtype) for name, matrix in exact.items()}
