"""The results of probes, advice and the look at single images, as models: what pages and reports rely on. No torch."""

from __future__ import annotations

from typing import Annotated, Any, Literal

from pydantic import AfterValidator, FailFast, Field

from toolkit.codecs.spec import parse_codec
from toolkit.language.sentence import Sentence
from toolkit.runs.contents import Contents, Count, Number, Result


def _known_codec(spec: str) -> str:
    parse_codec(spec)
    return spec


def _said(found: dict[str, Any]) -> dict[str, Any]:
    """A sentence that the catalogues have, with all its values."""
    try:
        str(Sentence.from_dict(found))
    except (KeyError, TypeError, IndexError) as error:
        raise ValueError(f"no sentence: {error}") from None
    return found


Codec = Annotated[str, AfterValidator(_known_codec)]
Said = Annotated[dict[str, Any], AfterValidator(_said)]
Align = Literal["none", "train", "both"]
Positive = Annotated[Number, Field(gt=0)]
AtLeast0 = Annotated[Number, Field(ge=0)]


class Setting(Contents):
    """A row of the probe table."""

    codec: Codec
    file_bytes: Positive
    stored_bytes: Positive
    bpp: AtLeast0
    ratio_raw: Positive
    ratio_original: AtLeast0
    exemplars: Count
    exemplars_per_class: AtLeast0
    equivalent_exemplars_raw: AtLeast0
    equivalent_exemplars_original: AtLeast0
    psnr: Number | None
    ssim: Number
    fmse_relative: AtLeast0
    cosine_distance: AtLeast0
    encode_us: AtLeast0
    decode_us: AtLeast0


class ProbeResult(Result):
    """The ``probe`` JSON."""

    dataset: str
    size: Annotated[int, Field(ge=1, le=2**20)]
    images: Count
    classes: Count
    extractor: str
    layer: str | None
    budget_bytes: Count
    original_file_bytes: Positive
    seconds: AtLeast0
    settings: Annotated[list[Setting], Field(min_length=1), FailFast()]


class Score(Contents):
    codec: Codec
    align: Align
    score: Number | None


class RulePick(Contents):
    rule: str
    codec: Codec
    align: Align
    score: Number | None
    seconds: AtLeast0
    summary: str
    used: str
    scores: Annotated[list[Score], FailFast()]


class Excluded(Contents):
    codec: Codec
    reason: str
    sentence: Said | None = None


class RunnerUp(Contents):
    codec: Codec
    align: Align
    expected_gain: Number | None


class Reasons(Contents):
    reasons: list[Said]
    would_change: list[Said]


class Recommended(Contents):
    rule: str
    codec: Codec
    align: Align
    exemplars_per_class: AtLeast0
    raw_exemplars_per_class: AtLeast0
    expected_gain: Number | None
    interval: Number | None
    reasons: list[str]
    would_change: list[str]
    runner_up: RunnerUp | None
    sentences: Reasons | None = None


class BudgetRow(Contents):
    budget_bytes: Annotated[Count, Field(ge=1)]
    codec: Codec
    align: Align
    exemplars_per_class: AtLeast0
    expected_gain: Number
    raw_gain: Number | None


class Budgets(Contents):
    reference: str
    curve: list[BudgetRow]
    within_points: Number
    ceiling: Number
    smallest: BudgetRow | None
    rule: str = ""


class AdviceResult(ProbeResult):
    """The ``advise`` JSON."""

    rules: list[RulePick]
    excluded: list[Excluded]
    notes: list[str]
    recommended: Recommended
    budgets: Budgets
    sentences: list[Said] | None = None


class ImageRow(Contents):
    index: Count
    stored_bytes: AtLeast0
    file_bytes: AtLeast0
    psnr: Number | None
    ssim: Number
    fmse: AtLeast0
    fmse_relative: AtLeast0
    x: Number
    y: Number
    decoded_x: Number
    decoded_y: Number
    class_: Annotated[str, Field(alias="class")]


class ImagesResult(Result):
    """The ``images`` JSON."""

    dataset: str
    size: Count
    codec: Codec
    shared_bytes: AtLeast0
    explained: list[Number]
    images: Annotated[list[ImageRow], Field(min_length=1), FailFast()]
