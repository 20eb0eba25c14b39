"""The result of advice as a model: what pages and reports rely on. No torch."""

from __future__ import annotations

from typing import Annotated, Any

from pydantic import AfterValidator, FailFast, Field

from toolkit.data.alignment import Align
from toolkit.language.sentence import Sentence
from toolkit.probe.contents import AtLeast0, CodecSpec, ProbeResult
from toolkit.runs.contents import Contents, Count, Number


def _said(found: dict[str, Any]) -> dict[str, Any]:
    """A sentence that the catalogues have, with all its values."""
    try:
        str(Sentence.from_dict(found))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"no sentence: {error}") from None
    return found


Said = Annotated[dict[str, Any], AfterValidator(_said)]


class Score(Contents):
    codec: CodecSpec
    align: Align
    score: Number | None


class RulePick(Contents):
    rule: str
    codec: CodecSpec
    align: Align
    score: Number | None
    seconds: AtLeast0
    summary: str
    used: str
    scores: Annotated[list[Score], FailFast()]


class Excluded(Contents):
    codec: CodecSpec
    reason: str
    sentence: Said


class RunnerUp(Contents):
    codec: CodecSpec
    align: Align
    expected_gain: Number | None


class Reasons(Contents):
    reasons: list[Said]
    would_change: list[Said]


class Recommended(Contents):
    rule: str
    codec: CodecSpec
    align: Align
    exemplars_per_class: AtLeast0
    raw_exemplars_per_class: AtLeast0
    expected_gain: Number | None
    interval: Number | None
    reasons: list[str]
    would_change: list[str]
    runner_up: RunnerUp | None
    sentences: Reasons


class BudgetRow(Contents):
    budget_bytes: Annotated[Count, Field(ge=1)]
    codec: CodecSpec
    align: Align
    exemplars_per_class: AtLeast0
    expected_gain: Number
    raw_gain: Number | None


class Budgets(Contents):
    rule: str
    reference: str
    curve: list[BudgetRow]
    within_points: Number
    ceiling: Number
    smallest: BudgetRow | None


class AdviceResult(ProbeResult):
    """The ``advise`` JSON."""

    rules: list[RulePick]
    excluded: list[Excluded]
    notes: list[str]
    recommended: Recommended
    budgets: Budgets
    sentences: list[Said]
