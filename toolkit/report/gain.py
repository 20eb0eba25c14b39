"""The gain of one pilot over another, paired by seed. Imports no torch."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TypedDict

from toolkit.learning.metrics import mean_and_ci95
from toolkit.pilots.contents import PilotSummary


class GainContents(TypedDict):
    """A :class:`Gain` as JSON."""

    points: float
    half: float | None
    seeds: int


@dataclass(frozen=True)
class Gain:
    """Points of last accuracy of one pilot over another.

    Attributes:
        points: mean difference over the shared seeds, or difference of the means if no seed is shared.
        half: half width of its 95 % interval over those seeds; None for fewer than two.
        seeds: number of shared seeds.
    """

    points: float
    half: float | None
    seeds: int

    @property
    def certain(self) -> bool:
        """Whether the interval excludes zero."""
        return self.half is not None and abs(self.points) > self.half

    def as_dict(self) -> GainContents:
        """The gain as JSON."""
        return {"points": self.points, "half": self.half, "seeds": self.seeds}


def gain_over(pilot: PilotSummary, other: PilotSummary) -> Gain:
    """Points of last accuracy of ``pilot`` over ``other``, paired by seed."""
    mine, theirs = ({run["seed"]: run["last_accuracy"] for run in one["runs"]} for one in (pilot, other))
    shared = sorted(mine.keys() & theirs.keys())
    if not shared:
        return Gain(100 * (pilot["mean"]["last_accuracy"] - other["mean"]["last_accuracy"]), None, 0)
    mean, half = mean_and_ci95([100 * (mine[seed] - theirs[seed]) for seed in shared])
    return Gain(mean, half, len(shared))
