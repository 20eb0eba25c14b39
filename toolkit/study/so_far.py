"""A study so far, read from its runs: what is known, what runs next, and the decision. Imports no torch.

Nothing else is stored, so a study goes on from any kill, and the app shows it by the same function.
"""

from __future__ import annotations

import itertools
import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np

from toolkit.advice.contents import AdviceResult
from toolkit.codecs.spec import is_raw
from toolkit.data.catalog import load_dataset
from toolkit.learning.metrics import mean_and_ci95
from toolkit.pilots.contents import PilotResult
from toolkit.pilots.request import PilotRequest
from toolkit.pilots.results import aggregate_pilots, images_right, storage_of
from toolkit.study.contents import ArmResult, Decision, GainOver, NamedArm, Round, TestedArm
from toolkit.study.decision import LEAST_SEEDS, Accuracies, decide, difference, seeds_to_settle, worth
from toolkit.study.line_up import Arm, LineUp, codes_nothing, line_up
from toolkit.study.plan import StudyPlan
from toolkit.study.preference import preferred
from toolkit.study.race import Standing, Wanted, standing

FAR = 2.5
"""Points below the best arm that count as a bad decision."""
_UNKNOWN = 0.1
"""Disagreement of arms before two of them have two seeds."""
_LEAST_DISAGREEMENT = 0.01


@dataclass(frozen=True)
class SoFar:
    """What is known of a race.

    Attributes:
        plan: the study.
        line: who may start.
        results: finished pilots on held-out images, by arm and seed.
        errors: why pilots failed, by arm and seed.
    """

    plan: StudyPlan
    line: LineUp
    results: Mapping[Wanted, PilotResult]
    errors: Mapping[Wanted, str]

    @cached_property
    def found(self) -> Accuracies:
        """The accuracies, for the model."""
        by_seed = np.full((len(self.line.arms), len(self.plan.rounds)), np.nan)
        for (arm, seed), result in self.results.items():
            by_seed[arm, seed] = 100 * result["last_accuracy"]
        for arm, seed in self.errors:
            by_seed[arm, seed] = -np.inf
        right = {key: images for key, one in self.results.items() if (images := images_right(one)) is not None}
        return Accuracies(
            by_seed,
            self.line.group,
            self.line.expected,
            np.unique([arm.codec for arm in self.line.arms], return_inverse=True)[1],
            len(next(iter(right.values()))) if right else 10**9,
            disagreement(right),
        )

    @cached_property
    def standing(self) -> Standing:
        """Where the race is."""
        return standing(self.found, self.line.order, self.line.references, self.plan.rounds)

    @cached_property
    def draws(self) -> np.ndarray:
        """Draws of what the arms are worth, float64 (n, arms), minus infinity for an arm that failed."""
        draws = worth(self.found)
        draws[:, np.isneginf(self.found.by_seed).any(axis=1)] = -np.inf
        return draws

    @cached_property
    def near(self) -> np.ndarray:
        """Probability of each arm to be within eps of the best, float64 (arms,)."""
        best = self.draws.max(axis=1, keepdims=True)
        return np.asarray((best - self.draws <= self.plan.choices.eps).mean(axis=0))

    @cached_property
    def decision(self) -> Decision | None:
        """What the pilots say so far; None while no arm has two seeds."""
        made = decide(self.found, self.plan.choices.eps, self.draws)
        if made.leader is None:
            return None
        seeds = np.isfinite(self.found.by_seed).sum(axis=1)
        ran = [arm for arm in range(len(seeds)) if seeds[arm] and np.isfinite(self.draws[0, arm])]
        able = [arm for arm in made.alike if arm in ran and seeds[arm] >= LEAST_SEEDS]
        whole = [arm for arm in self.line.fitting if arm in ran and seeds[arm] >= LEAST_SEEDS]
        sizes = [self.exemplar_bytes(arm) for arm in range(len(seeds))]
        if whole:  # every image is kept without loss: only bytes can be gained
            chosen = min(whole, key=lambda arm: sizes[arm])
        else:
            choices = self.plan.choices
            chosen = preferred(
                able, self.line.arms, sizes, self.draws.mean(axis=0).tolist(), choices.prefer, choices.eps
            )
        others = sorted((arm for arm in ran if arm != chosen), key=lambda arm: -self.draws[:, arm].mean())
        gains = {arm: self._gain(chosen, arm) for arm in others if seeds[arm] >= LEAST_SEEDS}
        raw = next((gain for gain in gains.values() if is_raw(gain["codec"])), None)
        pixels = [arm for arm in self.line.references if arm in gains and not codes_nothing(self.line.arms[arm].codec)]
        lossless = gains[pixels[0]] if pixels else None
        second = self._gain(chosen, others[0]) if others else None
        behind = self.draws.max(axis=1) - self.draws[:, chosen]
        return {
            **self._named(chosen),
            "eps": self.plan.choices.eps,
            "probability_within_eps": float(self.near[chosen]),
            "shortfall": float(behind.mean()),
            "probability_far": float((behind > FAR).mean()),
            "gain_over_raw": None if raw is None else raw["points"],
            "gain_ci95": None if raw is None else raw["ci95"],
            "gain_over_lossless": None if lossless is None else lossless["points"],
            "lossless_ci95": None if lossless is None else lossless["ci95"],
            "gains": list(gains.values()),
            "leader": self._named(made.leader),
            "alike": [self._named(arm) for arm in able],
            "runner_up": self._named(others[0]) if others else None,
            "difference": None if second is None else second["points"],
            "difference_ci95": None if second is None else second["ci95"],
            "pilots": len(self.results),
            "to_settle": seeds_to_settle(self.found, self.draws, chosen, others[0]) if others else 0,
            "fits": bool(whole),
        }

    def failed(self) -> list[PilotRequest]:
        """The pilots that failed."""
        return [self.plan.pilot(self.line.arms[arm], seed) for arm, seed in self.errors]

    def rows(self) -> list[ArmResult]:
        """All arms: those that started, the most accurate first, then the others."""
        started = {*itertools.chain(*self.standing.rounds), *(arm for arm, _ in self.errors)}
        rows = [self._row(arm, arm in started) for arm in range(len(self.line.arms))]
        return sorted(rows, key=lambda row: (not row["started"], -(row["last_accuracy"] or 0.0)))

    def rounds(self) -> list[Round]:
        """The rounds so far, with the names of their pilots."""
        return [
            {"seed": seed, "pilots": [self.plan.pilot(self.line.arms[arm], seed).run_name() for arm in arms]}
            for seed, arms in enumerate(self.standing.rounds)
        ]

    def exemplar_bytes(self, arm: int) -> float:
        """Bytes per exemplar of an arm's pilots, else of the probe."""
        own = self._of(arm)
        size = storage_of(aggregate_pilots(self.plan.config, own), "exemplar_bytes") if own else math.nan
        return size if math.isfinite(size) else self.line.settings[arm]["stored_bytes"]

    def _row(self, arm: int, started: bool) -> ArmResult:
        own = self._of(arm)
        mean, half = mean_and_ci95([one["last_accuracy"] for one in own]) if own else (None, None)
        fit = [one["exemplars_per_class"] for one in own] or [self.line.settings[arm]["exemplars_per_class"]]
        return {
            **self._named(arm),
            "reference": arm in self.line.references,
            "file_bytes": self.exemplar_bytes(arm),
            "exemplars_per_class": float(np.mean(fit)),
            "seeds": len(own),
            "last_accuracy": mean,
            "ci95": half,
            "within_eps": float(self.near[arm]),
            "dropped_in_round": self.standing.dropped_after[arm],
            "started": started,
            "error": next((why for (other, _), why in self.errors.items() if other == arm), None),
        }

    def _of(self, arm: int) -> list[PilotResult]:
        """An arm's results in the order of the seeds."""
        return [one for (other, _), one in sorted(self.results.items()) if other == arm]

    def _named(self, arm: int) -> NamedArm:
        return {"codec": self.line.arms[arm].codec, "align": self.line.arms[arm].align}

    def _gain(self, chosen: int, other: int) -> GainOver:
        points, low, high = difference(self.draws, chosen, other)
        return {**self._named(other), "points": points, "ci95": [low, high]}


def look(plan: StudyPlan, runs_dir: Path, advice: AdviceResult) -> SoFar:
    """Read a study's pilots.

    Args:
        plan: the study.
        runs_dir: the folder with the pilots' folders.
        advice: the result of the study's probe.

    Raises:
        WorkError: a pilot's folder is damaged, or the dataset cannot be read.
    """
    dataset = load_dataset(plan.config.dataset, plan.config.size)
    line = line_up(advice, len(dataset.train))
    results: dict[Wanted, PilotResult] = {}
    errors: dict[Wanted, str] = {}
    for arm, seed in itertools.product([*line.order, *line.references], range(len(plan.rounds))):
        pilot = plan.pilot(line.arms[arm], seed)
        if (run := pilot.folder_at(runs_dir)) is None:
            continue
        if (result := pilot.result_in(run)) is not None:
            results[Wanted(arm, seed)] = result
        elif run.status() == "failed":
            errors[Wanted(arm, seed)] = run.error() or "it failed"
    return SoFar(plan, line, results, errors)


def disagreement(right: Mapping[Wanted, np.ndarray]) -> float:
    """Variance over images of how much more often one arm is right than another, over many seeds.

    For a pair of arms with the seeds s and t it is the covariance over images of the differences with s and with t, so
    that the noise of a single seed does not count. The mean over all pairs of arms and of seeds.

    Args:
        right: bool (N,), by arm and seed.
    """
    by_arm: dict[int, dict[int, np.ndarray]] = {}
    for (arm, seed), images in right.items():
        by_arm.setdefault(arm, {})[seed] = images.astype(float)
    values = []
    for one, other in itertools.combinations(by_arm.values(), 2):
        apart = [one[seed] - other[seed] for seed in sorted(one.keys() & other.keys())]
        for mine, theirs in itertools.combinations(apart, 2):
            values.append(float(np.mean(mine * theirs) - mine.mean() * theirs.mean()))
    return float(np.clip(np.mean(values), _LEAST_DISAGREEMENT, 1.0)) if values else _UNKNOWN


def on_images(found: Mapping[Arm, tuple[str, PilotResult]]) -> list[TestedArm]:
    """Arms on the test images, the decision first, with its gain over each, paired over images.

    Args:
        found: name and result of the run of the decision, then of references.
    """
    rows: list[TestedArm] = []
    chosen = images_right(next(iter(found.values()))[1])
    for arm, (name, result) in found.items():
        accuracy, right = result["last_accuracy"], images_right(result)
        row: TestedArm = {"codec": arm.codec, "align": arm.align, "run": name, "last_accuracy": accuracy}
        if rows and chosen is not None and right is not None:
            points, half = mean_and_ci95((100 * (chosen.astype(float) - right)).tolist())
            wide = 100.0 if half is None else half
            row["gain"] = points
            row["gain_ci95"] = [points - wide, points + wide]
        rows.append(row)
    return rows
