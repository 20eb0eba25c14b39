"""Do short pilots rank settings like long ones?

Tiny-ImageNet-20 at 32 px in five stages of four classes, replay with a ResNet-8, a memory of four raw images per class
on disk: eight settings with 50, 200 and 1,000 steps per stage and three seeds. The runs of 200 steps are those of the
road study. The others take about four hours on two cores, most of them for the longest runs; a stopped study resumes
where it stopped, and reports what is finished.

    python notebooks/studies/horizons.py DATA/tiny-imagenet-20 [--runs-dir RUNS]

writes ``results/horizons.json`` (every run) and ``results/horizons.md`` (accuracies, rank correlations and regret).
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping, Sequence

import numpy as np
from study import Study, arguments, percent

from toolkit.data.catalog import load_dataset
from toolkit.learning.metrics import mean_and_ci95
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.contents import PilotSummary
from toolkit.pilots.results import setting_name

SEEDS = (0, 1, 2)
STEPS = (50, 200, 1000)
SETTINGS = (
    ("raw", "none"),
    ("jxl:lossless=yes", "none"),
    ("original", "none"),
    ("jpeg:quality=75", "both"),
    ("jpeg:quality=50", "both"),
    ("jpeg:quality=20", "both"),
    ("avif:quality=40", "both"),
    ("avif:quality=40", "none"),
)


def main() -> None:
    asked = arguments(__doc__, "horizons")
    study = Study("horizons", asked.runs_dir, asked.afresh, also=("road",))  # has the runs of 200 steps
    dataset = load_dataset(asked.dataset, 32)
    for seed, steps in itertools.product(SEEDS if not asked.report else (), STEPS):
        for config in configurations(asked.dataset, steps):
            study.run(config, seed, dataset)
    pilots = {
        steps: [pilot for config in configurations(asked.dataset, steps) if (pilot := study.summary(config, SEEDS))]
        for steps in STEPS
    }
    study.write([pilot for group in pilots.values() for pilot in group], "python notebooks/studies/horizons.py DATA")
    study.write_tables(as_tables(pilots))


def configurations(dataset: str, steps: int) -> list[PilotConfig]:
    """The pilots with a number of steps per stage."""
    return [
        make_pilot_config(
            dataset=dataset, size=32, initial=4, increment=4, codec=codec, align=align, budget="4img", steps=steps
        )
        for codec, align in SETTINGS
    ]


def as_tables(pilots: Mapping[int, Sequence[PilotSummary]]) -> str:
    """Accuracies of every setting, then how well each length ranks them for the longest."""
    lines = [
        "Last accuracy in percent, mean over seeds +- 95 % interval.",
        "",
        "| setting | " + " | ".join(f"{steps} steps" for steps in STEPS) + " |",
        "|---|" + "--:|" * len(STEPS),
    ]
    rows = {steps: {_name(pilot): pilot for pilot in group} for steps, group in pilots.items()}
    for name in rows[STEPS[0]]:
        cells = [percent(rows[steps][name], "last_accuracy") if name in rows[steps] else "-" for steps in STEPS]
        lines.append("| " + " | ".join([f"`{name}`", *cells]) + " |")
    lines += [
        "",
        f"Against {STEPS[-1]} steps: rank correlation of the means, and of a single seed's run with the mean of the",
        "other seeds at the longest; regret in points of the setting that a single seed's run would choose, judged by",
        "those other seeds. Means over seeds +- 95 % interval.",
        "",
        "| steps | rank correlation of means | of one seed | regret of one seed |",
        "|--:|--:|--:|--:|",
    ]
    lines += [_judged(steps, pilots) for steps in STEPS if _complete(pilots)]
    return "\n".join(lines) + "\n"


def _judged(steps: int, pilots: Mapping[int, Sequence[PilotSummary]]) -> str:
    short, long = (_accuracies(pilots[length]) for length in (steps, STEPS[-1]))
    correlations, regrets = [], []
    for place in range(len(SEEDS)):
        others = np.delete(long, place, axis=1).mean(axis=1)
        correlations.append(rank_correlation(short[:, place], others))
        regrets.append(100 * float(others.max() - others[int(short[:, place].argmax())]))
    cells = [
        str(steps),
        f"{rank_correlation(short.mean(axis=1), long.mean(axis=1)):.2f}",
        _with_interval(correlations, ".2f"),
        _with_interval(regrets, ".1f"),
    ]
    return "| " + " | ".join(cells) + " |"


def rank_correlation(first: np.ndarray, second: np.ndarray) -> float:
    """Spearman's rank correlation of two lists without ties."""
    ranks = [np.argsort(np.argsort(values)) for values in (first, second)]
    return float(np.corrcoef(ranks[0], ranks[1])[0, 1])


def _with_interval(values: Sequence[float], form: str) -> str:
    mean, half = mean_and_ci95(list(values))
    return f"{mean:{form}}" + ("" if half is None else f" +- {half:{form}}")


def _complete(pilots: Mapping[int, Sequence[PilotSummary]]) -> bool:
    """Whether every run has finished, so that seeds and settings can be compared."""
    runs = [len(pilot["runs"]) for group in pilots.values() for pilot in group]
    return runs == [len(SEEDS)] * (len(STEPS) * len(SETTINGS))


def _accuracies(pilots: Sequence[PilotSummary]) -> np.ndarray:
    """Last accuracies, float64 (settings, seeds)."""
    return np.array([[run["last_accuracy"] for run in pilot["runs"]] for pilot in pilots])


def _name(pilot: PilotSummary) -> str:
    return setting_name(pilot["codec"], pilot["align"])


if __name__ == "__main__":
    main()
