"""The layer through its fused kernels: arguments, gradients, and when the kernels apply.

Needs Triton; only the layer imports this, and only for CUDA tensors. With ``TRITON_INTERPRET=1`` in the environment,
CPU tensors go through Triton's interpreter, for tests.
"""

from __future__ import annotations

import functools
import os
import warnings
from typing import Any, NamedTuple

import torch
import triton
import triton.language as tl
from torch.autograd.function import once_differentiable

from toolkit.jpeg.derivatives import is_transformed
from toolkit.jpeg.precision import computing_type
from toolkit.jpeg.quantizer import index_limit
from toolkit.jpeg.transform import BLOCK, BlockTransform
from toolkit.jpeg.triton_kernels import backward_kernel, forward_kernel, sum_kernel

_INTERPRETED = os.environ.get("TRITON_INTERPRET") == "1"
_TILE, _WARPS, _PROGRAMS = 32, 4, 2
"""Blocks per tile, warps per program, programs per multiprocessor, as its registers allow."""


class _Settings(NamedTuple):
    mode: str
    bits: int
    zero_dc: bool
    scale: float
    """255 divided by the pixel range."""
    hardness: float
    """kappa, used without log_alpha."""

    def launch(self, kernel: Any, images: torch.Tensor, *given: torch.Tensor | None, **more: Any) -> None:
        size = (images.shape[2], images.shape[3])
        with torch.cuda.device_of(images):
            kernel[(_programs(images),)](
                *given,
                self.scale,
                self.hardness,
                _blocks(images),
                size,
                images.stride(),
                SOFT=self.mode == "soft",
                LIMIT=index_limit(self.bits),
                ZERO_DC=self.zero_dc,
                EDGE=bool(size[0] % BLOCK or size[1] % BLOCK),
                TILE=_TILE,
                num_warps=_WARPS,
                num_stages=1,
                enable_fp_fusion=True,
                **more,
            )


class _Fused(torch.autograd.Function):
    """The layer for dense float32 images (N, 3, H, W) and float32 tables; saves only the images."""

    @staticmethod
    def forward(
        ctx: Any,
        images: torch.Tensor,
        steps: torch.Tensor,
        log_alpha: torch.Tensor | None,
        dct: torch.Tensor,
        mean: torch.Tensor | None,
        std: torch.Tensor | None,
        settings: _Settings,
    ) -> torch.Tensor:
        ctx.save_for_backward(images, dct, steps, log_alpha, std)
        ctx.settings = settings
        out = torch.empty_like(images)
        settings.launch(forward_kernel, images, images, out, dct, steps, log_alpha, mean, std)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, *grads: torch.Tensor) -> Any:
        if torch._C._functorch.is_legacy_batchedtensor(grads[0]):
            raise RuntimeError("the fused kernels take one gradient at a time: without vectorize or is_grads_batched")
        images, dct, steps, log_alpha, std = ctx.saved_tensors
        for_images, for_steps, for_alpha = ctx.needs_input_grad[:3]
        grad, programs = grads[0].contiguous(memory_format=_format(images)), _programs(images)
        of_images = torch.empty_like(images) if for_images else None
        of_steps = torch.empty_like(steps) if for_steps else None
        of_alpha = torch.empty_like(log_alpha) if for_alpha else None
        partials = images.new_empty(programs, 4, BLOCK * BLOCK) if for_steps or for_alpha else None
        half = tl.float32 if _INTERPRETED else tl.bfloat16  # the interpreter would multiply bfloat16 as integers
        given = (grad, images, of_images, partials, dct, steps, log_alpha, std)
        ctx.settings.launch(backward_kernel, images, *given, HALF=half, FOR_ALPHA=for_alpha)
        if partials is not None:
            with torch.cuda.device_of(images):
                sum_kernel[(2,)](partials, steps, log_alpha, of_steps, of_alpha, programs, ROWS=64, num_warps=8)
        return of_images, of_steps, of_alpha, None, None, None, None


def _blocks(images: torch.Tensor) -> int:
    return images.shape[0] * -(-images.shape[2] // BLOCK) * -(-images.shape[3] // BLOCK)


def _programs(images: torch.Tensor) -> int:
    cores = torch.cuda.get_device_properties(images.device).multi_processor_count if images.is_cuda else 1
    return min(triton.cdiv(_blocks(images), _TILE), _PROGRAMS * cores)


def _format(images: torch.Tensor) -> torch.memory_format:
    last = images.is_contiguous(memory_format=torch.channels_last) and not images.is_contiguous()
    return torch.channels_last if last else torch.contiguous_format


def available(device: torch.device) -> bool:
    """Whether a device can run the kernels: CUDA from capability 8.0 on (for bfloat16), or the interpreter on a CPU."""
    if device.type == "cuda":
        return torch.cuda.get_device_capability(device) >= (8, 0)
    return device.type == "cpu" and _INTERPRETED


@functools.cache
@torch.inference_mode(False)
@torch.enable_grad()
def _runs(device: torch.device, settings: _Settings, alpha: bool) -> bool:
    """Whether the kernels compile and run on a supported device: a trial on one block, with a warning if they do not.

    A user without, for example, the C compiler that Triton needs is warned once and continues with the eager code.
    """
    try:
        images = torch.zeros(1, 3, BLOCK, BLOCK, device=device, requires_grad=True)
        steps = torch.ones(2, BLOCK, BLOCK, device=device, requires_grad=True)
        log_alpha = torch.zeros(2, device=device, requires_grad=True) if alpha else None
        dct = torch.eye(BLOCK * BLOCK, device=device)
        _Fused.apply(images, steps, log_alpha, dct, None, None, settings).sum().backward()
    except Exception as error:
        warnings.warn(f"JPEGLayer runs without its fused kernels on {device}: {error}", stacklevel=2)
        return False
    return True


class Quantiser(NamedTuple):
    """Settings of the quantiser, as in :class:`~toolkit.jpeg.layer.JPEGLayer`."""

    mode: str
    levels: int | str
    bits: int
    zero_dc: bool
    hardness: float
    pixel_range: float


class OutputNormalisation(NamedTuple):
    """Normalisation of the output: float (3,) each, or None."""

    mean: torch.Tensor | None
    std: torch.Tensor | None


def _serves(images: torch.Tensor, steps: torch.Tensor, transform: BlockTransform, quantiser: Quantiser) -> bool:
    whole = transform.padding == "zero" or not (images.shape[2] % BLOCK or images.shape[3] % BLOCK)
    quantised = quantiser.mode in ("hard", "ste") or (quantiser.mode == "soft" and quantiser.levels == 5)
    single = computing_type(images, steps) == torch.float32
    return transform.subsampling == "444" and not transform.integer and whole and quantised and single


@torch.compiler.disable  # a graph break; the compiler need not trace the kernels
def run(
    images: torch.Tensor,
    steps: torch.Tensor,
    log_alpha: torch.Tensor | None,
    transform: BlockTransform,
    quantiser: Quantiser,
    after: OutputNormalisation,
) -> torch.Tensor | None:
    """The layer's output in float32, or None for settings that need the eager code.

    The kernels support 4:4:4 without rounding; ``soft`` with 5 levels, ``hard`` and ``ste``; and zero padding. They
    compute in float32, for images and tables of any type except float64, and do not support ``torch.func``.

    Args:
        images: (N, 3 or 1, H, W).
        steps: (2, 8, 8).
        log_alpha: (2,); None if alpha depends on the steps, or the mode is not ``soft``.
        transform: the layer's.
        quantiser, after: the other settings of the layer.
    """
    if not images.numel() or not available(images.device) or not _serves(images, steps, transform, quantiser):
        return None
    if any(one is not None and one.numel() != 3 for one in after) or is_transformed(images, steps, log_alpha):
        return None
    mode = quantiser.mode
    settings = _Settings(mode, quantiser.bits, quantiser.zero_dc, 255.0 / quantiser.pixel_range, quantiser.hardness)
    if not _runs(images.device, settings, log_alpha is not None):
        return None
    with torch.set_grad_enabled(mode != "hard" and torch.is_grad_enabled()):
        pixels = images.float().expand(-1, 3, -1, -1)
        pixels = pixels.contiguous(memory_format=_format(pixels))
        rest = (steps, log_alpha, transform.dct, *after)
        return _Fused.apply(pixels, *(None if one is None else one.float() for one in rest), settings)
