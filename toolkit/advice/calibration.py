"""The calibration from the package's regret study: parameters of rules, the default rule, and its expected error."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from pathlib import Path

from toolkit.advice.contents import RuleRegret, WithinReach
from toolkit.foundation.files import read_json
from toolkit.probe.contents import ProbeResult

PATH = Path(__file__).with_name("calibration.json")
GAIN = "predicted-gain"
"""The rule whose scores are points of last accuracy over raw pixels."""
ADVICE_IMAGES = 2000
"""With 4,800 images the default rule gave the same recommendation for Tiny-ImageNet-20 in 1.7 times the time."""
WITHIN = 1.0
"""Default number of accuracy points that the smallest budget may lose."""
RANDOM = "random"
"""The rule that picks at random: its regret is the mean over all choices, and its agreement carries no information."""


@dataclass(frozen=True)
class Calibration:
    """The JSON of :func:`toolkit.advice.regret.table.calibrate_rules`.

    Attributes:
        extractor: feature extractor of the study.
        train_pairs: number of settings piloted under both ``train`` and ``both``; if 0, ``train`` is assumed to equal
            ``none``.
        train_held: number of these in which ``train`` was no worse.
        most_growth: largest growth of any pilot.
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
    regret: list[RuleRegret]
    within_reach: list[WithinReach]

    def applies_to(self, table: ProbeResult) -> bool:
        """Whether a ``probe`` JSON was measured with the study's features."""
        return (table["extractor"], table["layer"]) == (self.extractor, None)

    def regret_of(self, rule: str) -> RuleRegret | None:
        """The table's row of a rule; None if it was not measured."""
        return next((row for row in self.regret if row["rule"] == rule), None)


@functools.cache
def calibration() -> Calibration:
    """The package's calibration."""
    return Calibration(**read_json(PATH))
