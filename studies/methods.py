"""The methods' study: do they stand in their published order, and does compression pay with each of them?

Tiny-ImageNet-20 at 32 px with a ResNet-8, 200 steps a stage, a memory of 20 raw images a class in bytes: raw, and JPEG
at quality 50 with everything the network sees coded alike. ``B0``: five stages of four, three seeds; ``B8``: eight
classes, then three stages of four, one seed. Seeds also draw the class order, the same for every method. Takes about
five hours on one core; a stopped study goes on where it was.

    python studies/methods.py DATA/tiny-imagenet-20 [--runs-dir RUNS]

writes ``results/methods.json`` (every run), ``results/methods.md`` (the table) and ``results/methods.svg`` (accuracy
matrices). Runs that the JSON already holds are taken from there; ``--report`` only writes what has finished.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt
import numpy as np
from study import RESULTS, Study, arguments, percent

from toolkit.foundation.parallel import set_threads
from toolkit.learning.catalog import METHODS
from toolkit.pilots.config import PilotConfig, make_config

CODECS = (("raw", "none"), ("jpeg:quality=50", "both"))
SEEDS = {"B0": (0, 1, 2), "B8": (0,)}
INITIAL = {"B0": 4, "B8": 8}
LOWER, UPPER, BASE = "finetune", "joint", "replay"


def main() -> None:
    asked = arguments(__doc__, "methods")
    set_threads(asked.threads)
    study = Study("methods", asked.runs_dir, asked.afresh)
    configs = {
        (protocol, method, codec): configuration(asked.dataset, protocol, method, codec, align)
        for protocol in SEEDS for codec, align in CODECS for method in METHODS
    }  # fmt: skip
    for turn in range(max(map(len, SEEDS.values()))) if not asked.report else ():
        for (protocol, _, _), config in configs.items():
            if turn < len(SEEDS[protocol]):
                study.run(config, SEEDS[protocol][turn])
    pilots = {
        key: pilot for key, config in configs.items() if (pilot := study.summary(config, SEEDS[key[0]])) is not None
    }
    study.write(list(pilots.values()), "python studies/methods.py DATA/tiny-imagenet-20")
    (RESULTS / "methods.md").write_text(as_table(pilots))
    draw(pilots, RESULTS / "methods.svg")


def configuration(dataset: str, protocol: str, method: str, codec: str, align: str) -> PilotConfig:
    """One setting of the study."""
    return make_config(
        dataset=dataset, size=32, initial=INITIAL[protocol], increment=4, codec=codec, budget="20img", align=align,
        method=method, steps=200,
    )  # fmt: skip


def as_table(pilots: dict[tuple[str, str, str], dict[str, Any]]) -> str:
    """A Markdown table a protocol: one row a method, raw and JPEG side by side."""
    lines = ["Mean over seeds +- 95 % interval, in percent; a memory of 20 raw images a class in bytes.", ""]
    for protocol in SEEDS:
        count = INITIAL[protocol]
        lines += [f"**{protocol}**: {count} classes, then 4 a stage; seeds: {len(SEEDS[protocol])}", ""]
        lines += [
            "| method | raw: last | average | forgetting | JPEG q50: last | average | forgetting | gain in last |",
            "|---|--:|--:|--:|--:|--:|--:|--:|",
        ]
        for method in METHODS:
            both = [pilots.get((protocol, method, codec)) for codec, _ in CODECS]
            if any(pilot is None for pilot in both):
                continue
            raw, coded = (pilot for pilot in both if pilot is not None)
            names = ("last_accuracy", "average_incremental_accuracy", "forgetting")
            cells = [percent(pilot, name) for pilot in (raw, coded) for name in names]
            gain = 100 * (coded["mean"]["last_accuracy"] - raw["mean"]["last_accuracy"])
            lines.append(f"| `{method}` | {' | '.join(cells)} | {gain:+.1f} |")
        lines.append("")
    return "\n".join(lines)


def draw(pilots: dict[tuple[str, str, str], dict[str, Any]], path: Path) -> None:
    """Accuracy matrices of B0 with JPEG, averaged over seeds: row t is after stage t, column k stage k's classes."""
    plt.rcParams["svg.hashsalt"] = "methods"
    chosen = {method: pilots[key] for method in METHODS if (key := ("B0", method, CODECS[1][0])) in pilots}
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
