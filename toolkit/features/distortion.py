"""Distortion of decoded images, in features and in pixels: pure functions of two tensors.

Conventions: the first argument is the original; ``reduction`` is ``none`` (one value per image), ``mean`` or ``sum``.
"""

from __future__ import annotations

import math
from collections.abc import Iterator

import torch
from torch.nn import functional
from torchmetrics.functional.image import structural_similarity_index_measure

_PIXELS = 2**19
"""Pixels compared at a time: SSIM keeps five filtered copies of them in float32."""
PSNR_CAP = 100.0
"""PSNR in dB of images without error, so that means stay finite."""


def _reduce(values: torch.Tensor, reduction: str) -> torch.Tensor:
    if reduction == "none":
        return values
    if reduction == "mean":
        return values.mean()
    if reduction == "sum":
        return values.sum()
    raise ValueError(f"reduction must be none, mean or sum, got {reduction!r}")


def _require_alike(original: torch.Tensor, decoded: torch.Tensor, dimensions: int) -> None:
    if original.shape != decoded.shape or original.ndim != dimensions:
        raise ValueError(
            f"expected two tensors of the same shape with {dimensions} dimensions, "
            f"got {tuple(original.shape)} and {tuple(decoded.shape)}"
        )


def _parts(original: torch.Tensor, decoded: torch.Tensor) -> Iterator[tuple[torch.Tensor, torch.Tensor]]:
    """Images (N, H, W, 3) of both, float32, :data:`_PIXELS` at a time."""
    each = max(1, _PIXELS // max(1, math.prod(original.shape[1:3])))
    for one, other in zip(original.split(each), decoded.split(each), strict=True):
        yield one.float(), other.float()


def fmse(original: torch.Tensor, decoded: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Feature mean squared error: the mean over feature dimensions of the squared difference (2403.06288).

    Args:
        original, decoded: features, float (N, D).
        reduction: over images.
    """
    _require_alike(original, decoded, 2)
    return _reduce((original - decoded).square().mean(dim=1), reduction)


def relative_fmse(original: torch.Tensor, decoded: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """FMSE divided by the mean square of the original features, so that networks can be compared.

    0 for identical features, 1 if all decoded features are zero.
    """
    _require_alike(original, decoded, 2)
    scale = original.square().mean().clamp_min(torch.finfo(original.dtype).tiny)
    return fmse(original, decoded, reduction) / scale


def cosine_distance(original: torch.Tensor, decoded: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """1 - cosine similarity of the feature vectors, float (N, D): 0 (same direction) to 2 (opposite)."""
    _require_alike(original, decoded, 2)
    return _reduce(1 - functional.cosine_similarity(original, decoded, dim=1), reduction)


def unbiased_hsic(k: torch.Tensor, l: torch.Tensor) -> torch.Tensor:  # noqa: E741 - K and L are the paper's names
    """Unbiased estimator of HSIC from two Gram matrices (N, N), N >= 4 (Song et al., JMLR 2012, equation 5)."""
    n = len(k)
    if n < 4 or k.shape != (n, n) or l.shape != (n, n):
        raise ValueError(f"expected two square Gram matrices of equal size, at least 4, got {k.shape} and {l.shape}")
    k, l = k.clone().fill_diagonal_(0), l.clone().fill_diagonal_(0)  # noqa: E741
    k_sums, l_sums = k.sum(dim=0), l.sum(dim=0)
    trace = (k * l).sum()
    corner = k_sums.sum() * l_sums.sum() / ((n - 1) * (n - 2))
    cross = 2 / (n - 2) * (k_sums @ l_sums)
    return (trace + corner - cross) / (n * (n - 3))


class LinearCKA:
    """Linear centred kernel alignment with the unbiased HSIC, averaged over minibatches (Nguyen et al., ICLR 2021).

    In expectation, the estimate does not depend on the batch size. 1: same geometry up to rotation and scale.
    """

    def __init__(self) -> None:
        self._xy = self._xx = self._yy = torch.zeros((), dtype=torch.float64)

    def update(self, original: torch.Tensor, decoded: torch.Tensor) -> None:
        """Add a minibatch of features, float (N, D) each, N >= 4."""
        x, y = original.double().cpu(), decoded.double().cpu()
        x, y = x - x.mean(dim=0), y - y.mean(dim=0)  # HSIC ignores a shift; centred constants give exact zeros
        k, l = x @ x.T, y @ y.T  # noqa: E741
        self._xy = self._xy + unbiased_hsic(k, l)
        self._xx = self._xx + unbiased_hsic(k, k)
        self._yy = self._yy + unbiased_hsic(l, l)

    def compute(self) -> float:
        """The alignment so far; NaN if either side is constant."""
        product = self._xx * self._yy
        return float(self._xy / product.sqrt()) if product > 0 else float("nan")


def linear_cka(original: torch.Tensor, decoded: torch.Tensor) -> float:
    """Linear CKA of all features at once, float (N, D) each, N >= 4; see :class:`LinearCKA`."""
    cka = LinearCKA()
    cka.update(original, decoded)
    return cka.compute()


def psnr(original: torch.Tensor, decoded: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Peak signal-to-noise ratio in dB of 8-bit images; :data:`PSNR_CAP` for images without error.

    Args:
        original, decoded: uint8 or float in [0, 255], (N, H, W, 3).
        reduction: over images.
    """
    _require_alike(original, decoded, 4)
    error = torch.cat([(one - other).square().mean(dim=(1, 2, 3)) for one, other in _parts(original, decoded)])
    decibels = 10 * torch.log10(255.0**2 / error.clamp_min(1e-12))
    return _reduce(decibels.clamp_max(PSNR_CAP), reduction)


def ssim(original: torch.Tensor, decoded: torch.Tensor, reduction: str = "mean") -> torch.Tensor:
    """Structural similarity (Wang et al., 2004; 11-tap Gaussian window) of 8-bit images, by torchmetrics.

    Exactly 1 for identical images, even of flat colours, where rounding errors would prevent it.

    Args:
        original, decoded: uint8 or float in [0, 255], (N, H, W, 3).
        reduction: over images.
    """
    _require_alike(original, decoded, 4)
    parts = [
        structural_similarity_index_measure(
            other.permute(0, 3, 1, 2), one.permute(0, 3, 1, 2), data_range=255.0, reduction="none"
        )
        for one, other in _parts(original, decoded)
    ]
    values = torch.cat([torch.as_tensor(part).reshape(-1) for part in parts])
    alike = (original == decoded).flatten(1).all(dim=1)
    return _reduce(torch.where(alike, 1.0, values), reduction)
