"""The results of trainings with the JPEG layer, attacks and exports, as models: what pages rely on. No torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import Field, model_validator

from toolkit.runs.contents import Contents, Count, Number, Result, Share

Row = Annotated[list[Number], Field(min_length=8, max_length=8)]
StepTable = Annotated[list[Row], Field(min_length=8, max_length=8)]


class Planes(Contents):
    """A table for each plane."""

    luma: StepTable
    chroma: StepTable


class Responses(Contents):
    initial: Planes
    final: Planes


class Clipped(Contents):
    luma: Share
    luma_dc: Share
    chroma: Share


class ClipRates(Contents):
    final: Clipped


class VariantRecord(Contents):
    """What one network came to; tables and what comes with them where it has a layer with steps."""

    accuracy: Share
    soft_accuracy: Share | None = None
    hard_accuracy: Share | None = None
    bits_per_pixel: Number | None = None
    tables: Planes | None = None
    initial_tables: Planes | None = None
    clip_rate: ClipRates | None = None
    frequency_response: Responses | None = None

    @model_validator(mode="after")
    def _tables_in_full(self) -> Self:
        if self.tables is not None and (self.initial_tables is None or self.clip_rate is None):
            raise ValueError("tables need initial_tables and clip_rate beside them")
        return self


class TrainingResult(Result):
    """``result.json`` of a training: an entry of ``runs`` in the ``jpeg train`` JSON."""

    seed: Count
    tested_on: str
    test_images: Count
    variants: dict[str, VariantRecord]
    optimizer_steps: Count


class Attacked(Contents):
    """A network under attack; accuracies are one a bound."""

    clean: Share
    attacks: dict[str, list[Share]]
    worst: list[Share]
    notes: list[str]


class Models(Contents):
    plain: Attacked
    layered: Attacked


class AttackResult(Result):
    """The ``jpeg attack`` JSON."""

    eps: list[Annotated[Number, Field(ge=0)]]
    mode: Literal["soft", "hard"]
    images: Count
    models: Models

    @model_validator(mode="after")
    def _one_a_bound(self) -> Self:
        for model in (self.models.plain, self.models.layered):
            if any(len(row) != len(self.eps) for row in (*model.attacks.values(), model.worst)):
                raise ValueError(f"expected accuracies for {len(self.eps)} bounds")
        return self


class ExportResult(Result):
    """The ``jpeg export`` JSON."""

    tables: str
