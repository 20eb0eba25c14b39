"""Regret: how far a rule's pick is from the best choice that pilots measured, in points of last accuracy.

A rule's parameters are fitted on problems of other datasets, because problems on the same images share test images. A
problem may occur several times under one name, with advice of different seeds.
"""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
from scipy.stats import spearmanr

from toolkit.advice.calibration import GAIN, RANDOM, Calibration
from toolkit.advice.contents import CalibrationContents, ProblemRegret, RuleRegret, WithinReach
from toolkit.advice.problem import Problem
from toolkit.advice.regret.noise import behind_pilots, within_reach
from toolkit.advice.rules.base import pick
from toolkit.advice.rules.fitted import PARAMETRIC, Parameters, cost_of
from toolkit.advice.rules.registry import RULES


def regret_table(problems: Sequence[Problem], known: Calibration | None = None) -> list[RuleRegret]:
    """One row per rule, the lowest mean regret first.

    Args:
        problems: measured by pilots.
        known: the parameters to evaluate; by default each problem uses parameters fitted on other datasets.
    """
    rules = list(dict.fromkeys(rule for problem in problems for rule in problem.seconds))
    expected = [left_out_scores(GAIN, one, problems, known) if one.quantities else None for one in problems]
    rows = [_row(rule, problems, expected, known) for rule in rules]
    return sorted(rows, key=lambda row: (row["mean_regret"], 1.0 if row["spearman"] is None else -row["spearman"]))


def _row(
    rule: str, problems: Sequence[Problem], expected: Sequence[np.ndarray | None], known: Calibration | None
) -> RuleRegret:
    """A rule's row; ``expected`` are the gains (k,) of every problem's choices by ``predicted-gain``."""
    details: list[ProblemRegret] = []
    fitted_on_itself = () if _several_datasets(problems) else [problem.dataset for problem in problems]
    seen = fitted_on_itself if known is None else known.datasets
    for problem, gains in zip(problems, expected, strict=True):
        scores = left_out_scores(rule, problem, problems, known)
        chosen = pick(scores, problem.aligns, problem.exemplars, rule in RULES and RULES[rule].judges_alignment)
        blind = rule == RANDOM
        shortfall = 100 * (problem.accuracy.max() - problem.accuracy.mean()) if blind else problem.regret(chosen)
        details.append(
            {
                "problem": problem.name,
                "regret": float(shortfall),
                "behind_pilots": None if blind else behind_pilots(problem, chosen),
                "spearman": 0.0 if blind else correlation(scores, problem.accuracy),
                "in_sample": rule in PARAMETRIC and problem.dataset in seen,
                "codec": None if blind else problem.codecs[chosen],
                "align": None if blind else problem.aligns[chosen],
                "gain": None if blind else float(problem.gains[chosen]),
                "expected_gain": None if blind or gains is None else float(gains[chosen]),
                "time_share": (problem.probe_seconds + problem.seconds[rule]) / max(problem.pilot_seconds, 1e-9),
            }
        )
    ranked = [one["spearman"] for one in details if one["spearman"] is not None]
    behind = [one["behind_pilots"] for one in details if one["behind_pilots"] is not None]
    return {
        "rule": rule,
        "mean_regret": float(np.mean([one["regret"] for one in details])),
        "worst_regret": float(np.max([one["regret"] for one in details])),
        "behind_pilots": float(np.mean(behind)) if behind else None,
        "spearman": float(np.mean(ranked)) if ranked else None,
        "time_share": float(np.mean([one["time_share"] for one in details])),
        "in_sample": any(one["in_sample"] for one in details),
        "problems": details,
    }


def reach_table(problems: Sequence[Problem]) -> list[WithinReach]:
    """:func:`~toolkit.advice.regret.noise.within_reach` once per problem, however often it occurs."""
    return [within_reach(problem) for problem in {problem.name: problem for problem in problems}.values()]


def left_out_scores(
    rule: str, problem: Problem, problems: Sequence[Problem], known: Calibration | None = None
) -> np.ndarray:
    """A rule's scores (k,) of a problem, with ``known`` parameters.

    By default parameters are fitted on other datasets, or on all problems if there is only one dataset.
    """
    if rule not in PARAMETRIC:
        return problem.scores[rule]
    parametric = PARAMETRIC[rule]
    if known is not None:
        return parametric.combine(problem.quantities, known.parameters[rule])
    others = [other for other in problems if other.dataset != problem.dataset]
    return parametric.combine(problem.quantities, parametric.fit(others or problems))


def _several_datasets(problems: Sequence[Problem]) -> bool:
    return len({problem.dataset for problem in problems}) > 1


def correlation(scores: np.ndarray, accuracy: np.ndarray) -> float | None:
    """Spearman's rank correlation; None if either is constant."""
    if len(scores) < 2 or np.ptp(scores) == 0 or np.ptp(accuracy) == 0:
        return None
    return float(spearmanr(scores, accuracy).statistic)


def calibrate_rules(problems: Sequence[Problem]) -> CalibrationContents:
    """The calibration from a study: parameters fitted on all problems, the interval, the tables, the best rule.

    ``interval`` is a half-width in points: 95 % of the pilots' gains over raw are within it of the gain predicted with
    their dataset left out, on the dataset where it is widest. The errors of a problem share a bias, so a new dataset is
    a single draw. None with one dataset. ``train_pairs`` counts the settings piloted under both ``train`` and ``both``,
    ``train_held`` those in which ``train`` was no worse. ``most_growth`` is the largest measured ``growth`` of any
    choice.
    """
    table = regret_table(problems)
    errors: dict[str, list[np.ndarray]] = {}
    for problem in problems:
        error = np.abs(left_out_scores(GAIN, problem, problems) - problem.gains)[_not_raw(problem)]
        errors.setdefault(problem.dataset, []).append(error)
    each = {problem.name: problem for problem in problems}.values()
    better = np.concatenate([cost_of("train", problem)[1] for problem in each])
    widest = max(float(np.quantile(np.concatenate(of_dataset), 0.95)) for of_dataset in errors.values())
    parameters: dict[str, Parameters] = {name: one.fit(problems) for name, one in PARAMETRIC.items()}
    return {
        "default_rule": next(row["rule"] for row in table if row["rule"] != RANDOM),
        "parameters": parameters,
        "interval": widest if _several_datasets(problems) else None,
        "train_pairs": int(better.size),
        "train_held": int((better <= 0).sum()),
        "most_growth": float(max(problem.quantities["growth"].max() for problem in problems)),
        "datasets": list(dict.fromkeys(problem.dataset for problem in problems)),
        "problems": list(dict.fromkeys(problem.name for problem in problems)),
        "regret": table,
        "within_reach": reach_table(problems),
    }


def _not_raw(problem: Problem) -> np.ndarray:
    """All choices except raw, whose gain is 0 by definition."""
    return np.array([codec != "raw" for codec in problem.codecs])
