"""Configuration of a training of neural codecs, validated. Imports no torch."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

from toolkit.data.catalog import absolute_spec
from toolkit.features.names import require_extractor
from toolkit.foundation.errors import UsageError
from toolkit.foundation.validation import validated

TrainingSize = Annotated[int, Field(ge=16, le=1024)]
Rate = Annotated[float, Field(ge=0.05, le=12, allow_inf_nan=False)]


class CodecTraining(BaseModel):
    """Everything that changes the result.

    Attributes:
        dataset: only its training images are used; a fifth of them is held out for measurements.
        sizes: sides of the images in pixels; steps alternate between them.
        rates: target bits per pixel, one codec per value.
        steps: optimiser steps per codec.
        channels, latent, stages: width, channels of the latents, and number of downsampling steps.
        feature_weight: w in distortion = MSE / variance of the pixels + w x relative FMSE (mean over layers).
        extractor: feature extractor, one per size if it is trained; unused with a weight of 0.
        batch_size: images per step at the first size; the same number of pixels at the others.
        lr: learning rate of Adam; at least 1e-3 for the entropy model, which must keep up with the transforms.
        afresh: start every rate from principal components; by default all but the first start from the trained codec
            with the nearest rate, and then a small ``lr`` may not reach the new rate.
        adapts: model file whose encoder is adapted, with decoder and entropy model frozen; None trains from scratch.
    """

    model_config = ConfigDict(extra="forbid", frozen=True)

    dataset: Annotated[str, AfterValidator(absolute_spec)]
    sizes: tuple[TrainingSize, ...] = Field((32,), min_length=1)
    rates: tuple[Rate, ...] = Field((0.5, 1.0, 2.0), min_length=1)
    steps: int = Field(5000, ge=1)
    architecture: Literal["factorized", "hyperprior"] = "factorized"
    channels: int = Field(64, ge=8, le=512)
    latent: int = Field(64, ge=4, le=512)
    stages: int = Field(3, ge=2, le=5)
    feature_weight: float = Field(0.0, ge=0, allow_inf_nan=False)
    extractor: str = "auto"
    batch_size: int = Field(64, ge=1, le=4096)
    lr: float = Field(1e-3, gt=0, allow_inf_nan=False)
    afresh: bool = False
    seed: int = Field(0, ge=0)
    device: str = "auto"
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
