"""The recommendation: what every rule picks, what the default rule's pick should gain, and what would change it.

Training images only, through a :func:`~toolkit.data.dataset.validation_view`; test data are never opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from typing import Any

import numpy as np

from toolkit.codecs.spec import short_spec
from toolkit.data.catalog import short_name
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.sizes import format_size
from toolkit.probe.calibration import GAIN, Calibration, calibration
from toolkit.probe.evidence import Choice, Evidence
from toolkit.probe.planning import BudgetPlan
from toolkit.probe.request import WITHIN
from toolkit.probe.rule import Judgement, judge, pick
from toolkit.probe.rules import RULES, find_rule

_ALIGN_WORDS = {
    "both": "training, memory and incoming images all pass the codec",
    "train": "training images and the memory pass the codec, incoming images do not",
    "none": "only the memory is coded",
}


def advise(
    table: dict[str, Any],
    evidence: Evidence,
    *,
    rule: str | None = None,
    within: float = WITHIN,
    progress: Progress = silent,
) -> dict[str, Any]:
    """The ``advise`` JSON: the probe's with every rule's pick, the recommendation, and budgets.

    Args:
        table, evidence: as :func:`~toolkit.probe.evidence.gather` gives them.
        rule: recommends; by default the calibration's, the one of least regret.
        within: points of accuracy that the smallest budget may cost.
        progress: told about rules asked.

    Raises:
        UsageError: an unknown rule.
    """
    known = calibration()
    asked = find_rule(rule or known.default_rule)
    judgements = {}
    for done, one in enumerate(RULES.values(), 1):
        judgements[one.name] = judge(one, evidence)
        progress("asking the rules", done, len(RULES))
    interval = known.interval if known.applies_to(table) else None
    gains = judgements[GAIN].scores
    plan = BudgetPlan.of(evidence, known.parameters[GAIN])
    curve = plan.curve(evidence.budget)
    chosen = judgements[asked.name].pick
    return {
        **table,
        "rules": [_as_row(evidence, judgement) for judgement in judgements.values()],
        "excluded": [{"codec": codec, "reason": reason} for codec, reason in evidence.excluded],
        "notes": [*evidence.notes, *_doubts(table, known)],
        "recommended": recommend(evidence, judgements[asked.name], gains, known, interval, curve, judgements),
        "budgets": _budgets(plan, curve, within, None if evidence.raw_choice else float(gains[chosen])),
    }


def _budgets(
    plan: BudgetPlan, curve: Sequence[dict[str, Any]], within: float, recommended_gain: float | None
) -> dict[str, Any]:
    """The plan as JSON; gains are over raw pixels, or over the recommended choice where raw pixels do not fit."""
    less = recommended_gain or 0.0

    def over_reference(row: dict[str, Any]) -> dict[str, Any]:
        moved = {key: row[key] - less for key in ("expected_gain", "raw_gain") if row[key] is not None}
        return {**row, **moved}

    return {
        "reference": "raw" if recommended_gain is None else "recommended",
        "curve": [over_reference(row) for row in curve],
        "within_points": within,
        "ceiling": plan.ceiling - less,
        "smallest": over_reference(plan.smallest(within)),
    }


def _doubts(table: dict[str, Any], known: Calibration) -> Iterator[str]:
    """Why what was learned on other problems may not hold here, or be flattered."""
    if not known.applies_to(table):
        yield f"expected gains were calibrated with features of {known.extractor}: with others they are a guess"
    if table["extractor"].startswith("checkpoint:"):
        yield "if the checkpoint was trained on these images, it has seen those held out to judge by"
    if short_name(table["dataset"]) in known.datasets:
        yield "expected gains were calibrated on pilots of this dataset, among others"


def _as_row(evidence: Evidence, judgement: Judgement) -> dict[str, Any]:
    picked = evidence.choices[judgement.pick]
    return {
        "rule": judgement.rule,
        "codec": evidence.settings[picked.setting].codec,
        "align": picked.align,
        "score": float(judgement.scores[judgement.pick]),
        "seconds": round(judgement.seconds, 4),
        "used": RULES[judgement.rule].uses,
        "summary": RULES[judgement.rule].summary,
        "judges_alignment": RULES[judgement.rule].judges_alignment,
        "scores": [
            {"codec": evidence.settings[choice.setting].codec, "align": choice.align, "score": float(score)}
            for choice, score in zip(evidence.choices, judgement.scores, strict=True)
        ],
    }


def recommend(
    evidence: Evidence,
    judgement: Judgement,
    gains: np.ndarray,
    known: Calibration,
    interval: float | None,
    curve: Sequence[dict[str, Any]],
    judgements: dict[str, Judgement],
) -> dict[str, Any]:
    """What to do, in figures and sentences.

    Args:
        evidence: what is known.
        judgement: the recommending rule's.
        gains: points of last accuracy over raw pixels, float64 (choices,).
        known: the package's calibration.
        interval: of the expected gain, half its width in points; None where it is not known.
        curve: the best choice at other budgets.
        judgements: of all rules.
    """
    picked = evidence.choices[judgement.pick]
    setting = evidence.settings[picked.setting]
    comparable = evidence.raw_choice is not None
    second = _runner_up(evidence, judgement)
    return {
        "rule": judgement.rule,
        "codec": setting.codec,
        "align": picked.align,
        "exemplars": int(evidence.exemplars_per_class(picked.setting) * evidence.classes),
        "exemplars_per_class": round(evidence.exemplars_per_class(picked.setting), 2),
        "raw_exemplars_per_class": round(evidence.raw_exemplars, 2),
        "expected_gain": float(gains[judgement.pick]) if comparable else None,
        "interval": interval if comparable else None,
        "inference_us": _inference_microseconds(evidence, picked),
        "runner_up": None if second is None else _runner_up_row(evidence, second, gains),
        "reasons": list(_reasons(evidence, judgement, gains, known, interval)),
        "would_change": list(_would_change(evidence, judgement, gains, curve, judgements)),
    }


def _runner_up(evidence: Evidence, judgement: Judgement) -> int | None:
    """The best choice with another setting."""
    mine = evidence.choices[judgement.pick].setting
    return _best_of(evidence, judgement, lambda choice: choice.setting != mine)


def _best_of(evidence: Evidence, judgement: Judgement, wanted: Callable[[Choice], bool]) -> int | None:
    """Index of the best choice of some."""
    among = [index for index, choice in enumerate(evidence.choices) if wanted(choice)]
    if not among:
        return None
    exemplars = evidence.by_setting(evidence.exemplars_per_class)[among]
    return among[pick(judgement.scores[among], [evidence.choices[index].align for index in among], exemplars)]


def _runner_up_row(evidence: Evidence, index: int, gains: np.ndarray) -> dict[str, Any]:
    choice = evidence.choices[index]
    return {
        "codec": evidence.settings[choice.setting].codec,
        "align": choice.align,
        "exemplars_per_class": round(evidence.exemplars_per_class(choice.setting), 2),
        "expected_gain": float(gains[index]) if evidence.raw_choice is not None else None,
    }


def _inference_microseconds(evidence: Evidence, choice: Choice) -> float:
    """What an image costs more at inference, processor time on one thread."""
    row = evidence.settings[choice.setting].row
    return round(float(row["encode_us"] + row["decode_us"]), 1) if choice.align == "both" else 0.0


def _reasons(
    evidence: Evidence, judgement: Judgement, gains: np.ndarray, known: Calibration, interval: float | None
) -> Iterator[str]:
    picked = evidence.choices[judgement.pick]
    setting = evidence.settings[picked.setting]
    fit, raw = evidence.exemplars_per_class(picked.setting), evidence.raw_exemplars
    yield (
        f"{format_size(evidence.budget)} hold {fit:.1f} exemplars of a class as {short_spec(setting.codec)} "
        f"({setting.row['stored_bytes']:.0f} bytes each), and {raw:.1f} as raw pixels."
    )
    if evidence.raw_choice is None:
        yield "Raw pixels do not fit this budget, so no gain over them can be stated."
    else:
        gain = gains[judgement.pick]
        yield f"Expected last accuracy against raw in the same bytes: {gain:+.1f} points{how_sure(known, interval)}."
    yield _alignment_reason(evidence, judgement, gains, known)
    measured = known.regret_of(judgement.rule)
    if measured is not None and measured["in_sample"]:
        yield (
            f"Rule {judgement.rule} was fitted on the pilots of {known.datasets[0]} alone; that its pick there is "
            f"{measured['mean_regret']:.1f} points below the best says little about other images."
        )
    elif measured is not None:
        yield (
            f"Rule {judgement.rule}, held against exhaustive pilots of {len(known.problems)} problem(s): its pick was "
            f"{measured['mean_regret']:.1f} points below the best on average, {measured['worst_regret']:.1f} at worst."
        )


def how_sure(known: Calibration, interval: float | None) -> str:
    """How far off expected gains were, as the end of a sentence."""
    if interval is None:
        return ", how far off that may be is not known"
    count = len(known.datasets)
    return f"; on {count} datasets, each left out in turn, 95 % of the pilots came within {interval:.1f} points of it"


def _alignment_reason(evidence: Evidence, judgement: Judgement, gains: np.ndarray, known: Calibration) -> str:
    picked = evidence.choices[judgement.pick]
    if evidence.settings[picked.setting].lossless:
        return "The setting is lossless: there is nothing to align."
    words = f"Align {picked.align}: {_ALIGN_WORDS[picked.align]}"
    others = [
        f"{gains[index] - gains[judgement.pick]:+.1f} points with {choice.align}"
        + (" (never piloted: taken to be as with none)" if choice.align == "train" and known.train_is_assumed else "")
        for index, choice in enumerate(evidence.choices)
        if choice.setting == picked.setting and choice.align != picked.align
    ]
    compared = f"; expected {', '.join(others)}" if others else ""
    cost = _inference_microseconds(evidence, picked)
    return words + compared + (f". Coding costs {cost:.0f} µs an image at inference." if cost else ".")


def _would_change(
    evidence: Evidence,
    judgement: Judgement,
    gains: np.ndarray,
    curve: Sequence[dict[str, Any]],
    judgements: dict[str, Judgement],
) -> Iterator[str]:
    """What else the user could want to know before believing it."""
    picked = evidence.choices[judgement.pick]
    chosen = (evidence.settings[picked.setting].codec, picked.align)
    if picked.align == "both":
        best = _best_of(evidence, judgement, lambda choice: choice.align != "both")
        if best is not None:
            choice = evidence.choices[best]
            yield (
                f"If incoming images cannot be coded: {short_spec(evidence.settings[choice.setting].codec)}, align "
                f"{choice.align} ({gains[best] - gains[judgement.pick]:+.1f} points)."
            )
    for row in curve if judgement.rule == GAIN else ():
        if row["budget_bytes"] in (evidence.budget // 2, evidence.budget * 2):
            other = (row["codec"], row["align"])
            size = format_size(row["budget_bytes"])
            same = "the same choice" if other == chosen else f"{short_spec(other[0])}, align {other[1]}"
            yield f"With {size}: {same} ({row['expected_gain'] - gains[judgement.pick]:+.1f} points)."
    agree = [
        one.rule for one in judgements.values()
        if one.rule != judgement.rule and evidence.choices[one.pick].setting == picked.setting
    ]  # fmt: skip
    yield (
        f"{len(agree)} of {len(judgements) - 1} other rules pick the same setting"
        + (f": {', '.join(agree)}." if agree else ".")
    )
