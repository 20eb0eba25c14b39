"""Configuration of a training of neural codecs, validated. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from toolkit.data.catalog import absolute_spec
from toolkit.features.names import require_extractor
from toolkit.foundation.errors import UsageError
from toolkit.foundation.validation import validated
from toolkit.runs.choices import Dataset, Device, Extractor, Seed

TrainingSize = Annotated[int, Field(ge=16, le=1024)]
Rate = Annotated[float, Field(ge=0.05, le=12, allow_inf_nan=False)]


class CodecTraining(BaseModel):
    """Everything that changes the result of a training of neural codecs.

    Only training images are used; a fifth of them is held out for measurements. The distortion is the MSE over the
    variance of the pixels plus ``feature_weight`` times the relative FMSE (mean over layers). The entropy model, which
    must keep up with the transforms, is trained with a learning rate of at least 1e-3. Without ``afresh``, all rates
    but the first start from the trained codec with the nearest rate, and a small ``lr`` may not reach the new rate.

    Attributes:
        sizes: sides of the images in pixels; steps alternate between them.
        rates: target bits per pixel, one codec per value.
        adapts: model file whose encoder is adapted, with decoder and entropy model frozen; None trains from scratch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Annotated[Dataset, AfterValidator(absolute_spec)]
    sizes: tuple[TrainingSize, ...] = Field((32,), min_length=1)
    rates: tuple[Rate, ...] = Field((0.5, 1.0, 2.0), min_length=1)
    steps: int = Field(5000, ge=1, description="optimiser steps per codec")
    architecture: Literal["factorized", "hyperprior"] = Field(
        "factorized", description="factorized (default) or hyperprior"
    )
    channels: int = Field(64, ge=8, le=512, description="channels of the network, 64 by default")
    latent: int = Field(64, ge=4, le=512, description="channels of the latents, 64 by default")
    stages: int = Field(3, ge=2, le=5, description="number of downsampling steps, 3 by default")
    feature_weight: float = Field(
        0.0,
        ge=0,
        allow_inf_nan=False,
        description="weight of the relative FMSE next to the relative MSE; 0, or with --continue the file's",
    )
    extractor: Extractor = "auto"
    batch_size: int = Field(64, ge=1, le=4096, description="images per step at the first size; fewer at larger ones")
    lr: float = Field(
        1e-3, gt=0, allow_inf_nan=False, description="learning rate of Adam; at least 0.001 for the entropy model"
    )
    afresh: bool = Field(
        False, description="start every rate from principal components, not from the nearest trained rate"
    )
    seed: Seed = 0
    device: Device = "auto"
    mixed_precision: bool = True
    adapts: str | None = None

    @model_validator(mode="after")
    def _fits_together(self) -> CodecTraining:
        if len(set(self.rates)) != len(self.rates):
            raise ValueError("rates must be distinct")
        if self.adapts is not None and len(self.rates) > 1:
            raise ValueError("a codec can only be adapted at its own rate")
        if self.adapts is not None and self.afresh:
            raise ValueError("an adapted codec starts from its own weights, not afresh")
        if min(self.sizes) < 2**self.stages:
            raise ValueError(f"images of {min(self.sizes)} pixels cannot be downsampled {self.stages} times")
        require_extractor(self.extractor)
        return self

    def file_name(self, rate: float) -> str:
        """Name of the model file for a rate."""
        return Path(self.adapts).name if self.adapts is not None else f"neural-{rate:g}bpp.npz"


def make_codec_config(**values: Any) -> CodecTraining:
    """A validated configuration.

    Raises:
        UsageError: a value is invalid, or values contradict each other.
    """
    return validated(CodecTraining, values)


def parse_numbers(text: str, kind: type[int] | type[float], what: str) -> list[Any]:
    """Parse numbers such as ``0.5,1,2``.

    Raises:
        UsageError: the text is not a list of numbers.
    """
    try:
        return [kind(part) for part in text.split(",") if part.strip()]
    except ValueError:
        raise UsageError(f"{what} must be numbers separated by commas, got {text!r}") from None
