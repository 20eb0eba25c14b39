"""Contracts of the ``advise`` and ``regret`` JSON, which pages and reports rely on. No torch."""

from __future__ import annotations

from typing import Annotated, NotRequired, TypeGuard

from pydantic import AfterValidator, FailFast, Field
from typing_extensions import TypedDict

from toolkit.data.alignment import Align
from toolkit.language.sentence import Sentence, SentenceContents
from toolkit.probe.contents import AtLeast0, CodecSpec, ProbeResult
from toolkit.runs.contents import Contents, Count, Number


def _in_catalogues(found: SentenceContents) -> SentenceContents:
    """Check that the catalogues have the sentence and that no value is missing."""
    try:
        str(Sentence.from_dict(found))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"not a sentence of the catalogues: {error}") from None
    return found


Said = Annotated[SentenceContents, AfterValidator(_in_catalogues)]


class Score(Contents):
    """A rule's score of one choice."""

    codec: CodecSpec
    align: Align
    score: Number | None


class RulePick(Contents):
    """One rule: its pick, and its scores of every choice."""

    rule: str
    codec: CodecSpec
    align: Align
    score: Number | None
    seconds: AtLeast0
    summary: str
    used: str
    judges_alignment: NotRequired[bool]
    scores: Annotated[list[Score], FailFast()]


class Excluded(Contents):
    """A setting that does not fit the budget, with the reason in English and as data."""

    codec: CodecSpec
    reason: str
    sentence: Said


class RunnerUp(Contents):
    """The best choice with another setting."""

    codec: CodecSpec
    align: Align
    exemplars_per_class: NotRequired[float]
    expected_gain: Number | None


class Reasons(Contents):
    """The sentences of a recommendation as data."""

    reasons: list[Said]
    would_change: list[Said]


class Recommended(Contents):
    """The recommendation.

    ``expected_gain`` is in points of last accuracy over raw pixels, and ``interval`` the half-width of its 95 %
    interval; None where they are unknown. ``inference_us`` is the extra processor time per classified image.
    """

    rule: str
    codec: CodecSpec
    align: Align
    exemplars: NotRequired[int]
    exemplars_per_class: AtLeast0
    raw_exemplars_per_class: AtLeast0
    expected_gain: Number | None
    interval: Number | None
    inference_us: NotRequired[float]
    reasons: list[str]
    would_change: list[str]
    runner_up: RunnerUp | None
    sentences: Reasons


class BudgetRow(Contents):
    """The best choice at one budget; ``raw_gain`` is the gain of raw pixels, None if they do not fit."""

    budget_bytes: Annotated[Count, Field(ge=1)]
    codec: CodecSpec
    align: Align
    exemplars_per_class: AtLeast0
    expected_gain: Number
    raw_gain: Number | None


class Budgets(Contents):
    """The best choices at other budgets, in points relative to ``reference``.

    ``ceiling`` is the gain of keeping every image raw; ``smallest`` is the row of the smallest budget within
    ``within_points`` of it, None if nothing is replayed.
    """

    rule: str
    reference: str
    curve: list[BudgetRow]
    within_points: Number
    ceiling: Number
    smallest: BudgetRow | None


class AdviceResult(ProbeResult):
    """The ``advise`` JSON: the ``probe`` JSON plus the advice."""

    rules: list[RulePick]
    excluded: list[Excluded]
    notes: list[str]
    recommended: Recommended
    budgets: Budgets
    sentences: list[Said]


def is_advice(result: ProbeResult) -> TypeGuard[AdviceResult]:
    """Whether a result contains advice, not only a probe."""
    return "recommended" in result


class ProblemRegret(TypedDict):
    """A rule on one problem.

    ``regret`` and ``behind_pilots`` are in points of last accuracy. ``gain`` is the pick's measured gain over raw
    pixels, ``expected_gain`` the one predicted by ``predicted-gain``. ``in_sample``: the rule's parameters were fitted
    on pilots of these images. Fields that do not apply are None.
    """

    problem: str
    regret: float
    behind_pilots: float | None
    spearman: float | None
    in_sample: bool
    codec: str | None
    align: str | None
    gain: float | None
    expected_gain: float | None
    time_share: float


class RuleRegret(TypedDict):
    """A rule over all problems: means, and the worst regret.

    ``time_share`` is the time of rule and probe relative to that of the pilots.
    """

    rule: str
    mean_regret: float
    worst_regret: float
    behind_pilots: float | None
    spearman: float | None
    time_share: float
    in_sample: bool
    problems: list[ProblemRegret]


class WithinReach(TypedDict):
    """What an oracle that knew the true accuracies would reach on one problem.

    ``lowest`` and ``highest`` are mean accuracies of choices; ``standard_error`` is that of an aligned or lossless
    choice, ``standard_error_unaligned`` that of the others; ``regret`` is in points. Unknown fields are None.
    """

    problem: str
    choices: int
    lowest: float
    highest: float
    standard_error: float | None
    standard_error_unaligned: float | None
    correlation: float | None
    regret: float | None


class ProblemChoice(TypedDict):
    """A choice of a problem: accuracy as a fraction, and everything that is known about it without pilots."""

    codec: str
    align: str
    accuracy: float
    by_seed: list[float]
    exemplars_per_class: float
    scores: dict[str, float]
    quantities: dict[str, float]


class ProblemContents(TypedDict):
    """A problem as JSON; ``seconds`` is by rule."""

    name: str
    dataset: str
    choices: list[ProblemChoice]
    seconds: dict[str, float]
    probe_seconds: float
    pilot_seconds: float


class CalibrationContents(TypedDict):
    """Stored results of a regret study; see :func:`~toolkit.advice.regret.table.calibrate_rules`."""

    default_rule: str
    parameters: dict[str, dict[str, float]]
    interval: float | None
    train_pairs: int
    train_held: int
    most_growth: float
    datasets: list[str]
    problems: list[str]
    regret: list[RuleRegret]
    within_reach: list[WithinReach]


class RegretResult(TypedDict):
    """The ``regret`` JSON.

    ``left_out`` and ``measured`` are present for the user's own pilots: problems that could not be measured, with the
    reason, and the measured ones.
    """

    extractor: str
    problems: list[str]
    regret: list[RuleRegret]
    within_reach: list[WithinReach]
    left_out: NotRequired[list[str]]
    measured: NotRequired[list[ProblemContents]]
