"""A study's decision in words, for the command line, the app and the report. Imports no torch."""

from __future__ import annotations

from collections.abc import Iterator

from toolkit.codecs.spec import is_raw
from toolkit.foundation.sizes import format_size
from toolkit.language.catalogue import ENGLISH, Language
from toolkit.language.sentence import Sentence
from toolkit.pilots.results import setting_name
from toolkit.study.contents import ArmResult, Decision, NamedArm, StudyResult
from toolkit.study.estimate import StudyEstimate
from toolkit.study.line_up import codes_nothing

_ALIKE = 5.0
"""Points of accuracy on held-out training images above that on test images from which on a study says so."""


def name_of(arm: NamedArm | ArmResult) -> str:
    """``jpeg:quality=50, align both``."""
    return setting_name(arm["codec"], arm["align"])


def left_after(row: ArmResult, say: Language = ENGLISH) -> str:
    """When an arm left a race: its last round, that it failed, or nothing."""
    if row["error"]:
        return say("status.failed")
    return "" if row["dropped_in_round"] is None else say("study.round", round=row["dropped_in_round"])


def headline(decision: Decision) -> Sentence:
    """The decision and its certainty."""
    setting, sure = name_of(decision), 100 * decision["probability_within_eps"]
    if decision["fits"]:
        return Sentence("study.fits", setting=setting)
    if decision["runner_up"] is None:
        return Sentence("study.only", setting=setting)
    return Sentence("study.decision", setting=setting, sure=sure, eps=decision["eps"])


def grounds(decision: Decision) -> Iterator[Sentence]:
    """What the decision gains, what it may lose, and what cannot be told apart from it."""
    for gain in decision["gains"]:
        if codes_nothing(gain["codec"]):
            key = "study.over_raw" if is_raw(gain["codec"]) else "study.over_original"
            yield _gain(key, gain["points"], gain["ci95"])
    if decision["gain_over_lossless"] is not None and decision["lossless_ci95"] is not None:
        yield _gain("study.over_lossless", decision["gain_over_lossless"], decision["lossless_ci95"])
    second = decision["runner_up"]
    if second is not None and decision["difference"] is not None and decision["difference_ci95"] is not None:
        yield _gain("study.over_other", decision["difference"], decision["difference_ci95"], setting=name_of(second))
    if decision["fits"]:
        return
    chosen = (decision["codec"], decision["align"])
    alike = [name_of(one) for one in decision["alike"] if (one["codec"], one["align"]) != chosen]
    if alike:
        yield Sentence("study.alike", settings="; ".join(alike))
    leader = decision["leader"]
    if (leader["codec"], leader["align"]) != chosen:
        yield Sentence("study.easier", setting=name_of(leader))
    if second is not None:
        far = 100 * decision["probability_far"]
        yield Sentence("study.shortfall", shortfall=decision["shortfall"], far=far)


def to_settle(decision: Decision) -> Sentence | None:
    """What would tell the decision and the best other arm apart; None if nothing is left to settle."""
    if decision["runner_up"] is None or decision["fits"] or decision["to_settle"] == 0:
        return None
    if decision["to_settle"] is None:
        return Sentence("study.cannot_settle")
    return Sentence("study.settle" if decision["to_settle"] > 1 else "study.settle_one", seeds=decision["to_settle"])


def estimated(estimate: StudyEstimate) -> Sentence:
    """What a study takes at most."""
    return Sentence(
        "study.estimate",
        pilots=estimate.pilots,
        minutes=max(1, round(estimate.seconds / 60)),
        size=format_size(estimate.memory_bytes),
    )


def on_test(result: StudyResult) -> Iterator[Sentence]:
    """The decision on the test images, and its gain over each reference there; nothing if they were not opened."""
    test = result["test"]
    if test is None:
        return
    first, *others = test["arms"]
    yield Sentence(
        "study.test",
        images=test["images"],
        seed=test["seed"],
        setting=name_of(first),
        accuracy=100 * first["last_accuracy"],
    )
    for one in others:
        if "gain" in one and "gain_ci95" in one:
            yield _gain("study.test_over", one["gain"], one["gain_ci95"], setting=name_of(one))
    held = next(row["last_accuracy"] for row in result["arms"] if name_of(row) == name_of(first))
    if held is not None and 100 * (held - first["last_accuracy"]) > _ALIKE:
        yield Sentence("study.test_lower", held=100 * held)


def all_sentences(result: StudyResult) -> list[Sentence]:
    """Everything that a study says, the decision first."""
    decision, settle = result["decision"], to_settle(result["decision"])
    return [
        headline(decision),
        *grounds(decision),
        *([] if settle is None else [settle]),
        *on_test(result),
        *([] if result["stopped"] is None else [Sentence("study.stopped", why=result["stopped"])]),
    ]


def in_brief(result: StudyResult) -> list[Sentence]:
    """The sentences that lead a report: the decision, its gain over raw pixels, and the test."""
    leading = ("study.over_raw", "study.test", "study.test_lower", "study.stopped")
    first, *others = all_sentences(result)
    return [first, *(one for one in others if one.key in leading)]


def _gain(key: str, points: float, interval: list[float], **more: str | float) -> Sentence:
    return Sentence(key, points=points, low=interval[0], high=interval[1], **more)
