"""The JPEG layer: a trainable compression in front of a network, trained with it (arXiv 2410.07081)."""

from __future__ import annotations

import importlib.util
import os
from collections import OrderedDict
from collections.abc import Sequence
from typing import Any

import torch
from torch import nn

from toolkit.jpeg import quantizer
from toolkit.jpeg.quantizer import MODES
from toolkit.jpeg.tables import LARGEST, SMALLEST
from toolkit.jpeg.transform import BLOCK, BlockTransform

ALPHA_MODES = ("fixed", "matched", "trained")
_LUMA_CHROMA = (0, 1, 1)
"""Which table quantises Y, Cb and Cr."""
_HAS_TRITON = importlib.util.find_spec("triton") is not None  # not on Windows and macOS
_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"


class JPEGLayer(nn.Module):
    """Images through JPEG's transform, a quantiser with trainable steps, and back.

    ```
    x -> [0, 255] -> YCbCr -> DCT -> quantise (steps, alpha) -> IDCT -> RGB -> [x's range] -> (x - mean) / std
    ```

    In front of a timm network that expects normalised images::

        network = timm.create_model("resnet18", num_classes=17)
        layer = JPEGLayer(standard_tables(75), pixel_range=1, mean=IMAGENET_MEAN, std=IMAGENET_STD)
        model = prepend(network, layer)
        optimizer = torch.optim.Adam([{"params": network.parameters()}, *layer.parameter_groups(lr=0.005)], lr=1e-3)
        logits = model(torch.rand(8, 3, 224, 224))

    Args:
        steps: initial tables (2, 8, 8), luma and chroma, see :mod:`toolkit.jpeg.tables`.
        pixel_range: 1 for images in [0, 1], 255 for [0, 255], float or uint8. The output has the same range.
        mode: ``soft`` (the mean of the random quantiser), ``hard`` (rounding, no gradient), ``ste`` (rounding,
            straight through), ``noise`` (additive uniform), ``sample`` (a draw), ``identity`` (transform only). May be
            set later: ``layer.mode = "hard"``.
        alpha: sharpness of the soft quantiser; 5 in the paper for CIFAR and fine-grained sets.
        alpha_mode: ``fixed``; ``matched``, ``hardness / q**2`` at every step without gradient (the paper's for
            ImageNet); or ``trained``, one a table, starting at ``alpha``.
        hardness: of ``matched``; 0.7 in the paper.
        levels, bits: of the quantiser; indices are limited to +-(2**(bits - 1) - 1). Baseline JPEG files hold 11 bits;
            24, all that a float32 can count, clip nothing even at steps far below 1.
        trainable: whether the steps are parameters.
        zero_dc: set every block's mean to zero: the control for a layer that works by removing it.
        subsampling, padding, integer: see :class:`~toolkit.jpeg.transform.BlockTransform`; ``integer`` is for ``hard``.
        mean, std: normalisation of the output per channel, in the units of ``pixel_range``; none by default.

    Raises:
        ValueError: any of these outside what is accepted.
    """

    mean: torch.Tensor | None
    std: torch.Tensor | None

    def __init__(
        self,
        steps: torch.Tensor,
        *,
        pixel_range: int = 255,
        mode: str = "soft",
        alpha: float = 5.0,
        alpha_mode: str = "fixed",
        hardness: float = 0.7,
        levels: int | str = 5,
        bits: int = 8,
        trainable: bool = True,
        zero_dc: bool = False,
        subsampling: str = "444",
        padding: str = "zero",
        integer: bool = False,
        mean: Sequence[float] | None = None,
        std: Sequence[float] | None = None,
    ) -> None:
        super().__init__()
        _require_steps(steps)
        _require(pixel_range in (1, 255), f"pixel_range must be 1 or 255, got {pixel_range!r}")
        _require(alpha_mode in ALPHA_MODES, f"alpha_mode must be one of {', '.join(ALPHA_MODES)}, got {alpha_mode!r}")
        _require(0 < alpha < float("inf"), f"alpha must be positive and finite, got {alpha}")
        _require(0 < hardness < float("inf"), f"hardness must be positive and finite, got {hardness}")
        _require(2 <= bits <= 24, f"bits must be 2..24, got {bits}")
        quantizer.window_reach(levels, bits)
        self._has_seen_images = False
        self.mode = mode
        self.pixel_range = pixel_range
        self.alpha_mode = alpha_mode
        self.hardness = hardness
        self.levels = levels
        self.bits = bits
        self.zero_dc = zero_dc
        self.transform = BlockTransform(subsampling, padding, integer=integer)
        self.steps = nn.Parameter(steps.detach().clone().float(), requires_grad=trainable)
        self.log_alpha = nn.Parameter(torch.full((2,), alpha).log(), requires_grad=alpha_mode == "trained")
        self.register_buffer("mean", None if mean is None else torch.tensor(tuple(mean)).view(1, -1, 1, 1))
        self.register_buffer("std", None if std is None else torch.tensor(tuple(std)).view(1, -1, 1, 1))

    @property
    def mode(self) -> str:
        """The quantiser in use."""
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        _require(mode in MODES, f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        self._mode = mode

    def tables(self) -> torch.Tensor:
        """The steps in use, within [1e-5, 255], float (2, 8, 8)."""
        return _bounded(self.steps)

    def alphas(self) -> torch.Tensor:
        """The sharpness of each step, float (2, 8, 8)."""
        if self.alpha_mode == "matched":
            return self.hardness / self.tables().detach().square()
        return self.log_alpha.exp().view(2, 1, 1).expand(2, BLOCK, BLOCK)

    def parameter_groups(self, lr: float = 0.003, alpha_lr: float | None = None) -> list[dict[str, Any]]:
        """Groups for an optimiser, without weight decay; the paper uses Adam, 0.003 (CIFAR) or 0.005 (fine-grained)."""
        rates = ((self.steps, lr), (self.log_alpha, lr if alpha_lr is None else alpha_lr))
        return [{"params": [one], "lr": rate, "weight_decay": 0.0} for one, rate in rates if one.requires_grad]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W), or (N, 1, H, W) taken as grey, to float32 (N, 3, H, W).

        Raises:
            ValueError: another shape, sides below 8, or pixels outside ``pixel_range``.
        """
        self._require_images(images)
        found = self._fused(images)
        if found is not None:
            return found
        size = (images.shape[2], images.shape[3])
        channels_last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
        with torch.autocast(images.device.type, enabled=False):  # bfloat16 has 8 bits for 11-bit coefficients
            pixels = images.float().expand(-1, 3, -1, -1)
            scale = 255.0 / self.pixel_range
            coefficients = self.coefficients(pixels * scale if scale != 1 else pixels)
            tables, alphas = self.tables().flatten(1), self.alphas().flatten(1)
            quantised = tuple(self._quantise(z, tables, alphas) for z in coefficients)
            out = self.transform.synthesise(quantised, size, channels_last=channels_last)
            out = out / scale if scale != 1 else out
            if self.mean is not None:
                out = out - self.mean
            return out if self.std is None else out / self.std

    def _fused(self, images: torch.Tensor) -> torch.Tensor | None:
        """The output by one Triton kernel each way, on CUDA devices and for the settings that it knows."""
        if not _HAS_TRITON or not (images.is_cuda or _INTERPRETED):
            return None
        from toolkit.jpeg import fused

        return fused.run(self, images)

    def coefficients(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The coefficients to be quantised, of float RGB images (N, 3, H, W) in [0, 255]; see ``analyse``."""
        return self.transform.analyse(pixels)

    def _quantise(self, coefficients: torch.Tensor, tables: torch.Tensor, alphas: torch.Tensor) -> torch.Tensor:
        which = list(_LUMA_CHROMA[: coefficients.shape[3]] if coefficients.shape[3] != 2 else _LUMA_CHROMA[1:])
        z, q, alpha = coefficients.flatten(0, 2), tables[which], alphas[which]
        if self._mode == "soft":
            out = quantizer.soft_quantize(z, q, alpha, self.levels, self.bits)
        elif self._mode == "hard":
            out = quantizer.hard_quantize(z, q, self.bits)
        elif self._mode == "ste":
            out = quantizer.straight_through(z, q, self.bits)
        elif self._mode == "noise":
            out = quantizer.additive_noise(z, q)
        elif self._mode == "sample":
            out = quantizer.sample_quantize(z, q, alpha, self.levels, self.bits)
        else:
            out = z
        if self.zero_dc:
            out = out * (torch.arange(BLOCK * BLOCK, device=out.device) > 0)
        return out.view_as(coefficients)

    def _require_images(self, images: torch.Tensor) -> None:
        if images.dim() != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"images must be (N, 3, H, W) or (N, 1, H, W), got {tuple(images.shape)}")
        if min(images.shape[2:]) < BLOCK:
            raise ValueError(f"images must be at least {BLOCK} x {BLOCK}, got {images.shape[2]} x {images.shape[3]}")
        if torch.compiler.is_compiling() or images.device.type != "cpu" or not images.numel():
            return  # looking at the values would make the device wait
        low, high = (float(bound) for bound in torch.aminmax(images.detach()))
        slack = 0.02 * self.pixel_range
        if not (-slack <= low and high <= self.pixel_range + slack):
            raise ValueError(f"pixels must lie in [0, {self.pixel_range}], got [{low:g}, {high:g}]")
        # later batches may be dark for good reasons, such as a black image under attack
        if not self._has_seen_images and self.pixel_range == 255 and 0 < high <= 1 and bool((images % 1).any()):
            raise ValueError(f"pixels must lie in [0, 255], got [{low:g}, {high:g}]: is it pixel_range=1?")
        self._has_seen_images = True

    def extra_repr(self) -> str:
        return f"mode={self._mode}, pixel_range={self.pixel_range}, alpha={self.alpha_mode}, bits={self.bits}"


def prepend(network: nn.Module, layer: nn.Module) -> nn.Sequential:
    """``network`` behind ``layer``; its parts keep their names: ``.layer`` and ``.network``."""
    return nn.Sequential(OrderedDict(layer=layer, network=network))


class _Bound(torch.autograd.Function):
    """Clamping that lets a gradient pass which would bring a value back inside (as CompressAI's lower bound does)."""

    @staticmethod
    def forward(ctx: Any, steps: torch.Tensor) -> torch.Tensor:
        ctx.save_for_backward(steps)
        return steps.clamp(SMALLEST, LARGEST)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (grad,) = grads
        (steps,) = ctx.saved_tensors
        passes = ((steps >= SMALLEST) | (grad < 0)) & ((steps <= LARGEST) | (grad > 0))
        return grad * passes


def _bounded(steps: torch.Tensor) -> torch.Tensor:
    return _Bound.apply(steps)


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _require_steps(steps: torch.Tensor) -> None:
    _require(tuple(steps.shape) == (2, BLOCK, BLOCK), f"steps must be (2, 8, 8), got {tuple(steps.shape)}")
    values = steps.detach().float()
    held = bool(torch.isfinite(values).all()) and float(values.min()) > 0 and float(values.max()) <= LARGEST
    _require(held, f"steps must be in (0, 255], got {float(values.min()):g} to {float(values.max()):g}")
