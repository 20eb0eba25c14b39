"""Model of a pilot's result, which means, figures, reports and bundles rely on. No torch."""

from __future__ import annotations

from typing import Annotated, Literal, Self

from pydantic import FailFast, Field, model_validator

from toolkit.runs.contents import Contents, Count, Number, Result, Share

AccuracyMatrix = Annotated[list[Annotated[list[Share], FailFast()]], FailFast()]


class Head(Contents):
    """Results of one head of a method."""

    last_accuracy: Share


class PilotResult(Result):
    """``result.json`` of a pilot: an entry of ``runs`` in the ``pilot`` JSON."""

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
    exemplars_per_class: Annotated[Number, Field(ge=0)]
    memory_bytes: Count
    budget_bytes: Count
    network: str
    optimizer_steps: Count
    seconds: Annotated[Number, Field(ge=0)]
    head: str
    heads: dict[str, Head]

    @model_validator(mode="after")
    def _one_scenario(self) -> Self:
        stages = len(self.stage_classes)
        if [len(row) for row in self.accuracy_matrix] != list(range(1, stages + 1)):
            raise ValueError(f"accuracy_matrix must have {stages} rows of 1 to {stages} accuracies")
        if sorted(self.class_order) != list(range(sum(self.stage_classes))):
            raise ValueError(f"class_order must have the {sum(self.stage_classes)} classes of stage_classes, each once")
        if self.head not in self.heads:
            raise ValueError(f"head must be one of {', '.join(self.heads)}")
        return self
