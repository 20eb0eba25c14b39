"""The JPEG layer: trainable compression in front of a network, trained with it (arXiv 2410.07081)."""

from __future__ import annotations

import importlib.util
import math
import os
from collections import OrderedDict
from collections.abc import Sequence
from numbers import Real
from typing import Any

import torch
from torch import nn

from toolkit.foundation.channels import by_channel
from toolkit.jpeg import quantizer
from toolkit.jpeg.derivatives import Derived, apply, is_transformed
from toolkit.jpeg.precision import computing_type, without_autocast
from toolkit.jpeg.quantizer import MODES
from toolkit.jpeg.tables import LARGEST, SMALLEST
from toolkit.jpeg.transform import BLOCK, BlockTransform

ALPHA_MODES = ("fixed", "matched", "trained")
FLOATS = (torch.float16, torch.bfloat16, torch.float32, torch.float64)
"""Accepted types of images, besides integers."""
_LUMA_CHROMA = (0, 1, 1)
"""Table index of Y, Cb and Cr."""
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
        steps: initial tables (2, 8, 8), luma and chroma, see :mod:`toolkit.jpeg.tables`; the layer is on their device.
        pixel_range: 1 for images in [0, 1], 255 for [0, 255], float or uint8. The output has the same range.
        mode: ``soft`` (the mean of the random quantiser), ``hard`` (rounding, no gradient), ``ste`` (rounding,
            straight through), ``noise`` (additive uniform), ``sample`` (a draw), ``identity`` (transform only). May be
            set later: ``layer.mode = "hard"``.
        alpha: sharpness of the soft quantiser; 5 in the paper for CIFAR and fine-grained sets.
        alpha_mode: ``fixed``; ``matched``, ``hardness / q**2`` for every step without gradient (the paper's choice for
            ImageNet); or ``trained``, one per table, starting at ``alpha``.
        hardness: of ``matched``; 0.7 in the paper.
        levels, bits: of the quantiser; indices are limited to +-(2**(bits - 1) - 1). Baseline JPEG files hold 11 bits;
            24, the integer precision of float32, never clips even at steps far below 1.
        trainable: whether the steps are parameters.
        zero_dc: set the mean of every block to zero, as a control for layers whose effect is to remove it.
        subsampling, padding, integer: see :class:`~toolkit.jpeg.transform.BlockTransform`; ``integer`` is for ``hard``.
        mean, std: normalisation of the output per channel, in the units of ``pixel_range``; none by default.

    The layer computes in float32, or in float64 if images or tables are float64; the output has the images' type.
    ``.half()`` and ``.bfloat16()`` only round the tables; training them needs float32.

    Raises:
        ValueError: an argument is out of range.
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
        for name, value in (("alpha", alpha), ("hardness", hardness)):
            held = isinstance(value, Real) and 0 < value < math.inf
            _require(held, f"{name} must be positive and finite, got {value!r}")
        quantizer.window_reach(levels, bits)
        self._has_seen_images = False
        self.mode = mode
        self.pixel_range = pixel_range
        self.alpha_mode = alpha_mode
        self.hardness = hardness
        self.levels = levels
        self.bits = bits
        self.zero_dc = zero_dc
        here = steps.device
        self.transform = BlockTransform(subsampling, padding, integer=integer, device=here)
        self.steps = nn.Parameter(steps.detach().clone().float(), requires_grad=trainable)
        log_alpha = torch.full((2,), float(alpha), dtype=torch.float32, device=here).log()
        self.log_alpha = nn.Parameter(log_alpha, requires_grad=alpha_mode == "trained")
        shifts = None if mean is None else by_channel("mean", mean)
        gains = None if std is None else by_channel("std", std, positive=True)
        for name, numbers in (("mean", shifts), ("std", gains)):
            self.register_buffer(name, None if numbers is None else _as_channels(numbers, here))

    @property
    def mode(self) -> str:
        """The quantiser in use."""
        return self._mode

    @mode.setter
    def mode(self, mode: str) -> None:
        _require(mode in MODES, f"mode must be one of {', '.join(MODES)}, got {mode!r}")
        self._mode = mode

    def tables(self) -> torch.Tensor:
        """The steps in use, within [1e-5, 255]: float32 (2, 8, 8), or float64 in a float64 layer."""
        return apply(_Bound, self.steps.to(computing_type(self.steps)))

    def alphas(self) -> torch.Tensor:
        """The sharpness at each step, (2, 8, 8), of the type of :meth:`tables`."""
        if self.alpha_mode == "matched":
            return self.hardness / self.tables().detach().square()
        return self.log_alpha.to(computing_type(self.log_alpha)).exp().view(2, 1, 1).expand(2, BLOCK, BLOCK)

    def parameter_groups(self, lr: float = 0.003, alpha_lr: float | None = None) -> list[dict[str, Any]]:
        """Optimiser groups without weight decay; the paper uses Adam with 0.003 (CIFAR) or 0.005 (fine-grained)."""
        rates = ((self.steps, lr), (self.log_alpha, lr if alpha_lr is None else alpha_lr))
        return [{"params": [one], "lr": rate, "weight_decay": 0.0} for one, rate in rates if one.requires_grad]

    def forward(self, images: torch.Tensor) -> torch.Tensor:
        """Images (N, 3, H, W), or grey (N, 1, H, W), to (N, 3, H, W).

        The output has the type of floating-point images; for integers, the type of the steps.

        Raises:
            ValueError: another shape or type, sides below 8, or pixels outside ``pixel_range``.
        """
        self._require_images(images)
        found = self._fused(images)
        if found is None:
            with without_autocast(images.device):
                found = self._eager(images)
        return found.to(images.dtype if images.is_floating_point() else self.steps.dtype)

    def _eager(self, images: torch.Tensor) -> torch.Tensor:
        dtype = computing_type(images, self.steps)
        pixels = images.to(dtype).expand(-1, 3, -1, -1)
        scale = 255.0 / self.pixel_range
        coefficients = self.coefficients(pixels * scale if scale != 1 else pixels)
        tables, alphas = (one.to(dtype).flatten(1) for one in (self.tables(), self.alphas()))
        quantised = tuple(self._quantise(z, tables, alphas) for z in coefficients)
        out = self.transform.synthesise(
            quantised, (images.shape[2], images.shape[3]), channels_last=_is_channels_last(images)
        )
        out = out / scale if scale != 1 else out
        if self.mean is not None:
            out = out - self.mean.to(dtype)
        return out if self.std is None else out / self.std.to(dtype)

    def _fused(self, images: torch.Tensor) -> torch.Tensor | None:
        """The output through one Triton kernel per direction, on CUDA devices for supported settings, or None."""
        if not _HAS_TRITON or not (images.is_cuda or _INTERPRETED):
            return None
        from toolkit.jpeg import fused

        log_alpha = self.log_alpha if self.mode == "soft" and self.alpha_mode != "matched" else None
        quantiser = fused.Quantiser(self.mode, self.levels, self.bits, self.zero_dc, self.hardness, self.pixel_range)
        after = fused.OutputNormalisation(self.mean, self.std)
        return fused.run(images, self.steps, log_alpha, self.transform, quantiser, after)

    def coefficients(self, pixels: torch.Tensor) -> tuple[torch.Tensor, ...]:
        """The coefficients before quantisation of float RGB images (N, 3, H, W) in [0, 255]; see ``analyse``."""
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
        _require(isinstance(images, torch.Tensor), f"images must be a tensor, got {type(images).__name__}")
        if images.dim() != 4 or images.shape[1] not in (1, 3):
            raise ValueError(f"images must be (N, 3, H, W) or (N, 1, H, W), got {tuple(images.shape)}")
        if min(images.shape[2:]) < BLOCK:
            raise ValueError(f"images must be at least {BLOCK} x {BLOCK}, got {images.shape[2]} x {images.shape[3]}")
        odd = images.is_complex() or (images.is_floating_point() and images.dtype not in FLOATS)
        if odd or images.layout != torch.strided:
            found = f"{images.dtype}, {images.layout}"
            raise ValueError(f"images must be dense, of integers or 16 to 64 bit floating point, got {found}")
        if torch.jit.is_tracing() and torch.onnx.is_in_onnx_export():
            raise ValueError("the TorchScript exporter cannot take a JPEGLayer: torch.onnx.export(dynamo=True) can")
        if torch.compiler.is_compiling() or images.device.type != "cpu" or not images.numel() or is_transformed(images):
            return  # the values cannot be read, or only with a device synchronisation
        low, high = (float(bound) for bound in torch.aminmax(images.detach()))
        slack = 0.02 * self.pixel_range
        if not (-slack <= low and high <= self.pixel_range + slack):
            raise ValueError(f"pixels must lie in [0, {self.pixel_range}], got [{low:g}, {high:g}]")
        # later batches may be dark legitimately, such as a black image under attack
        if not self._has_seen_images and self.pixel_range == 255 and 0 < high <= 1 and bool((images % 1).any()):
            raise ValueError(f"pixels must lie in [0, 255], got [{low:g}, {high:g}]: did you mean pixel_range=1?")
        self._has_seen_images = True

    def extra_repr(self) -> str:
        return f"mode={self._mode}, pixel_range={self.pixel_range}, alpha={self.alpha_mode}, bits={self.bits}"


def prepend(network: nn.Module, layer: nn.Module) -> nn.Sequential:
    """``network`` preceded by ``layer``, as the submodules ``.layer`` and ``.network``."""
    return nn.Sequential(OrderedDict(layer=layer, network=network))


class _Bound(Derived):
    """Clamping that passes gradients that move a value back inside (like CompressAI's lower bound).

    A tangent, which has no such direction, passes only inside the bounds.
    """

    @staticmethod
    def forward(steps: torch.Tensor) -> torch.Tensor:
        return steps.clamp(SMALLEST, LARGEST)

    @staticmethod
    def setup_context(ctx: Any, inputs: tuple[Any, ...], output: torch.Tensor) -> None:
        ctx.save_for_backward(*inputs)
        ctx.save_for_forward(*inputs)

    @staticmethod
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        (grad,) = grads
        (steps,) = ctx.saved_tensors
        passes = ((steps >= SMALLEST) | (grad < 0)) & ((steps <= LARGEST) | (grad > 0))
        return grad * passes

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> torch.Tensor:
        (steps,) = ctx.saved_tensors
        return tangents[0] * ((steps >= SMALLEST) & (steps <= LARGEST))


def _is_channels_last(images: torch.Tensor) -> bool:
    if is_transformed():  # unknown under vmap
        return False
    return images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()


def _require(holds: bool, otherwise: str) -> None:
    if not holds:
        raise ValueError(otherwise)


def _require_steps(steps: torch.Tensor) -> None:
    _require(isinstance(steps, torch.Tensor), f"steps must be a tensor (2, 8, 8), got {type(steps).__name__}")
    _require(not steps.is_complex(), f"steps must be real, got {steps.dtype}")
    _require(tuple(steps.shape) == (2, BLOCK, BLOCK), f"steps must be (2, 8, 8), got {tuple(steps.shape)}")
    if steps.is_meta:
        return
    values = steps.detach().float()
    held = bool(torch.isfinite(values).all()) and float(values.min()) > 0 and float(values.max()) <= LARGEST
    _require(held, f"steps must be in (0, 255], got {float(values.min()):g} to {float(values.max()):g}")


def _as_channels(numbers: tuple[float, ...], device: torch.device) -> torch.Tensor:
    return torch.tensor(numbers, dtype=torch.float32, device=device).view(1, -1, 1, 1)
