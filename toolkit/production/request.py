"""The choices for building a memory, as data. No torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated

from pydantic import Field

from toolkit.runs.choices import Budget, Codec, Dataset, Device, Extractor, Seed, Size


@dataclass(frozen=True)
class MemoryRequest:
    """Everything that decides which exemplars a new memory holds; see ``recallrate memory build --help``."""

    dataset: Dataset
    codec: Codec
    budget: Budget
    size: Size = 32
    selection: Annotated[str, Field(description="herding or random")] = "herding"
    extractor: Extractor = "auto"
    seed: Seed = 0
    device: Device = "auto"
