"""What the package has learned from its regret study: parameters, the default rule, and how far off it may be."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from toolkit.foundation.files import read_json

PATH = Path(__file__).with_name("calibration.json")
GAIN = "predicted-gain"
"""The rule whose scores are points of last accuracy over raw pixels."""
ADVICE_IMAGES = 2000
"""With 4,800 the default rule said the same of Tiny-ImageNet-20, in 1.7 times the time."""
WITHIN = 1.0
"""Points of accuracy that the smallest budget may cost."""
RANDOM = "random"
"""The rule whose pick is a draw: its regret is the mean over all choices, and that it agrees says nothing."""


@dataclass(frozen=True)
class Calibration:
    """See :func:`toolkit.advice.regret.table.calibrate_rules`, whose JSON this is.

    Attributes:
        extractor: whose features the table and parameters are of.
        train_pairs: settings piloted under ``train`` and under ``both``; where there are none, ``train`` is taken to be
            as ``none``.
        train_held: in how many of these ``train`` was no worse.
        most_growth: beyond which no pilot has been.
    """

    default_rule: str
    extractor: str
    parameters: dict[str, dict[str, float]]
    interval: float | None
    train_pairs: int
    train_held: int
    most_growth: float
    datasets: list[str]
    problems: list[str]
    regret: list[dict[str, Any]]
    within_reach: list[dict[str, Any]]

    def applies_to(self, table: dict[str, Any]) -> bool:
        """Whether a ``probe`` JSON is of the features that this was learned with."""
        return (table["extractor"], table["layer"]) == (self.extractor, None)

    def regret_of(self, rule: str) -> dict[str, Any] | None:
        """The table's row of a rule; None if it was not measured."""
        return next((row for row in self.regret if row["rule"] == rule), None)


@functools.cache
def calibration() -> Calibration:
    """The package's calibration."""
    return Calibration(**read_json(PATH))
