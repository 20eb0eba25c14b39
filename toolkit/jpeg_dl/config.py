"""Configuration of a training with the JPEG layer: every field that changes its result, validated. Imports no torch."""

from __future__ import annotations

import re
from typing import Annotated, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, field_validator

from toolkit.codecs.spec import parse_codec, short_spec
from toolkit.data.catalog import absolute_spec, short_name
from toolkit.foundation.errors import UsageError
from toolkit.foundation.image_size import parse_image_size
from toolkit.foundation.validation import digest, validated
from toolkit.runs.choices import Dataset, Size
from toolkit.runs.request import readable
from toolkit.training.network_spec import CIFAR_RESNETS, parse_network

CONTROLS = {
    "standard": "standard tables at the learned tables' rate, fixed, hard rounding",
    "zero-dc": "no quantisation, mean of every block removed",
    "ste": "hard rounding with straight-through gradients, tables trained",
    "noise": "additive uniform noise instead of the soft quantiser, tables trained",
    "unclipped": "indices of 24 bits, so that no coefficient is clipped; otherwise as the layer",
}
"""Networks that the layer is compared with, besides the plain network."""
INITIALISERS = ("ones", "quality=Q", "sensitivity", "magnitude", "laplace")
_QUALITY = re.compile(r"quality=(\d{1,3})")


class JPEGConfig(BaseModel):
    """One training with the layer, without its seed.

    Attributes:
        init: initial tables, one of ``INITIALISERS``.
        largest: largest initial step with ``sensitivity``.
        alpha, alpha_mode, hardness, bits, subsampling: of the layer; at least 3 bits, for its 5 levels.
        table_lr: learning rate of the tables' Adam; it follows the network's schedule.
        rate_weight: lambda in loss = cross entropy + lambda * bits per pixel; 0 for none.
        start: initial weights of the layered network: untrained (``scratch``) or the plain network's (``plain``).
        freeze: train the tables only; the network keeps its initial weights.
        variants: networks to train: ``plain`` first, then ``jpeg`` and any of ``CONTROLS``.
        codec: codec already applied to training and test images; ``raw`` for none.
        held_out: test on a held-out fifth of the training images instead of the test split, for making choices.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Annotated[Dataset, AfterValidator(absolute_spec)]
    size: Size = 64
    network: str = Field("resnet20", description="resnet8|20|32|56 or timm:NAME")
    init: str = Field("sensitivity", description="initial tables: ones, quality=Q, sensitivity, magnitude or laplace")
    largest: float = Field(10.0, gt=0, le=255, description="largest initial step with init sensitivity")
    alpha: float = Field(5.0, gt=0, allow_inf_nan=False, description="sharpness of the soft quantiser")
    alpha_mode: Literal["fixed", "matched", "trained"] = Field(
        "fixed", description="alpha: fixed, matched (hardness / q^2) or trained"
    )
    hardness: float = Field(0.7, gt=0, allow_inf_nan=False, description="hardness for alpha mode matched")
    bits: int = Field(
        8, ge=3, le=12, description="bit width of quantisation indices, 3..12 (paper: 8; 12 never clips for steps >= 1)"
    )
    subsampling: Literal["444", "420"] = Field("444", description="chroma subsampling: 444 or 420")
    steps: int = Field(1000, ge=1, description="optimiser steps per network")
    batch_size: int = Field(64, ge=2, description="images per step")
    lr: float = Field(0.1, gt=0, allow_inf_nan=False, description="learning rate of the network's SGD")
    weight_decay: float = Field(5e-4, ge=0, allow_inf_nan=False, description="weight decay of the network's SGD")
    table_lr: float = Field(0.005, gt=0, allow_inf_nan=False, description="learning rate of the tables' Adam")
    rate_weight: float = Field(
        0.0, ge=0, allow_inf_nan=False, description="lambda in loss = cross entropy + lambda * bits per pixel"
    )
    start: Literal["scratch", "plain"] = Field(
        "scratch",
        description="initial weights of the layered network: scratch, or plain for the plain network's",
    )
    freeze: bool = Field(False, description="train the tables only (with --start plain)")
    variants: tuple[str, ...] = ("plain", "jpeg", *CONTROLS)
    codec: Annotated[str, AfterValidator(lambda spec: str(parse_codec(spec)))] = Field(
        "raw", description="codec already applied to training and test images"
    )
    held_out: bool = Field(False, description="test on a held-out fifth of the training images, for making choices")
    device: Literal["auto", "cpu", "cuda"] = Field("auto", description="auto, cpu or cuda")
    checkpoint_every: int = Field(100, ge=1)

    @field_validator("network")
    @classmethod
    def _known_network(cls, network: str) -> str:
        if network not in CIFAR_RESNETS and not network.startswith("timm:"):
            raise ValueError(f"must be {', '.join(CIFAR_RESNETS)} or timm:NAME")
        return str(parse_network(network))

    @field_validator("init")
    @classmethod
    def _known_initialiser(cls, init: str) -> str:
        quality = _QUALITY.fullmatch(init)
        if init not in INITIALISERS[:1] + INITIALISERS[2:] and not (quality and 1 <= int(quality[1]) <= 100):
            raise ValueError(f"must be one of {', '.join(INITIALISERS)} with Q from 1 to 100")
        return init

    @field_validator("variants")
    @classmethod
    def _known_variants(cls, variants: tuple[str, ...]) -> tuple[str, ...]:
        known = ("plain", "jpeg", *CONTROLS)
        if unknown := [name for name in variants if name not in known]:
            raise ValueError(f"{unknown[0]} is not one of {', '.join(known)}")
        if variants[:1] != ("plain",) or len(set(variants)) != len(variants):
            raise ValueError("plain must come first, because the others are compared with it; names must be distinct")
        if "standard" in variants and "jpeg" not in variants[: variants.index("standard")]:
            raise ValueError("standard uses the rate of jpeg, which must come before it")
        return variants

    @property
    def quality(self) -> int | None:
        """The quality of the initial standard tables; None for other tables."""
        match = _QUALITY.fullmatch(self.init)
        return int(match[1]) if match else None

    def rough_seconds(self) -> float:
        """Estimated seconds for one seed on one CPU core, to within a factor of three."""
        step = 0.15 * (parse_image_size(self.size).pixels / 32**2) * self.batch_size / 64
        layers = re.fullmatch(r"resnet(\d+)", self.network)
        depth = int(layers[1]) / 8 if layers else 3.0
        return step * depth * self.steps * len(self.variants)

    def plain_name(self, seed: int) -> str:
        """Name of the plain network: the same for all configurations that train it identically."""
        alike = (
            "dataset",
            "size",
            "network",
            "steps",
            "batch_size",
            "lr",
            "weight_decay",
            "codec",
            "held_out",
            "device",
        )
        return f"plain-{digest(self, alike)}-s{seed}"

    def run_name(self, seed: int) -> str:
        """Name of the run folder: readable, and the same for the same configuration and seed."""
        codec = f"-{short_spec(self.codec)}" if self.codec != "raw" else ""
        rate = f"-rate-{self.rate_weight:g}" if self.rate_weight else ""
        words = f"{short_name(self.dataset)}{codec}-{self.init}{rate}"
        return f"jpeg-{readable(words, 80)}-{digest(self)}-s{seed}"


def make_jpeg_config(**values: object) -> JPEGConfig:
    """A validated configuration.

    Raises:
        UsageError: a value is invalid; one line says which.
    """
    config = validated(JPEGConfig, values)
    if config.freeze and config.start != "plain":
        raise UsageError("freeze needs start=plain: an untrained network gives tables no useful gradient")
    return config
