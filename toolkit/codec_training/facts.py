"""The result of a training of neural codecs: ``training.json`` and the ``neural train`` JSON."""

from __future__ import annotations

from collections.abc import Mapping
from typing import NotRequired, TypedDict

TrainedObjective = TypedDict("TrainedObjective", {"lambda": float, "estimated_bpp": float, "seconds": float})
"""Final lambda, smoothed estimate of the rate, and training time of one codec."""


class CodecMeasurement(TypedDict):
    """One codec on the held-out images of one size, from real streams; the FMSE only with a feature weight."""

    size: int
    images: int
    shared_bytes: int
    bpp: float
    psnr: float
    fmse_relative: NotRequired[float]


class CodecFacts(TypedDict):
    """A model file: its name, target rate, decoder digest, bytes, and measurements per image size."""

    file: str
    rate: float
    decoder: str
    file_bytes: int
    weights_bytes: int
    measured: list[CodecMeasurement]


class TrainedCodec(TrainedObjective, CodecFacts):
    """Everything about one trained codec."""


class CodecTrainingResult(TypedDict):
    """The configuration, and one entry per finished codec."""

    config: Mapping[str, object]
    codecs: list[TrainedCodec]
