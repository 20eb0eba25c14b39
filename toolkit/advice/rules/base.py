"""What a rule is: a function from evidence to a score for every choice. No torch: the app reads the names."""

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
    """A way to choose.

    Attributes:
        name: as users write it.
        summary: one sentence.
        uses: what it looks at.
        function: ``module:name``, imported when the rule is asked: a function from
            :class:`~toolkit.advice.evidence.Evidence` to a score for each of its choices, float64 (choices,); higher is
            better.
        judges_alignment: whether alignments differ in score.
    """

    name: str
    summary: str
    uses: str
    function: str
    judges_alignment: bool = False


@dataclass(frozen=True)
class RuleScores:
    """What a rule said.

    Attributes:
        rule: its name.
        scores: float64 (choices,).
        pick: index of the choice with the highest score.
        seconds: it took.
    """

    rule: str
    scores: np.ndarray
    pick: int
    seconds: float


def ask_rule(rule: Rule, evidence: Evidence) -> RuleScores:
    """Ask a rule."""
    score: Callable[[Evidence], np.ndarray] = load_object(rule.function)
    started = time.perf_counter()
    scores = score(evidence)
    seconds = time.perf_counter() - started
    aligns = [choice.align for choice in evidence.choices]
    chosen = pick(scores, aligns, evidence.by_setting(evidence.exemplars_per_class), rule.judges_alignment)
    return RuleScores(rule.name, scores, chosen, seconds)


def pick(scores: np.ndarray, aligns: Sequence[str], exemplars: np.ndarray, judges_alignment: bool = False) -> int:
    """Index of the highest score; of equals by alignment, then the setting that stores more.

    A rule that does not judge alignment is taken with the one that codes most, the paper's pre-processing. One that
    does, and finds no difference, with the one that codes least: incoming images then need no coding.

    Args:
        scores: float64 (k,).
        aligns: of each choice.
        exemplars: float64 (k,), a class.
        judges_alignment: whether the scores' rule does.
    """
    sign = -1 if judges_alignment else 1
    return max(range(len(scores)), key=lambda k: (scores[k], sign * ALIGNS.index(aligns[k]), exemplars[k]))
