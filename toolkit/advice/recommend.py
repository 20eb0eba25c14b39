"""The recommendation: what every rule picks, what the default rule's pick should gain, and what would change it.

Training images only, through a :func:`~toolkit.data.dataset.validation_view`; test data are never opened.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np

from toolkit.advice.budgets import BudgetPlan
from toolkit.advice.calibration import GAIN, RANDOM, WITHIN, Calibration, calibration
from toolkit.advice.contents import AdviceResult, BudgetRow, Budgets, Recommended, RulePick, RuleRegret, RunnerUp
from toolkit.advice.evidence import Choice, Evidence
from toolkit.advice.rules.base import RuleScores, ask_rule, pick
from toolkit.advice.rules.quantities import growth
from toolkit.advice.rules.registry import FEATURES, RULES, require_rule
from toolkit.codecs.spec import is_lossless, short_spec
from toolkit.data.catalog import short_name
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.sizes import format_size
from toolkit.language.sentence import Sentence
from toolkit.probe.contents import ProbeResult


def advise(
    table: ProbeResult,
    evidence: Evidence,
    *,
    rule: str | None = None,
    within: float = WITHIN,
    progress: Progress = silent,
) -> AdviceResult:
    """The ``advise`` JSON: the probe's with every rule's pick, the recommendation, and budgets.

    Args:
        table, evidence: as :func:`~toolkit.advice.evidence.gather` gives them.
        rule: recommends; by default the calibration's, the one of least regret.
        within: points of accuracy that the smallest budget may cost.
        progress: told about rules asked.

    Raises:
        UsageError: an unknown rule.
    """
    known = calibration()
    asked = rule or known.default_rule
    require_rule(asked)
    asked_rules = {}
    for done, one in enumerate(RULES.values(), 1):
        asked_rules[one.name] = ask_rule(one, evidence)
        progress("asking the rules", done, len(RULES))
    gains = asked_rules[GAIN].scores
    chosen = asked_rules[asked].pick
    beyond = _beyond(evidence, known, evidence.choices[chosen])
    measured = known.regret_of(asked)
    interval = known.interval if known.applies_to(table) and measured and not beyond else None
    plan = BudgetPlan.of(evidence, known.parameters[GAIN])
    curve = plan.curve(evidence.budget)
    looks_at_exemplars = RULES[asked].uses == FEATURES
    limits = (note for note in evidence.notes if note.key != "limit.few_looked_at" or looks_at_exemplars)
    notes = [*limits, *_doubts(table, known)]
    if measured is None:
        notes.append(Sentence("doubt.unmeasured_rule", rule=asked))
    if beyond:
        notes.append(Sentence("doubt.beyond", growth=float(beyond), most=known.most_growth))
    if not evidence.replays:
        notes.append(Sentence("doubt.one_stage"))
    return {
        **table,
        "rules": [_as_row(evidence, asked_rule) for asked_rule in asked_rules.values()],
        "excluded": [
            {"codec": codec, "reason": str(reason), "sentence": reason.as_dict()} for codec, reason in evidence.excluded
        ],
        "notes": [str(note) for note in notes],
        "sentences": [note.as_dict() for note in notes],
        "recommended": recommend(
            evidence,
            asked_rules[asked],
            gains,
            known,
            interval,
            curve,
            asked_rules,
            measured=measured if known.applies_to(table) else None,
        ),
        "budgets": _budgets(plan, curve, within, None if evidence.raw_choice else float(gains[chosen])),
    }


def _budgets(plan: BudgetPlan, curve: Sequence[BudgetRow], within: float, recommended_gain: float | None) -> Budgets:
    """The plan as JSON; gains are over raw pixels, or over the recommended choice where raw pixels do not fit.

    Where all classes come in one stage nothing is replayed, and no budget is the smallest.
    """
    less = recommended_gain or 0.0

    def over_reference(row: BudgetRow) -> BudgetRow:
        raw_gain = None if row["raw_gain"] is None else row["raw_gain"] - less
        return {**row, "expected_gain": row["expected_gain"] - less, "raw_gain": raw_gain}

    return {
        "rule": GAIN,
        "reference": "raw" if recommended_gain is None else "recommended",
        "curve": [over_reference(row) for row in curve],
        "within_points": within,
        "ceiling": plan.ceiling - less,
        "smallest": over_reference(plan.smallest(within)) if plan.evidence.replays else None,
    }


def _beyond(evidence: Evidence, known: Calibration, choice: Choice) -> float | None:
    """The growth of a choice, where it is beyond all that pilots have measured."""
    grows = growth(evidence, choice.setting)
    return grows if grows > known.most_growth else None


def _tells_apart(evidence: Evidence) -> bool:
    """Whether features differ at all; where they do not, no gain can be foretold."""
    return not any(note.key == "limit.same_features" for note in evidence.notes)


def _can_state_gain(evidence: Evidence) -> bool:
    """Whether raw pixels, which gains are over, fit the budget, and features tell anything."""
    return evidence.raw_choice is not None and _tells_apart(evidence)


def _doubts(table: ProbeResult, known: Calibration) -> Iterator[Sentence]:
    """Why what was learned on other problems may not hold here, or be flattered."""
    if not known.applies_to(table):
        yield Sentence("doubt.extractor", extractor=known.extractor)
    if table["extractor"].startswith("checkpoint:"):
        yield Sentence("doubt.checkpoint")
    if short_name(table["dataset"]) in known.datasets:
        yield Sentence("doubt.own_pilots")


def _as_row(evidence: Evidence, asked_rule: RuleScores) -> RulePick:
    picked = evidence.choices[asked_rule.pick]
    return {
        "rule": asked_rule.rule,
        "codec": evidence.settings[picked.setting].codec,
        "align": picked.align,
        "score": float(asked_rule.scores[asked_rule.pick]),
        "seconds": round(asked_rule.seconds, 4),
        "used": RULES[asked_rule.rule].uses,
        "summary": RULES[asked_rule.rule].summary,
        "judges_alignment": RULES[asked_rule.rule].judges_alignment,
        "scores": [
            {"codec": evidence.settings[choice.setting].codec, "align": choice.align, "score": float(score)}
            for choice, score in zip(evidence.choices, asked_rule.scores, strict=True)
        ],
    }


def recommend(
    evidence: Evidence,
    asked_rule: RuleScores,
    gains: np.ndarray,
    known: Calibration,
    interval: float | None,
    curve: Sequence[BudgetRow],
    asked_rules: dict[str, RuleScores],
    measured: RuleRegret | None = None,
) -> Recommended:
    """What to do, in figures and sentences.

    Args:
        evidence: what is known.
        asked_rule: the recommending rule's.
        gains: points of last accuracy over raw pixels, float64 (choices,).
        known: the package's calibration.
        interval: of the expected gain, half its width in points; None where it is not known.
        curve: the best choice at other budgets.
        asked_rules: of all rules.
        measured: the rule's row of the regret table, where that holds for features like these.
    """
    picked = evidence.choices[asked_rule.pick]
    setting = evidence.settings[picked.setting]
    comparable = _can_state_gain(evidence)
    if picked == evidence.raw_choice:
        interval = None  # by definition no gain
    second = _runner_up(evidence, asked_rule)
    reasons = list(_reasons(evidence, asked_rule, gains, known, interval, measured))
    changes = list(_would_change(evidence, asked_rule, gains, curve, asked_rules))
    return {
        "rule": asked_rule.rule,
        "codec": setting.codec,
        "align": picked.align,
        "exemplars": int(evidence.exemplars_per_class(picked.setting) * evidence.classes + 1e-6),
        "exemplars_per_class": round(evidence.exemplars_per_class(picked.setting), 2),
        "raw_exemplars_per_class": round(evidence.raw_exemplars, 2),
        "expected_gain": _points(gains[asked_rule.pick]) if comparable else None,
        "interval": interval if comparable else None,
        "inference_us": _inference_microseconds(evidence, picked),
        "runner_up": None if second is None else _runner_up_row(evidence, second, gains),
        "reasons": [str(reason) for reason in reasons],
        "would_change": [str(change) for change in changes],
        "sentences": {
            "reasons": [reason.as_dict() for reason in reasons],
            "would_change": [change.as_dict() for change in changes],
        },
    }


def _runner_up(evidence: Evidence, asked_rule: RuleScores) -> int | None:
    """The best choice with another setting."""
    mine = evidence.choices[asked_rule.pick].setting
    return _best_of(evidence, asked_rule, lambda choice: choice.setting != mine)


def _best_of(evidence: Evidence, asked_rule: RuleScores, wanted: Callable[[Choice], bool]) -> int | None:
    """Index of the best choice of some."""
    among = [index for index, choice in enumerate(evidence.choices) if wanted(choice)]
    if not among:
        return None
    exemplars = evidence.by_setting(evidence.exemplars_per_class)[among]
    aligns = [evidence.choices[index].align for index in among]
    return among[pick(asked_rule.scores[among], aligns, exemplars, RULES[asked_rule.rule].judges_alignment)]


def _runner_up_row(evidence: Evidence, index: int, gains: np.ndarray) -> RunnerUp:
    choice = evidence.choices[index]
    return {
        "codec": evidence.settings[choice.setting].codec,
        "align": choice.align,
        "exemplars_per_class": round(evidence.exemplars_per_class(choice.setting), 2),
        "expected_gain": _points(gains[index]) if _can_state_gain(evidence) else None,
    }


def _inference_microseconds(evidence: Evidence, choice: Choice) -> float:
    """What an image costs more at inference, processor time on one thread."""
    row = evidence.settings[choice.setting].row
    return round(float(row["encode_us"] + row["decode_us"]), 1) if choice.align == "both" else 0.0


def _reasons(
    evidence: Evidence,
    asked_rule: RuleScores,
    gains: np.ndarray,
    known: Calibration,
    interval: float | None,
    measured: RuleRegret | None,
) -> Iterator[Sentence]:
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
    gain = _points(gains[asked_rule.pick])
    if evidence.raw_choice is None:
        yield Sentence("reason.raw_does_not_fit")
    elif not _tells_apart(evidence):
        pass  # a note says why
    elif picked == evidence.raw_choice:
        best = int(np.argmax(gains))
        more, other = _points(gains[best] - gains[asked_rule.pick]), evidence.choices[best]
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
    """How far off the rule was where pilots were run."""
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
            cost = _inference_microseconds(evidence, choice)
            if cost and not assumed:
                key = "reason.other_align_costs"
            yield Sentence(
                key, align=choice.align, difference=_points(gains[index] - gains[asked_rule.pick]), cost=cost
            )
    if cost := _inference_microseconds(evidence, picked):
        yield Sentence("reason.inference", cost=cost)


def _would_change(
    evidence: Evidence,
    asked_rule: RuleScores,
    gains: np.ndarray,
    curve: Sequence[BudgetRow],
    asked_rules: dict[str, RuleScores],
) -> Iterator[Sentence]:
    """What else the user could want to know before believing it."""
    picked = evidence.choices[asked_rule.pick]
    chosen = (evidence.settings[picked.setting].codec, picked.align)
    if picked.align == "both":
        best = _best_of(evidence, asked_rule, lambda choice: choice.align != "both")
        if best is not None:
            choice = evidence.choices[best]
            yield Sentence(
                "change.no_coding",
                setting=short_spec(evidence.settings[choice.setting].codec),
                align=choice.align,
                difference=_points(gains[best] - gains[asked_rule.pick]),
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
            continue  # more than all images need
        difference = _points(row["expected_gain"] - gain)
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
    """Whether a rule found some setting better than another, alignments aside."""
    best: dict[int, float] = {}
    for choice, score in zip(evidence.choices, asked_rule.scores, strict=True):
        best[choice.setting] = max(best.get(choice.setting, -np.inf), float(score))
    return len(set(best.values())) > 1


def _points(gain: float) -> float:
    """Points of accuracy to a thousandth, and 0 for what would be said as -0.0."""
    rounded = round(float(gain), 3)
    return 0.0 if abs(rounded) < 0.05 else rounded
