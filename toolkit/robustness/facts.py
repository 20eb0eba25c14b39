"""The robustness report as JSON."""

from __future__ import annotations

from typing import TypedDict


class AttackSummary(TypedDict):
    """Accuracies of one network as fractions of all images: without attack, and per attack and bound.

    ``worst`` is the fraction of images on which every attack fails, per bound; ``notes`` warn of masked gradients.
    """

    clean: float
    attacks: dict[str, list[float]]
    worst: list[float]
    notes: list[str]


class RobustnessReport(TypedDict):
    """Settings and results of an evaluation; ``judged`` is a sentence on when an attack counts as successful.

    ``models`` has the keys ``plain`` and ``layered``.
    """

    images: int
    eps: list[float]
    mode: str
    judged: str
    seed: int
    queries: int
    batch_size: int
    models: dict[str, AttackSummary]
