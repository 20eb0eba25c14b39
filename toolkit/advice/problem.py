"""A problem on which pilots have measured every choice, so that rules can be evaluated on it."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

import numpy as np

from toolkit.advice.contents import ProblemContents
from toolkit.advice.rules.quantities import Quantities


@dataclass(frozen=True, eq=False)
class Problem:
    """The pilots' accuracy of every choice, and everything that was known without pilots.

    Attributes:
        name: dataset, size, stages, budget and method, in words.
        dataset: its name; problems on the same images are not independent.
        codecs, aligns: of each of the k choices; ``raw`` is one.
        by_seed: float64 (k, s), last accuracy per choice and seed, a fraction; all choices have the seeds in one order.
        scores: scores (k,) by rule, without parametric rules, whose scores depend on other problems.
        seconds: time by rule, without the probe that all rules share.
        quantities: by name, each (k,).
        exemplars: float64 (k,), exemplars per class.
        probe_seconds, pilot_seconds: time of the evidence that all rules share, and of all pilots.
    """

    name: str
    dataset: str
    codecs: tuple[str, ...]
    aligns: tuple[str, ...]
    by_seed: np.ndarray
    scores: dict[str, np.ndarray] = field(default_factory=dict)
    seconds: dict[str, float] = field(default_factory=dict)
    quantities: Quantities = field(default_factory=dict)
    exemplars: np.ndarray = field(default_factory=lambda: np.zeros(0))
    probe_seconds: float = 0.0
    pilot_seconds: float = 0.0

    @property
    def accuracy(self) -> np.ndarray:
        """Mean last accuracy over seeds, float64 (k,), a fraction."""
        return np.asarray(self.by_seed.mean(axis=1))

    @property
    def gains(self) -> np.ndarray:
        """Points of last accuracy over raw pixels at the same budget, (k,)."""
        return 100 * (self.accuracy - self.accuracy[self.codecs.index("raw")])

    @property
    def unaligned(self) -> np.ndarray:
        """Choices that mix coded and original images under ``none``, bool (k,)."""
        return np.asarray(self.quantities.get("shift_if_none", np.zeros(len(self.aligns)))) > 0

    def regret(self, chosen: int) -> float:
        """Points of accuracy by which a choice falls short of the best one."""
        return float(100 * (self.accuracy.max() - self.accuracy[chosen]))

    def as_dict(self) -> ProblemContents:
        """The problem as JSON."""
        return {
            "name": self.name,
            "dataset": self.dataset,
            "choices": [
                {
                    "codec": codec,
                    "align": align,
                    "accuracy": float(self.accuracy[k]),
                    "by_seed": self.by_seed[k].tolist(),
                    "exemplars_per_class": float(self.exemplars[k]),
                    "scores": {rule: float(scores[k]) for rule, scores in self.scores.items()},
                    "quantities": {name: float(values[k]) for name, values in self.quantities.items()},
                }
                for k, (codec, align) in enumerate(zip(self.codecs, self.aligns, strict=True))
            ],
            "seconds": self.seconds,
            "probe_seconds": self.probe_seconds,
            "pilot_seconds": self.pilot_seconds,
        }

    @classmethod
    def from_dict(cls, saved: ProblemContents) -> Problem:
        """The inverse of :meth:`as_dict`."""
        choices = saved["choices"]

        return cls(
            saved["name"],
            saved["dataset"],
            tuple(choice["codec"] for choice in choices),
            tuple(choice["align"] for choice in choices),
            np.array([choice["by_seed"] for choice in choices]),
            _columns([choice["scores"] for choice in choices]),
            saved["seconds"],
            _columns([choice["quantities"] for choice in choices]),
            np.array([choice["exemplars_per_class"] for choice in choices]),
            saved["probe_seconds"],
            saved["pilot_seconds"],
        )


def _columns(rows: Sequence[Mapping[str, float]]) -> dict[str, np.ndarray]:
    """Rows with the same keys as an array per key."""
    return {name: np.array([row[name] for row in rows]) for name in rows[0]}
