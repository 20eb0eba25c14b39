"""Rules: functions from evidence to a score for every choice. Imports no torch, for the app's sake."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from toolkit.data.alignment import ALIGNS
from toolkit.foundation.lazy import load_object

if TYPE_CHECKING:
    from toolkit.advice.evidence import Evidence


@dataclass(frozen=True)
class Rule:
    """A rule for choosing codec, rate and alignment.

    Attributes:
        name: as written by users.
        summary: one sentence.
        uses: the inputs that it looks at.
        function: ``module:name``, imported on first use: a function from
            :class:`~toolkit.advice.evidence.Evidence` to a score per choice, float64 (choices,); higher is better.
        judges_alignment: whether scores depend on the alignment.
    """

    name: str
    summary: str
    uses: str
    function: str
    judges_alignment: bool = False


@dataclass(frozen=True)
class RuleScores:
    """Scores of one rule.

    Attributes:
        rule: its name.
        scores: float64 (choices,).
        pick: index of its pick.
        seconds: time that scoring took.
    """

    rule: str
    scores: np.ndarray
    pick: int
    seconds: float


def ask_rule(rule: Rule, evidence: Evidence) -> RuleScores:
    """Evaluate a rule."""
    score: Callable[[Evidence], np.ndarray] = load_object(rule.function)
    started = time.perf_counter()
    scores = score(evidence)
    seconds = time.perf_counter() - started
    aligns = [choice.align for choice in evidence.choices]
    chosen = pick(scores, aligns, evidence.by_setting(evidence.exemplars_per_class), rule.judges_alignment)
    return RuleScores(rule.name, scores, chosen, seconds)


def pick(scores: np.ndarray, aligns: Sequence[str], exemplars: np.ndarray, judges_alignment: bool = False) -> int:
    """Index of the highest score; ties are broken by alignment, then by the number of exemplars.

    For a rule that does not judge alignment, the alignment that codes most wins: the paper's pre-processing. For a rule
    that does but finds no difference, the one that codes least wins, because incoming images then need no coding.

    Args:
        scores: float64 (k,).
        aligns: alignment of each choice.
        exemplars: float64 (k,), exemplars per class.
        judges_alignment: whether the rule judges alignment.
    """
    sign = -1 if judges_alignment else 1
    return max(range(len(scores)), key=lambda k: (scores[k], sign * ALIGNS.index(aligns[k]), exemplars[k]))
