"""The best choice at any budget, and the smallest budget that keeps an accuracy.

Accuracy is the expected gain over raw pixels at the requested budget, in points of last accuracy. Losses do not depend
on the budget, so one probe suffices for all budgets.
"""

from __future__ import annotations

from bisect import bisect_left
from dataclasses import dataclass

import numpy as np

from toolkit.advice.calibration import GAIN
from toolkit.advice.contents import BudgetRow
from toolkit.advice.evidence import Evidence
from toolkit.advice.rules.base import pick
from toolkit.advice.rules.fitted import PARAMETRIC, Parameters
from toolkit.advice.rules.quantities import grown, tabulate
from toolkit.memory.disk import uniform_bytes

_ROUNDING = 1e-9


@dataclass(frozen=True)
class BudgetPlan:
    """Expected gains as a function of the budget.

    Attributes:
        evidence: evidence at a budget that holds all images raw.
        losses: float64 (choices,), points lost at any budget.
        parameters: of ``predicted-gain``.
    """

    evidence: Evidence
    losses: np.ndarray
    parameters: Parameters

    @classmethod
    def of(cls, evidence: Evidence, parameters: Parameters) -> BudgetPlan:
        """The plan for evidence, with calibrated parameters."""
        whole = evidence.at_budget(everything(evidence))
        rule = PARAMETRIC[GAIN]
        table = tabulate(whole, rule.quantities) | {"growth": np.zeros(len(whole.choices))}
        return cls(whole, -rule.combine(table, parameters), parameters)

    def at(self, budget: int) -> BudgetRow | None:
        """The best choice at a budget; None if no setting fits one exemplar per class."""
        evidence = self.evidence.at_budget(budget)
        fitting = {setting.codec for setting in evidence.settings}
        held = np.array([evidence.held(self.evidence.settings[one.setting]) for one in self.evidence.choices])
        fits = np.array([self.evidence.settings[one.setting].codec in fitting for one in self.evidence.choices])
        if not fits.any():
            return None
        growth = grown(evidence, held)
        gains = np.where(fits, self.parameters["growth"] * growth - self.losses, -np.inf)
        best = pick(gains, [choice.align for choice in self.evidence.choices], held, judges_alignment=True)
        choice = self.evidence.choices[best]
        raw = self.evidence.choices.index(raw_choice) if (raw_choice := self.evidence.raw_choice) is not None else None
        return {
            "budget_bytes": budget,
            "codec": self.evidence.settings[choice.setting].codec,
            "align": choice.align,
            "exemplars_per_class": round(float(held[best]), 2),
            "expected_gain": float(gains[best]),
            "raw_gain": float(gains[raw]) if raw is not None and fits[raw] else None,
        }

    def curve(self, budget: int) -> list[BudgetRow]:
        """Rows at doublings of a budget, from an eighth of it to the size of all raw images; at most twelve."""
        top = max(budget, self.evidence.budget)
        doublings = range(-3, min(9, int(np.ceil(np.log2(top / budget))) + 1))
        return [row for power in doublings if (row := self.at(int(budget * 2.0**power))) is not None]

    def smallest(self, within: float) -> BudgetRow:
        """The row of the smallest budget whose expected gain is at most ``within`` points below all images raw.

        Found by bisection, exact to the byte, because the best gain never decreases as the budget grows.
        """

        def enough(budget: int) -> bool:
            row = self.at(budget)
            return row is not None and row["expected_gain"] >= self.ceiling - within - _ROUNDING

        budget = bisect_left(range(self.evidence.budget), True, key=enough)
        row = self.at(budget)
        assert row is not None  # this budget holds all images raw
        return row

    @property
    def ceiling(self) -> float:
        """The expected gain of keeping every image raw."""
        images = np.array(np.mean(self.evidence.class_sizes))
        return self.parameters["growth"] * float(grown(self.evidence, images))


def everything(evidence: Evidence) -> int:
    """Bytes that hold every image raw."""
    each, most = int(evidence.raw.payload_bytes.max()), max(evidence.class_sizes)
    return uniform_bytes(each, most, evidence.classes, evidence.raw.shared_bytes)
