"""The recommendation: the picks of all rules, the expected gain of the default rule's pick, and budgets.

Based on training images only, through a :func:`~toolkit.data.dataset.validation_view`; test data are never opened.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence

import numpy as np

from toolkit.advice.budgets import BudgetPlan
from toolkit.advice.calibration import GAIN, WITHIN, Calibration, calibration
from toolkit.advice.contents import AdviceResult, BudgetRow, Budgets, Recommended, RulePick, RuleRegret, RunnerUp
from toolkit.advice.evidence import Choice, Evidence
from toolkit.advice.reasons import best_of, points, reasons, would_change
from toolkit.advice.rules.base import RuleScores, ask_rule
from toolkit.advice.rules.quantities import growth
from toolkit.advice.rules.registry import FEATURES, RULES, require_rule
from toolkit.data.catalog import short_name
from toolkit.foundation.progress import Progress, silent
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
    """The ``advise`` JSON: the ``probe`` JSON with every rule's pick, the recommendation, and budgets.

    Args:
        table, evidence: from :func:`~toolkit.advice.gather.gather`.
        rule: the rule that recommends; by default the one with the least mean regret.
        within: accuracy points that the smallest budget may lose.
        progress: receives the number of rules evaluated.

    Raises:
        UsageError: an unknown rule.
    """
    known = calibration()
    asked = rule or known.default_rule
    require_rule(asked)
    asked_rules = {}
    for done, one in enumerate(RULES.values(), 1):
        asked_rules[one.name] = ask_rule(one, evidence)
        progress("evaluating the rules", done, len(RULES))
    gains = asked_rules[GAIN].scores
    chosen = asked_rules[asked].pick
    beyond = _beyond(evidence, known, evidence.choices[chosen])
    measured = known.regret_of(asked)
    interval = known.interval if known.applies_to(table) and measured and not beyond else None
    plan = BudgetPlan.of(evidence, known.parameters[GAIN])
    curve = plan.curve(evidence.budget)
    notes = list(_notes(table, evidence, known, asked, beyond))
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
    """The plan as JSON; gains are over raw pixels, or over the recommended choice if raw pixels do not fit.

    With a single stage nothing is replayed, so there is no smallest budget.
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
    """The growth of a choice if it exceeds all growths that pilots have measured, else None."""
    grows = growth(evidence, choice.setting)
    return grows if grows > known.most_growth else None


def _notes(
    table: ProbeResult, evidence: Evidence, known: Calibration, rule: str, beyond: float | None
) -> Iterator[Sentence]:
    """Limits of the evidence, and reasons why the calibration may not apply here or may be too optimistic."""
    for limit in evidence.notes:
        if limit.key != "limit.few_looked_at" or RULES[rule].uses == FEATURES:
            yield limit
    if not known.applies_to(table):
        yield Sentence("doubt.extractor", extractor=known.extractor)
    if table["extractor"].startswith("checkpoint:"):
        yield Sentence("doubt.checkpoint")
    if short_name(table["dataset"]) in known.datasets:
        yield Sentence("doubt.own_pilots")
    if known.regret_of(rule) is None:
        yield Sentence("doubt.unmeasured_rule", rule=rule)
    if beyond:
        yield Sentence("doubt.beyond", growth=float(beyond), most=known.most_growth)
    if not evidence.replays:
        yield Sentence("doubt.one_stage")


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
    """The recommendation as numbers and sentences.

    Args:
        evidence: input of the rules.
        asked_rule: scores of the recommending rule.
        gains: points of last accuracy over raw pixels, float64 (choices,).
        known: the package's calibration.
        interval: half-width of the expected gain's 95 % interval in points; None if unknown.
        curve: the best choice at other budgets.
        asked_rules: scores of all rules, by name.
        measured: the rule's row of the regret table, if it was measured with these features.
    """
    picked = evidence.choices[asked_rule.pick]
    setting = evidence.settings[picked.setting]
    if picked == evidence.raw_choice:
        interval = None  # the gain is 0 by definition
    second = _runner_up(evidence, asked_rule)
    because = list(reasons(evidence, asked_rule, gains, known, interval, measured))
    changes = list(would_change(evidence, asked_rule, gains, curve, asked_rules))
    return {
        "rule": asked_rule.rule,
        "codec": setting.codec,
        "align": picked.align,
        "exemplars": int(evidence.exemplars_per_class(picked.setting) * evidence.classes + 1e-6),
        "exemplars_per_class": round(evidence.exemplars_per_class(picked.setting), 2),
        "raw_exemplars_per_class": round(evidence.raw_exemplars, 2),
        "expected_gain": points(gains[asked_rule.pick]) if evidence.has_gains else None,
        "interval": interval if evidence.has_gains else None,
        "inference_us": evidence.inference_us(picked),
        "runner_up": None if second is None else _runner_up_row(evidence, second, gains),
        "reasons": [str(reason) for reason in because],
        "would_change": [str(change) for change in changes],
        "sentences": {
            "reasons": [reason.as_dict() for reason in because],
            "would_change": [change.as_dict() for change in changes],
        },
    }


def _runner_up(evidence: Evidence, asked_rule: RuleScores) -> int | None:
    """Index of the best choice with another setting; None if there is only one setting."""
    mine = evidence.choices[asked_rule.pick].setting
    return best_of(evidence, asked_rule, lambda choice: choice.setting != mine)


def _runner_up_row(evidence: Evidence, index: int, gains: np.ndarray) -> RunnerUp:
    choice = evidence.choices[index]
    return {
        "codec": evidence.settings[choice.setting].codec,
        "align": choice.align,
        "exemplars_per_class": round(evidence.exemplars_per_class(choice.setting), 2),
        "expected_gain": points(gains[index]) if evidence.has_gains else None,
    }
