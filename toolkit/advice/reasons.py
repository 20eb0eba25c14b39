"""Sentences of a recommendation: its reasons, and what would change it."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from toolkit.advice.calibration import GAIN, RANDOM, Calibration
from toolkit.advice.contents import BudgetRow, RuleRegret
from toolkit.advice.evidence import Choice, Evidence
from toolkit.advice.rules.base import RuleScores, pick
from toolkit.advice.rules.registry import RULES
from toolkit.codecs.spec import is_lossless, short_spec
from toolkit.foundation.sizes import format_size
from toolkit.language.sentence import Sentence


def reasons(
    evidence: Evidence,
    asked_rule: RuleScores,
    gains: np.ndarray,
    known: Calibration,
    interval: float | None,
    measured: RuleRegret | None,
) -> Iterator[Sentence]:
    """Why the pick is recommended; for the parameters see :func:`~toolkit.advice.recommend.recommend`."""
    picked = evidence.choices[asked_rule.pick]
    setting = evidence.settings[picked.setting]
    fit = evidence.exemplars_per_class(picked.setting)
    yield Sentence(
        "reason.fit_all" if fit >= np.mean(evidence.class_sizes) else "reason.fit",
        budget=format_size(evidence.budget),
        fit=fit,
        setting=short_spec(setting.codec),
        stored=setting.row["stored_bytes"],
        raw=evidence.raw_exemplars,
    )
    gain = points(gains[asked_rule.pick])
    if evidence.raw_choice is None:
        yield Sentence("reason.raw_does_not_fit")
    elif not evidence.features_differ:
        pass  # a note gives the reason
    elif picked == evidence.raw_choice:
        best = int(np.argmax(gains))
        more, other = points(gains[best] - gains[asked_rule.pick]), evidence.choices[best]
        if more > 0:
            other_setting = short_spec(evidence.settings[other.setting].codec)
            yield Sentence(
                "reason.raw_by_rule", rule=asked_rule.rule, gain=more, setting=other_setting, align=other.align, by=GAIN
            )
        else:
            yield Sentence("reason.raw")
    elif interval is None:
        yield Sentence("reason.gain_unsure", gain=gain)
    else:
        yield Sentence("reason.gain", gain=gain, datasets=len(known.datasets), interval=interval)
    yield from _alignment_reasons(evidence, asked_rule, gains, known)
    if measured is not None and evidence.replays:
        yield from _regret_reasons(asked_rule.rule, picked, setting.lossless, known, measured)


def _regret_reasons(
    rule: str, picked: Choice, lossless: bool, known: Calibration, measured: RuleRegret
) -> Iterator[Sentence]:
    """The rule's regret on the piloted problems."""
    regret = measured["mean_regret"]
    if measured["in_sample"]:
        yield Sentence("reason.regret_in_sample", rule=rule, dataset=known.datasets[0], regret=regret)
        return
    yield Sentence(
        "reason.regret_drawn" if rule == RANDOM else "reason.regret",
        rule=rule,
        problems=len(known.problems),
        worst=measured["worst_regret"],
        regret=regret,
    )
    if rule == RANDOM or lossless:
        return
    picks = [(one["codec"], one["align"]) for one in measured["problems"]]
    aligns = sorted({align for codec, align in picks if codec and align and not is_lossless(codec)})
    if picked.align not in aligns:
        yield Sentence("reason.regret_other_align", aligns=", ".join(aligns), align=picked.align)


def _alignment_reasons(
    evidence: Evidence, asked_rule: RuleScores, gains: np.ndarray, known: Calibration
) -> Iterator[Sentence]:
    picked = evidence.choices[asked_rule.pick]
    if evidence.settings[picked.setting].lossless:
        yield Sentence("reason.lossless")
        return
    yield Sentence(f"reason.align_{picked.align}")
    if picked.align == "train" and known.train_pairs:
        yield Sentence("reason.train_held", held=known.train_held, pairs=known.train_pairs)
    for index, choice in enumerate(evidence.choices):
        if choice.setting == picked.setting and choice.align != picked.align:
            assumed = choice.align == "train" and not known.train_pairs
            key = "reason.other_align_assumed" if assumed else "reason.other_align"
            cost = evidence.inference_us(choice)
            if cost and not assumed:
                key = "reason.other_align_costs"
            yield Sentence(key, align=choice.align, difference=points(gains[index] - gains[asked_rule.pick]), cost=cost)
    if cost := evidence.inference_us(picked):
        yield Sentence("reason.inference", cost=cost)


def would_change(
    evidence: Evidence,
    asked_rule: RuleScores,
    gains: np.ndarray,
    curve: Sequence[BudgetRow],
    asked_rules: dict[str, RuleScores],
) -> Iterator[Sentence]:
    """Restrictions and budgets that would change the recommendation, and whether other rules agree with it."""
    picked = evidence.choices[asked_rule.pick]
    chosen = (evidence.settings[picked.setting].codec, picked.align)
    if picked.align == "both":
        best = best_of(evidence, asked_rule, lambda choice: choice.align != "both")
        if best is not None:
            choice = evidence.choices[best]
            yield Sentence(
                "change.no_coding",
                setting=short_spec(evidence.settings[choice.setting].codec),
                align=choice.align,
                difference=points(gains[best] - gains[asked_rule.pick]),
            )
    if asked_rule.rule == GAIN and evidence.replays:
        yield from _at_other_budgets(evidence.budget, chosen, gains[asked_rule.pick], curve)
    others = [
        one
        for one in asked_rules.values()
        if one.rule not in (asked_rule.rule, RANDOM) and _chooses_between_settings(evidence, one)
    ]
    agree = [one.rule for one in others if evidence.choices[one.pick].setting == picked.setting]
    if agree:
        yield Sentence("change.agree", agree=len(agree), others=len(others), rules=", ".join(agree))
    elif others:
        yield Sentence("change.none_agrees", others=len(others))


def _at_other_budgets(
    budget: int, chosen: tuple[str, str], gain: float, curve: Sequence[BudgetRow]
) -> Iterator[Sentence]:
    """The best choice at half the budget and at twice the budget."""
    rows = {row["budget_bytes"]: row for row in curve}
    for other in (budget // 2, budget * 2):
        row, size = rows.get(other), format_size(other)
        if row is None:
            if other < budget:
                yield Sentence("change.none_at_budget", budget=size)
            continue  # larger than all images
        difference = points(row["expected_gain"] - gain)
        if (row["codec"], row["align"]) == chosen:
            yield Sentence("change.same_at_budget", budget=size, difference=difference)
        else:
            yield Sentence(
                "change.at_budget",
                budget=size,
                difference=difference,
                setting=short_spec(row["codec"]),
                align=row["align"],
            )


def _chooses_between_settings(evidence: Evidence, asked_rule: RuleScores) -> bool:
    """Whether a rule prefers some setting over another, whatever the alignment."""
    best: dict[int, float] = {}
    for choice, score in zip(evidence.choices, asked_rule.scores, strict=True):
        best[choice.setting] = max(best.get(choice.setting, -np.inf), float(score))
    return len(set(best.values())) > 1


def best_of(evidence: Evidence, asked_rule: RuleScores, wanted: Callable[[Choice], bool]) -> int | None:
    """Index of the best among the wanted choices; None if there are none."""
    among = [index for index, choice in enumerate(evidence.choices) if wanted(choice)]
    if not among:
        return None
    exemplars = evidence.by_setting(evidence.exemplars_per_class)[among]
    aligns = [evidence.choices[index].align for index in among]
    return among[pick(asked_rule.scores[among], aligns, exemplars, RULES[asked_rule.rule].judges_alignment)]


def points(gain: float) -> float:
    """Points of accuracy rounded to a thousandth; 0 if they would be displayed as -0.0."""
    rounded = round(float(gain), 3)
    return 0.0 if abs(rounded) < 0.05 else rounded
