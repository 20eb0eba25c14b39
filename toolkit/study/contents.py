"""Contract of the ``study`` JSON, which pages and reports rely on. No torch."""

from __future__ import annotations

from typing import Annotated, NotRequired

from pydantic import FailFast, Field

from toolkit.data.alignment import Align
from toolkit.probe.contents import AtLeast0, CodecSpec
from toolkit.runs.contents import Contents, Count, Number, Result, Share

Probability = Annotated[float, Field(ge=0, le=1)]
Interval = Annotated[list[Number], Field(min_length=2, max_length=2)]
"""Lower and upper end of a 95 % interval."""


class ArmResult(Contents):
    """An arm of a race: a setting with an alignment.

    Attributes:
        reference: whether it runs in every round whatever its accuracy.
        file_bytes: bytes per exemplar, labels and shared data included; of the pilots, else of the probe.
        seeds: number of finished pilots on held-out images.
        last_accuracy: their mean last accuracy; None without any.
        ci95: half width of its 95 % interval; None for fewer than two seeds.
        within_eps: probability that it is within ``eps`` points of the best arm.
        dropped_in_round: the last round it took part in, from 1; None if it was never dropped.
        started: whether it took part in the first round.
        error: why its pilot failed.
    """

    codec: CodecSpec
    align: Align
    reference: bool
    file_bytes: AtLeast0
    exemplars_per_class: AtLeast0
    seeds: Count
    last_accuracy: Share | None
    ci95: AtLeast0 | None
    within_eps: Probability
    dropped_in_round: Count | None
    started: bool
    error: str | None


class Round(Contents):
    """A round of a race: its seed, and the names of its pilots' runs."""

    seed: Count
    pilots: list[str]


class NamedArm(Contents):
    """An arm by its setting and alignment."""

    codec: CodecSpec
    align: Align


class GainOver(NamedArm):
    """Points of last accuracy of the decision over another arm, expected, with a 95 % interval."""

    points: Number
    ci95: Interval


class Decision(NamedArm):
    """What a race decided.

    Attributes:
        eps: points of accuracy that do not matter.
        probability_within_eps: that the decision is within ``eps`` points of the best arm.
        shortfall: expected points by which it is worse than the best arm.
        probability_far: that it is more than 2.5 points worse than the best arm.
        gain_over_raw, gain_ci95: points over raw pixels; None if raw pixels did not run.
        gain_over_lossless, lossless_ci95: points over the best lossless codec; None if none ran.
        gains: over every other arm with at least two seeds.
        leader: the arm with the highest expected accuracy.
        alike: arms that cannot be told apart from the best, the leader first.
        runner_up: the best other arm; None if no other ran.
        difference, difference_ci95: points over the runner-up.
        pilots: number of finished pilots on held-out images.
        to_settle: further seeds that would tell the decision and the runner-up apart; 0 if they are told apart, None
            if the held-out images cannot do it with any number of seeds.
        fits: whether the budget holds every image without loss, so that nothing lossy was tried.
    """

    eps: AtLeast0
    probability_within_eps: Probability
    shortfall: Number
    probability_far: Probability
    gain_over_raw: Number | None
    gain_ci95: Interval | None
    gain_over_lossless: Number | None
    lossless_ci95: Interval | None
    gains: list[GainOver]
    leader: NamedArm
    alike: list[NamedArm]
    runner_up: NamedArm | None
    difference: Number | None
    difference_ci95: Interval | None
    pilots: Count
    to_settle: Count | None
    fits: bool


class TestedArm(NamedArm):
    """An arm on the test images, with one seed; ``gain`` is the decision's over it, in points, over the images."""

    run: str
    last_accuracy: Share
    gain: NotRequired[Number]
    gain_ci95: NotRequired[Interval]


class TestResult(Contents):
    """The decision and the references on the test images, with a seed that had no part in the race."""

    seed: Count
    images: Count
    arms: list[TestedArm]


class LeftOut(Contents):
    """A setting that was not tried, and why."""

    codec: CodecSpec
    reason: str


class StudyResult(Result):
    """The ``study`` JSON; ``config`` holds what all pilots share, ``advice`` names the run of the probe."""

    config: dict[str, object]
    effort: str
    budget_bytes: Count
    advice: str
    arms: Annotated[list[ArmResult], Field(min_length=1), FailFast()]
    not_tried: list[LeftOut]
    rounds: list[Round]
    decision: Decision
    test: TestResult | None
    stopped: str | None
    seconds: AtLeast0
    report: NotRequired[str]
