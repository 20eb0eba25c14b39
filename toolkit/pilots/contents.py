"""Contracts of a pilot's result and of the ``pilot`` and ``sweep`` JSON. No torch."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Annotated, Literal, NotRequired

from pydantic import AfterValidator, FailFast, Field
from typing_extensions import TypedDict

from toolkit.data.alignment import Align
from toolkit.runs.contents import Contents, Count, Number, Result, Share

AccuracyMatrix = Annotated[list[Annotated[list[Share], FailFast()]], FailFast()]
"""Row i holds the accuracy on the classes of stages 0..i, after stage i."""


class HeadResult(Contents):
    """Results of one head of a method; accuracies are fractions of test images."""

    accuracy_matrix: NotRequired[AccuracyMatrix]
    average_incremental_accuracy: NotRequired[float]
    last_accuracy: Share
    forgetting: NotRequired[float]
    backward_transfer: NotRequired[float]
    accuracy_on_original: NotRequired[float]
    accuracy_on_coded: NotRequired[float]
    accuracy_matrix_on_original: NotRequired[AccuracyMatrix]
    accuracy_matrix_on_coded: NotRequired[AccuracyMatrix]


class PilotResult(Result):
    """``result.json`` of a pilot: an entry of ``runs`` in the ``pilot`` JSON.

    The accuracies are those of ``head``, on the images that ``tested_on`` names. ``exemplars`` are per class, in the
    order of ``class_order``; ``memory_by_stage`` holds exemplars and bytes after each stage. ``weights`` says where the
    network started. ``correct`` has a bit per test image, in the order of the split and the highest bit of a byte
    first, in hexadecimal: 1 if ``head`` is right about it after the last stage.
    """

    seed: Count
    class_order: Annotated[list[Count], FailFast()]
    stage_classes: Annotated[list[Annotated[Count, Field(ge=1)]], Field(min_length=1), FailFast()]
    tested_on: Literal["original", "coded"]
    accuracy_matrix: AccuracyMatrix
    average_incremental_accuracy: Share
    last_accuracy: Share
    forgetting: Number
    backward_transfer: Number
    accuracy_on_original: Share
    accuracy_on_coded: Share
    accuracy_matrix_on_original: NotRequired[AccuracyMatrix]
    accuracy_matrix_on_coded: NotRequired[AccuracyMatrix]
    head: str
    heads: dict[str, HeadResult]
    test_images: NotRequired[Count]
    correct: NotRequired[str]
    exemplars_per_class: Annotated[Number, Field(ge=0)]
    exemplars: NotRequired[list[int]]
    memory_bytes: Count
    content_bytes: NotRequired[Count]
    raw_image_bytes: NotRequired[Count]
    memory_by_stage: NotRequired[list[dict[str, int]]]
    budget_bytes: Count
    weights_bytes: NotRequired[int]
    exemplars_decoded: NotRequired[str]
    network: str
    weights: NotRequired[str]
    optimizer_steps: Count
    seconds: Annotated[Number, Field(ge=0)]
    peak_memory_bytes: NotRequired[int | None]


def _one_scenario(result: PilotResult) -> PilotResult:
    """Check that matrix, classes, head and images belong together."""
    stages = len(result["stage_classes"])
    if [len(row) for row in result["accuracy_matrix"]] != list(range(1, stages + 1)):
        raise ValueError(f"accuracy_matrix must have {stages} rows of 1 to {stages} accuracies")
    classes = sum(result["stage_classes"])
    if sorted(result["class_order"]) != list(range(classes)):
        raise ValueError(f"class_order must have the {classes} classes of stage_classes, each once")
    if result["head"] not in result["heads"]:
        raise ValueError(f"head must be one of {', '.join(result['heads'])}")
    if ("correct" in result) != ("test_images" in result):
        raise ValueError("correct and test_images must be there together")
    correct, digits = result.get("correct", ""), 2 * -(-result.get("test_images", 0) // 8)
    if len(correct) != digits or not set(correct) <= set("0123456789abcdef"):
        raise ValueError("correct must have a bit for each of test_images, in hexadecimal")
    return result


CheckedPilotResult = Annotated[PilotResult, AfterValidator(_one_scenario)]


class PilotSummary(TypedDict):
    """The ``pilot`` JSON: one configuration over its seeds.

    ``mean`` and ``ci95`` are by metric; ``ci95`` holds half-widths of the 95 % intervals, None for a single seed.
    """

    config: Mapping[str, object]
    codec: str
    method: str
    align: Align
    budget_bytes: int
    runs: list[PilotResult]
    mean: dict[str, float]
    ci95: dict[str, float | None]


class SweepRow(TypedDict):
    """A run of a sweep; ``error`` is why it failed or cannot be read, else None."""

    run: str
    run_dir: str
    state: str
    error: str | None
    codec: str
    align: str
    budget: str
    method: str
    seed: int


class SweepResult(TypedDict):
    """The ``sweep`` JSON: the state of every run, and the summary of every configuration with a finished run."""

    sweep: str
    runs: list[SweepRow]
    pilots: list[PilotSummary]


class EstimateRow(TypedDict):
    """A planned run; ``memory_bytes`` is the maximum size of its exemplar memory."""

    run: str
    state: str
    hours: float
    memory_bytes: int
    estimated_from: str


class EstimateResult(TypedDict):
    """The JSON of ``--dry-run``; ``hours`` is wall-clock time with all slots in use."""

    sweep: str
    runs: list[EstimateRow]
    hours: float
    memory_bytes: int
