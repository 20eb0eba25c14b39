"""How few pilots decide? Races simulated on the problems of the regret study.

The true accuracy of every choice is drawn from what its three pilots say about it, and so are new pilots, so that the
truth is known and every procedure is judged by it. JPEG 4:4:4 at the quality nearest 50 with everything coded starts
first; then the choices in the order of ``probe-accuracy`` and the other JPEG qualities start by turns. Raw, the best
lossless codec and the source files run in every round. The drawn problems have the spread and the noise of six real
ones; they are no new image sets.

    python notebooks/studies/race.py [--draws 100]

writes ``results/race.json`` and ``results/race.md``: regret by procedure, and what the model said against what was
true. Takes four minutes on one core.
"""

from __future__ import annotations

import argparse
import itertools
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from toolkit.advice.problem import Problem
from toolkit.advice.regret.noise import drawn_truths, standard_errors
from toolkit.codecs.spec import stores_exactly
from toolkit.data.alignment import parse_aligns
from toolkit.foundation.files import read_json, write_json
from toolkit.learning.metrics import mean_and_ci95
from toolkit.study.decision import LEAST_SEEDS, Accuracies, Group, decide, worth
from toolkit.study.line_up import SCORE, Arm, references, starters
from toolkit.study.preference import EASE, preferred
from toolkit.study.race import EFFORTS, standing

RESULTS = Path(__file__).parent / "results"
EASIEST = "easiest of those alike"
EPS = 2.0
FAR = 2.5
"""Points of regret that a decision should seldom exceed."""
BINS = (0.0, 0.5, 0.7, 0.8, 0.9, 0.95, 1.0)
SEEDS = 4


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--draws", type=int, default=100, help="drawn truths per problem")
    parser.add_argument("--output", type=Path, default=RESULTS)
    asked = parser.parse_args()
    found = simulated(problems(), asked.draws)
    write_json(asked.output / "race.json", {"command": "python notebooks/studies/race.py", **found})
    (asked.output / "race.md").write_text(as_tables(found))


def problems() -> list[Problem]:
    """The problems of the regret study, each once, with the evidence of a deployed learner's features."""
    measured = [one for one in read_json(RESULTS / "regret.json")["measured"] if one["extractor"] == "stage0"]
    found = {one["problem"]["name"]: one["problem"] for one in reversed(measured)}
    return [Problem.from_dict(one) for one in found.values()]


def simulated(given: Sequence[Problem], draws: int) -> dict[str, Any]:
    """Regrets of all procedures by problem, pilots used, and what was said and true, for each draw."""
    regrets: dict[str, list[list[float]]] = {}
    pilots: dict[str, list[list[int]]] = {}
    said: list[tuple[float, bool]] = []
    for problem in given:
        random = np.random.default_rng(len(regrets.get("constant", ())))
        order, kept = line_of(problem)
        own: dict[str, list[float]] = {}
        used: dict[str, list[int]] = {}
        for _ in range(draws):
            truth, seeds = drawn(problem, random)
            for name, procedure in PROCEDURES.items():
                chosen, count = procedure(seeds, order)
                own.setdefault(name, []).append(float(truth.max() - truth[chosen]))
                used.setdefault(name, []).append(count)
            for effort in EFFORTS:
                race = raced(problem, seeds, order, kept, effort)
                for name, chosen in ((effort, race.leader), (f"{effort}, {EASIEST}", race.easiest)):
                    own.setdefault(name, []).append(float(truth.max() - truth[chosen]))
                    used.setdefault(name, []).append(race.pilots)
                said.append((race.probability, bool(truth.max() - truth[race.leader] <= EPS)))
        for name in own:
            regrets.setdefault(name, []).append(own[name])
            pilots.setdefault(name, []).append(used[name])
    return {
        "problems": [problem.name for problem in given],
        "draws": draws,
        "regret": {name: [float(np.mean(one)) for one in own] for name, own in regrets.items()},
        "far": {name: [float(np.mean(np.array(one) > FAR)) for one in own] for name, own in regrets.items()},
        "pilots": {name: float(np.mean(own)) for name, own in pilots.items()},
        "calibration": calibration(said),
    }


def arms_of(problem: Problem) -> list[Arm]:
    """The choices of a problem as arms."""
    aligns = [parse_aligns(align)[0] for align in problem.aligns]
    return [Arm(*one) for one in zip(problem.codecs, aligns, strict=True)]


def line_of(problem: Problem) -> tuple[list[int], list[int]]:
    """Contenders in order, and references."""
    arms = arms_of(problem)
    kept = references(arms, problem.exemplars.tolist())
    return starters(arms, np.nan_to_num(problem.scores[SCORE], nan=-np.inf), kept), kept


class Raced(NamedTuple):
    """What a race decides.

    Attributes:
        leader: the arm with the highest expected accuracy.
        easiest: the preferred one of those that cannot be told apart from the best, as a study takes it.
        pilots: number of pilots.
        probability: that the leader is within :data:`EPS` points of the best.
    """

    leader: int
    easiest: int
    pilots: int
    probability: float


def drawn(problem: Problem, random: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """True accuracies (k,) and those of new pilots (k, seeds), in points."""
    means, errors = 100 * problem.accuracy, standard_errors(problem)
    assert errors is not None  # every problem has three seeds
    errors = 100 * errors
    variance = max(0.1, float(np.var(means, ddof=1) - np.mean(errors**2)))
    truth = drawn_truths(means, errors, variance, random.standard_normal(len(means)))
    noise = errors * np.sqrt(problem.by_seed.shape[1])
    seed = 3 * random.standard_normal(SEEDS)
    return truth, truth[:, None] + seed + noise[:, None] * random.standard_normal((len(means), SEEDS))


def raced(problem: Problem, seeds: np.ndarray, order: Sequence[int], kept: Sequence[int], effort: str) -> Raced:
    """A race with these accuracies."""
    scores = np.nan_to_num(problem.scores[SCORE], nan=np.nanmean(problem.scores[SCORE]))
    expected = (scores - scores.mean()) / (scores.std() or 1.0)
    exact = np.array([stores_exactly(codec) for codec in problem.codecs])
    group = np.where(exact, Group.LOSSLESS, np.where(problem.unaligned, Group.MIXED, Group.ALIKE))
    settings = np.unique(problem.codecs, return_inverse=True)[1]
    found = Accuracies(np.full_like(seeds, np.nan), group, expected, settings)
    while wanted := standing(found, order, kept, EFFORTS[effort]).wanted:
        for arm, seed in wanted:
            found.by_seed[arm, seed] = seeds[arm, seed]
    draws = worth(found)
    decision = decide(found, EPS, draws)
    assert decision.leader is not None
    ran = np.isfinite(found.by_seed)
    alike = [arm for arm in decision.alike if ran[arm].sum() >= LEAST_SEEDS]
    mean = draws.mean(axis=0).tolist()
    easiest = preferred(alike, arms_of(problem), [1 / one for one in problem.exemplars], mean, EASE, EPS)
    return Raced(decision.leader, easiest, int(ran.sum()), decision.probability)


def everything(count: int) -> Callable[[np.ndarray, Sequence[int]], tuple[int, int]]:
    """The best mean of every choice over some seeds."""
    return lambda seeds, _: (int(seeds[:, :count].mean(axis=1).argmax()), count * len(seeds))


PROCEDURES: dict[str, Callable[[np.ndarray, Sequence[int]], tuple[int, int]]] = {
    "constant": lambda _, order: (order[0], 0),
    "one seed of everything": everything(1),
    "two seeds of everything": everything(2),
    "three seeds of everything": everything(3),
}


def calibration(said: Sequence[tuple[float, bool]]) -> list[dict[str, float]]:
    """What was said and what was true, by bins of what was said."""
    rows = []
    for low, high in itertools.pairwise(BINS):
        own = [one for one in said if low <= one[0] < high or (high == 1 and one[0] == 1)]
        if own:
            means = np.mean(np.array(own, float), axis=0)
            rows.append({"from": low, "decisions": len(own), "said": float(means[0]), "true": float(means[1])})
    return rows


def as_tables(found: dict[str, Any]) -> str:
    """Regret by procedure with its interval over problems, then the calibration."""
    lines = [
        f"Regret in points of last accuracy, judged by drawn truths ({found['draws']} per problem); mean +- 95 %",
        "interval over the six problems. *Far* is the share of decisions more than 2.5 points below the best.",
        "",
        "| procedure | pilots | regret | far |",
        "|---|--:|--:|--:|",
    ]
    for name, own in found["regret"].items():
        mean, half = mean_and_ci95(own)
        pilots, far = found["pilots"][name], float(np.mean(found["far"][name]))
        effort, _, how = name.partition(", ")
        arms = " → ".join(map(str, EFFORTS.get(effort, ())))
        label = f"race, {effort}: {arms}{how and f', {how}'}" if arms else name
        lines.append(f"| {label} | {pilots:.1f} | {mean:.2f} ± {half or 0:.2f} | {far:.0%} |")
    lines += [
        "",
        f"Probability of being within {EPS:g} points of the best: said by the race's model, and true.",
        "",
        "| said | decisions | mean said | true |",
        "|---|--:|--:|--:|",
    ]
    for row in found["calibration"]:
        lines.append(f"| from {row['from']:.2f} | {row['decisions']} | {row['said']:.3f} | {row['true']:.3f} |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
