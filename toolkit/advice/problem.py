"""A problem on which pilots have measured every choice: what rules are held against."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

import numpy as np

from toolkit.advice.rules.quantities import Quantities


@dataclass(frozen=True, eq=False)
class Problem:
    """Pilots' accuracy of every choice, and what was known without them.

    Attributes:
        name: dataset, size, stages, budget and method, in words.
        dataset: its name; problems on the same images know each other's answers.
        codecs, aligns: of each of the k choices; ``raw`` is one.
        by_seed: float64 (k, s), last accuracy of each choice and seed, a fraction; seeds in one order for all choices.
        scores: a rule's name to its scores (k,); not those of parametric rules, which depend on other problems.
        seconds: a rule's name to what it took, the probe it rests on left aside.
        quantities: by name, each (k,).
        exemplars: float64 (k,), a class.
        probe_seconds, pilot_seconds: of the evidence that all rules share, and of all pilots.
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
        """Which choices let coded and original images meet under ``none``, bool (k,)."""
        return np.asarray(self.quantities.get("shift_if_none", np.zeros(len(self.aligns)))) > 0

    def regret(self, chosen: int) -> float:
        """Points of accuracy that a choice lacks to the best one."""
        return float(100 * (self.accuracy.max() - self.accuracy[chosen]))

    def as_dict(self) -> dict[str, Any]:
        """As JSON has it."""
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
    def from_dict(cls, saved: dict[str, Any]) -> Problem:
        """What :meth:`as_dict` gave."""
        choices = saved["choices"]

        def columns(key: str) -> dict[str, np.ndarray]:
            return {name: np.array([choice[key][name] for choice in choices]) for name in choices[0][key]}

        return cls(
            saved["name"],
            saved["dataset"],
            tuple(choice["codec"] for choice in choices),
            tuple(choice["align"] for choice in choices),
            np.array([choice["by_seed"] for choice in choices]),
            columns("scores"),
            saved["seconds"],
            columns("quantities"),
            np.array([choice["exemplars_per_class"] for choice in choices]),
            saved["probe_seconds"],
            saved["pilot_seconds"],
        )
