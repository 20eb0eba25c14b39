"""Contracts of the ``jpeg train``, ``jpeg attack`` and ``jpeg export`` JSON, which pages rely on. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, Field
from typing_extensions import TypedDict

from toolkit.runs.contents import Contents, Count, Number, Result, Share

Row = Annotated[list[Number], Field(min_length=8, max_length=8)]
StepTable = Annotated[list[Row], Field(min_length=8, max_length=8)]


class Planes(Contents):
    """An 8 x 8 table per plane."""

    luma: StepTable
    chroma: StepTable


def plane_of(planes: Planes, name: str) -> list[list[float]]:
    """The table of ``luma`` or ``chroma``."""
    return planes["luma"] if name == "luma" else planes["chroma"]


class Responses(Contents):
    """The share of energy that passes the quantiser, before and after training."""

    initial: Planes
    final: Planes


class Clipped(Contents):
    """Shares of clipped indices."""

    luma: Share
    luma_dc: Share
    chroma: Share


class ClipRates(Contents):
    """Shares of clipped indices, before and after training."""

    initial: NotRequired[Clipped]
    final: Clipped


class VariantRecord(Contents):
    """Results of one network; a network behind a layer with steps also has tables and what belongs to them.

    ``alpha`` holds the quantiser's sharpness per plane.
    """

    accuracy: Share
    soft_accuracy: NotRequired[Share | None]
    hard_accuracy: NotRequired[Share | None]
    bits_per_pixel: NotRequired[Number | None]
    tables: NotRequired[Planes | None]
    initial_tables: NotRequired[Planes | None]
    frequency_response: NotRequired[Responses | None]
    alpha: NotRequired[list[float]]
    clip_rate: NotRequired[ClipRates | None]


def _tables_in_full(record: VariantRecord) -> VariantRecord:
    if record.get("tables") is not None and not (record.get("initial_tables") and record.get("clip_rate")):
        raise ValueError("tables need initial_tables and clip_rate beside them")
    return record


class RateEstimate(TypedDict):
    """How the analytic rate relates to real files; see :func:`~toolkit.jpeg_dl.calibration.calibrate_rate`."""

    rank_correlation: float
    correlation: float
    scale: float
    offset: float
    pairs: int


class TrainingResult(Result):
    """``result.json`` of a training: an entry of ``runs`` in the ``jpeg train`` JSON.

    ``test_image_bytes`` is the mean size of the test images' own files.
    """

    seed: Count
    tested_on: str
    test_images: Count
    test_image_bytes: NotRequired[float]
    variants: dict[str, Annotated[VariantRecord, AfterValidator(_tables_in_full)]]
    rate_estimate: NotRequired[RateEstimate]
    optimizer_steps: Count


class VariantSummary(TypedDict):
    """A variant over the seeds: means, and half-widths of the 95 % intervals (None for a single seed), by measure."""

    mean: dict[str, float]
    ci95: dict[str, float | None]


class TrainingsSummary(TypedDict):
    """The ``jpeg train`` JSON: one configuration over its seeds."""

    config: Mapping[str, object]
    variants: dict[str, VariantSummary]
    runs: list[TrainingResult]


class Attacked(Contents):
    """A network under attack, in shares of all images: one accuracy per bound, for each attack and for the worst."""

    clean: Share
    attacks: dict[str, list[Share]]
    worst: list[Share]
    notes: list[str]


class AttackedModels(Contents):
    """The network without and with the layer."""

    plain: Attacked
    layered: Attacked


class AttackResult(Result):
    """The ``jpeg attack`` JSON; ``eps`` are L-infinity bounds for pixels in [0, 1]."""

    run: NotRequired[str]
    variant: NotRequired[str]
    eps: list[Annotated[Number, Field(ge=0)]]
    mode: Literal["soft", "hard"]
    judged: NotRequired[str]
    images: Count
    seed: NotRequired[int]
    queries: NotRequired[int]
    batch_size: NotRequired[int]
    models: AttackedModels


def networks(result: AttackResult) -> dict[str, Attacked]:
    """Both networks by name, the plain one first."""
    return {"plain": result["models"]["plain"], "layered": result["models"]["layered"]}


def _one_per_bound(result: AttackResult) -> AttackResult:
    bounds = len(result["eps"])
    for model in networks(result).values():
        if any(len(row) != bounds for row in (*model["attacks"].values(), model["worst"])):
            raise ValueError(f"expected accuracies for {bounds} bounds")
    return result


CheckedAttackResult = Annotated[AttackResult, AfterValidator(_one_per_bound)]


class ExportResult(Result):
    """The ``jpeg export`` JSON: the file, and the integer steps per plane."""

    tables: str
    luma: NotRequired[list[list[int]]]
    chroma: NotRequired[list[list[int]]]
