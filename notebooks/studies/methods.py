"""The methods study: do the methods rank as published, and does compression pay with each of them?

Tiny-ImageNet-20 at 32 px with a ResNet-8, 200 steps per stage, a memory with the bytes of 20 raw images per class: raw,
and JPEG at quality 50 with all images coded (align both). ``B0``: five stages of four classes, three seeds; ``B8``:
eight classes, then three stages of four, one seed; ``B0 long``: B0 with five times the steps, one seed, raw, for the
methods whose ranking the short training may hide. Each seed also draws the class order, the same for every method.
Takes about seven hours on one core; a stopped study resumes where it stopped.

    python notebooks/studies/methods.py DATA/tiny-imagenet-20 [--runs-dir RUNS]

writes ``results/methods.json`` (every run), ``results/methods.md`` (the table) and ``results/methods.svg`` (accuracy
matrices). Runs that are already in the JSON are taken from there; ``--report`` only writes finished runs.
"""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path

import matplotlib.pyplot as plt
import numpy as np
from study import RESULTS, Study, arguments, percent, points

from toolkit.foundation.threads import set_threads
from toolkit.learning.catalog import METHODS
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.contents import PilotSummary

CODECS = {"raw": "none", "jpeg:quality=50": "both"}
TITLES = {"raw": "raw", "jpeg:quality=50": "JPEG q50"}
METRICS = {"last": "last_accuracy", "average": "average_incremental_accuracy", "forgetting": "forgetting"}


@dataclass(frozen=True)
class Protocol:
    """Stages, training length, and the codecs and methods compared."""

    initial: int
    seeds: tuple[int, ...]
    steps: int = 200
    codecs: tuple[str, ...] = tuple(CODECS)
    methods: tuple[str, ...] = tuple(name for name, kind in METHODS.items() if kind.exemplars or not kind.frozen)


PROTOCOLS = {
    "B0": Protocol(4, (0, 1, 2)),
    "B8": Protocol(8, (0,)),
    "B0 long": Protocol(
        4, (0,), 1000, ("raw",), ("finetune", "replay", "icarl", "bic", "wa", "podnet", "der", "foster", "joint")
    ),
}


def main() -> None:
    asked = arguments(__doc__, "methods")
    set_threads(asked.threads)
    study = Study("methods", asked.runs_dir, asked.afresh)
    configs = {
        (name, method, codec): configuration(asked.dataset, protocol, method, codec)
        for name, protocol in PROTOCOLS.items()
        for codec in protocol.codecs
        for method in protocol.methods
    }
    for name, protocol in PROTOCOLS.items() if not asked.report else ():
        for seed in protocol.seeds:  # one seed of every method first, for an early overview
            for (of, _, _), config in configs.items():
                if of == name:
                    study.run(config, seed)
    pilots = {
        key: pilot
        for key, config in configs.items()
        if (pilot := study.summary(config, PROTOCOLS[key[0]].seeds)) is not None
    }
    study.write(list(pilots.values()), "python notebooks/studies/methods.py DATA/tiny-imagenet-20")
    study.write_tables(as_table(pilots))
    draw(pilots, RESULTS / "methods.svg")


def configuration(dataset: str, protocol: Protocol, method: str, codec: str) -> PilotConfig:
    """One setting of the study."""
    return make_pilot_config(
        dataset=dataset,
        size=32,
        initial=protocol.initial,
        increment=4,
        codec=codec,
        budget="20img",
        align=CODECS[codec],
        method=method,
        steps=protocol.steps,
    )


def as_table(pilots: dict[tuple[str, str, str], PilotSummary]) -> str:
    """One Markdown table per protocol, with one row per method, codecs side by side, and complete rows only."""
    lines = [
        "Mean over seeds +- 95 % interval, in percent; memory of 20 raw images per class in bytes. Over replay, and "
        "JPEG over raw: points of last accuracy, paired by seed.",
        "",
    ]
    for name, protocol in PROTOCOLS.items():
        compared = len(protocol.codecs) == 2
        head = [f"{TITLES[codec]}: {metric}" for codec in protocol.codecs for metric in METRICS]
        head += ["over replay, raw", *["JPEG over raw"] * compared]
        rows = []
        for method in protocol.methods:
            found = [pilots[key] for codec in protocol.codecs if (key := (name, method, codec)) in pilots]
            if len(found) < len(protocol.codecs) or len({len(pilot["runs"]) for pilot in found}) > 1:
                continue
            cells = [percent(pilot, metric) for pilot in found for metric in METRICS.values()]
            replay = pilots.get((name, "replay", "raw"))
            cells.append("-" if replay is None or method == "replay" else points(found[0], replay))
            if compared:
                cells.append(points(found[1], found[0]))
            rows.append(f"| `{method}` | {len(found[0]['runs'])} | {' | '.join(cells)} |")
        if rows:
            lines += [f"**{name}**: {protocol.initial} classes, then 4 per stage; {protocol.steps} steps per stage", ""]
            lines += [f"| method | seeds | {' | '.join(head)} |", "|---|--:|" + "--:|" * len(head), *rows, ""]
    return "\n".join(lines)


def draw(pilots: dict[tuple[str, str, str], PilotSummary], path: Path) -> None:
    """Accuracy matrices of B0 with JPEG, averaged over seeds: row t is after stage t, column k stage k's classes."""
    plt.rcParams["svg.hashsalt"] = "methods"
    chosen = {method: pilots[key] for method in METHODS if (key := ("B0", method, "jpeg:quality=50")) in pilots}
    if not chosen:
        return
    columns = 5
    rows = -(-len(chosen) // columns)
    figure, axes = plt.subplots(rows, columns, figsize=(2 * columns, 2.25 * rows), squeeze=False)
    for place in axes.flat[len(chosen) :]:
        place.axis("off")
    for place, (method, pilot) in zip(axes.flat, chosen.items(), strict=False):
        triangles = [run["accuracy_matrix"] for run in pilot["runs"]]
        size = len(triangles[0])
        mean = np.full((size, size), np.nan)
        for t in range(size):
            mean[t, : t + 1] = np.mean([triangle[t] for triangle in triangles], axis=0)
        place.imshow(100 * mean, vmin=0, vmax=100, cmap="viridis")
        for t in range(size):
            for k in range(t + 1):
                colour = "white" if mean[t, k] < 0.6 else "black"
                place.text(k, t, f"{100 * mean[t, k]:.0f}", ha="center", va="center", color=colour, fontsize=7)
        place.set_title(f"{method}: {100 * pilot['mean']['last_accuracy']:.1f} %", fontsize=9)
        place.set_xticks([])
        place.set_yticks([])
    figure.supxlabel("classes of stage 1 to 5", fontsize=9)
    figure.supylabel("after stage 1 to 5", fontsize=9)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})
    plt.close(figure)


if __name__ == "__main__":
    main()
