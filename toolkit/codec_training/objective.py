"""The rate-distortion objective and its training batches.

    loss = bits per pixel + lambda x (MSE / variance + w x relative FMSE, mean over layers)

Noise instead of rounding makes the bits differentiable but overestimates them, because it charges constant latents. So
lambda is not fixed but controlled by the bits of rounded latents: it rises while they are below the target rate and
falls while they are above.
"""

from __future__ import annotations

import math
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import torch
from torch import nn

from toolkit.foundation.seeds import derive
from toolkit.training.augment import crop_flip
from toolkit.training.batches import Batch, IndexStream
from toolkit.training.cifar_resnet import pooled
from toolkit.training.networks import Classifier

Features = Callable[[torch.Tensor], list[torch.Tensor]]
_CONTROL = 0.01
"""Integral gain from the relative error of the rate to log lambda."""
_PROPORTIONAL = 0.5
_SMOOTHING = 0.95
_LOWEST, _HIGHEST = math.log(0.05), math.log(5000)
_FLOOR = 1e-6


def expected_weight(rate: float, feature_weight: float) -> float:
    """Initial lambda; if distortion falls by 6 dB per bit per pixel, it is 1 / (2 ln 2 distortion)."""
    return 5 * weight_ratio(rate) / (1 + feature_weight)


def weight_ratio(bits: float) -> float:
    """Factor by which lambda rises for this many more bits per pixel."""
    return 4**bits


class RateDistortion(nn.Module):
    """A codec's network with its training objective.

    Args:
        network: from :func:`toolkit.codecs.neural.networks.build`.
        rate: target bits per pixel; None keeps lambda at ``weight``.
        features: for each image side, a function from images float (N, 3, side, side) in [0, 255] to features of
            several layers; empty without a feature term.
        feature_weight: w.
        weight: initial lambda.
        unsteered: number of steps before the control of lambda starts.

    Attributes:
        log_weight, bits, steps: log lambda, the smoothed rate in bits per pixel, and steps done; buffers, so that
            checkpoints include them.
    """

    log_weight: torch.Tensor
    bits: torch.Tensor
    steps: torch.Tensor

    def __init__(
        self,
        network: Any,
        rate: float | None,
        features: Mapping[int, Features] | None = None,
        feature_weight: float = 0.0,
        weight: float = 20.0,
        unsteered: int = 0,
    ) -> None:
        super().__init__()
        self.network = network
        self._rate, self._features, self._feature_weight = rate, features or {}, feature_weight
        self._unsteered = unsteered
        self.register_buffer("log_weight", torch.tensor(math.log(weight)))
        self.register_buffer("bits", torch.tensor(math.nan))
        self.register_buffer("steps", torch.tensor(0))

    def loss(self, _: nn.Module, batch: Batch) -> torch.Tensor:
        """The objective of one batch; updates lambda in training mode."""
        images = batch.images.float() / 255
        decoded, bits, rounded_bits = self._coded(images)
        distortion = (decoded - images).square().mean() / images.var().clamp(min=_FLOOR)
        if self._features:
            features = self._features[images.shape[-1]]
            with torch.no_grad():
                before = features(255 * images)
            after = features(255 * decoded.clamp(0, 1))
            relative = [_relative(one.float(), other.float()) for one, other in zip(after, before, strict=True)]
            distortion = distortion + self._feature_weight * torch.stack(relative).mean()
        log_weight = self._steer(rounded_bits)
        aside = sum(module.loss() for module in self._bottlenecks() if module.quantiles.requires_grad)
        return bits + log_weight.exp() * distortion + aside

    def _coded(self, images: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor, torch.Tensor]:
        """Decoded images, and bits per pixel with noise and with rounding; entropy models run in float32.

        The decoder gets rounded latents as at inference, with a straight-through gradient for the encoder (Minnen and
        Singh, 2020). With noisy latents a decoder learns to smooth and removes texture that rounding has preserved,
        which hurts networks more than the squared error.
        """
        network = self.network
        pixels = images.shape[0] * images.shape[2] * images.shape[3]
        latents = network.g_a(images).float()
        if not hasattr(network, "h_a"):
            latents, *main = _rounded(network.entropy_bottleneck, latents)
            likelihoods = [main]
        else:
            side, *aside = _rounded(network.entropy_bottleneck, network.h_a(latents.abs()).float())
            latents, *main = _rounded(network.gaussian_conditional, latents, network.h_s(side).float())
            likelihoods = [aside, main]
        noisy, whole = zip(*likelihoods, strict=True)
        return network.g_s(latents).float(), _bits(noisy) / pixels, _bits(whole) / pixels

    @torch.no_grad()
    def _steer(self, bits: torch.Tensor) -> torch.Tensor:
        """The log lambda to use: PI control of the rate; the proportional term limits overshooting."""
        if not self.training:
            return self.log_weight
        self.bits.copy_(torch.where(self.bits.isnan(), bits, _SMOOTHING * self.bits + (1 - _SMOOTHING) * bits))
        self.steps += 1
        if self._rate is None or int(self.steps) <= self._unsteered:
            return self.log_weight
        error = ((self._rate - self.bits) / self._rate).clamp(-1, 1)
        self.log_weight += _CONTROL * error
        self.log_weight.clamp_(_LOWEST, _HIGHEST)
        return self.log_weight + _PROPORTIONAL * error

    def _bottlenecks(self) -> list[Any]:
        return [self.network.entropy_bottleneck]


def layered_features(network: Classifier) -> Features:
    """Features for the feature term: the maps of every stage and the pooled last one, if the network exposes them.

    The pooled features alone are few numbers per image: a codec would learn to preserve them for this network only.
    """
    maps: Any = getattr(network.backbone, "feature_maps", None)
    if maps is None:
        return lambda images: [network.features(images)]

    def features(images: torch.Tensor) -> list[torch.Tensor]:
        stages = maps(network.normalise(images))
        return [*stages, pooled(stages[-1])]

    return features


def _rounded(model: Any, latents: torch.Tensor, *given: torch.Tensor) -> tuple[torch.Tensor, ...]:
    """Rounded latents with a straight-through gradient, and their likelihoods with noise and with rounding."""
    with torch.autocast(latents.device.type, enabled=False):
        noisy = model(latents, *given)[1]
        with torch.no_grad():
            whole, likely = model(latents, *given, training=False)
    return latents + (whole - latents).detach(), noisy, likely


def _relative(after: torch.Tensor, before: torch.Tensor) -> torch.Tensor:
    return (after - before).square().mean() / before.square().mean().clamp(min=_FLOOR)


def _bits(likelihoods: Sequence[torch.Tensor]) -> torch.Tensor:
    return -torch.stack([one.log2().sum() for one in likelihoods]).sum()


class TurnBatches:
    """Batches of randomly flipped images that alternate between the sizes; a pure function of the step.

    Args:
        images: for each size uint8 (N, H, W, 3) on the device.
        batch_size: images per step at the first size; the same number of pixels at the others.
        seed: of order and flips.
    """

    def __init__(self, images: Sequence[torch.Tensor], batch_size: int, seed: int) -> None:
        pixels = batch_size * images[0][0].numel()
        self._turns = [
            (pool, max(1, round(pixels / pool[0].numel())), IndexStream(len(pool), derive(seed, 0, number)))
            for number, pool in enumerate(images)
        ]
        self._seed = seed

    def __call__(self, step: int) -> Batch:
        turn, which = divmod(step, len(self._turns))
        pool, amount, stream = self._turns[which]
        chosen = stream.take(turn * amount, amount)
        generator = torch.Generator().manual_seed(derive(self._seed, 1, step))
        images = crop_flip(pool[chosen.to(pool.device)], generator, pad=0)
        return Batch(images, torch.zeros(amount, dtype=torch.int64, device=pool.device))
