"""The road's study: does compressing the replay memory pay on Tiny-ImageNet, at equal bytes and equal steps?

Twenty classes at 32 px in five stages of four, replay with a ResNet-8, 200 steps a stage, a memory of four raw
images a class in bytes; raw and png, and six lossy settings with and without alignment, three seeds each. Seeds also
draw the class order, the same for every setting. Takes about 75 minutes on two cores; a stopped study goes on where
it was.

    python studies/road.py DATA/tiny-imagenet-20 [--runs-dir RUNS]

writes ``results/road.json`` (every run), ``results/road.md`` (the table) and ``results/road.svg`` (the figure).
``--seeds 0`` gives an early look at everything with one seed.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from toolkit.foundation.files import default_runs_dir, write_json
from toolkit.pilots.config import make_config
from toolkit.pilots.environment import environment
from toolkit.pilots.pilot import run_seeds

LOSSLESS = ("raw", "png")
LOSSY = (
    "jpeg:quality=50",
    "jpeg:quality=20",
    "jpeg:quality=75",
    "webp:quality=50",
    "avif:quality=40",
    "jpeg2000:psnr=27",
)
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help="the folder tiny-imagenet-20")
    parser.add_argument("--runs-dir", type=Path, default=default_runs_dir() / "road")
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    arguments = parser.parse_args()
    settings = [(codec, "none") for codec in LOSSLESS] + [(c, align) for c in LOSSY for align in ("both", "none")]
    pilots = [run_setting(arguments, codec, align) for codec, align in settings]
    command = "python studies/road.py DATA/tiny-imagenet-20"
    write_json(RESULTS / "road.json", {"command": command, "environment": environment(), "pilots": pilots})
    (RESULTS / "road.md").write_text(as_table(pilots))
    draw(pilots, RESULTS / "road.svg")


def run_setting(arguments: argparse.Namespace, codec: str, align: str) -> dict[str, Any]:
    """One setting over all seeds: the ``pilot`` JSON, without the path of this machine's data."""
    config = make_config(
        dataset=arguments.dataset, size=32, initial=4, increment=4, codec=codec, budget="4img", align=align, steps=200
    )
    pilot = run_seeds(config, arguments.seeds, arguments.runs_dir)
    pilot["config"]["dataset"] = "tiny-imagenet-20"
    print(f"{codec:20} {align:5} last accuracy {pilot['mean']['last_accuracy']:.3f}", file=sys.stderr, flush=True)
    return pilot


def as_table(pilots: list[dict[str, Any]]) -> str:
    """A Markdown table: one row a setting."""
    seeds = len(pilots[0]["runs"])
    lines = [
        f"Mean over {seeds} seeds +- 95 % interval, in percent; memory of {pilots[0]['budget_bytes']:,} bytes.",
        "",
        "| codec | alignment | exemplars a class | last accuracy | average accuracy | forgetting |",
        "|---|---|--:|--:|--:|--:|",
    ]
    for pilot in pilots:
        cells = [_percent(pilot, name) for name in ("last_accuracy", "average_incremental_accuracy", "forgetting")]
        align = "-" if pilot["codec"] in LOSSLESS else pilot["align"]
        exemplars = f"{pilot['mean']['exemplars_per_class']:.1f}"
        lines.append(f"| `{pilot['codec']}` | {align} | {exemplars} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _percent(pilot: dict[str, Any], name: str) -> str:
    interval = pilot["ci95"][name]
    return f"{100 * pilot['mean'][name]:.1f}" + ("" if interval is None else f" +- {100 * interval:.1f}")


def draw(pilots: list[dict[str, Any]], path: Path) -> None:
    """Last accuracy against exemplars a class, with 95 % bars: aligned, not aligned, lossless."""
    plt.rcParams["svg.hashsalt"] = "road"
    figure, axes = plt.subplots(figsize=(7.5, 4.4))
    groups = {
        "lossless": [p for p in pilots if p["codec"] in LOSSLESS],
        "lossy, aligned (both)": [p for p in pilots if p["codec"] not in LOSSLESS and p["align"] == "both"],
        "lossy, exemplars only (none)": [p for p in pilots if p["codec"] not in LOSSLESS and p["align"] == "none"],
    }
    for (label, members), colour in zip(groups.items(), ("#555555", "#0b6e4f", "#c0562a"), strict=True):
        x = [p["mean"]["exemplars_per_class"] for p in members]
        y = [100 * p["mean"]["last_accuracy"] for p in members]
        error = [100 * (p["ci95"]["last_accuracy"] or 0) for p in members]
        axes.errorbar(x, y, error, fmt="o", color=colour, capsize=3, label=label)
        for pilot, at, height in zip(members, x, y, strict=True):
            axes.annotate(pilot["codec"], (at, height), (5, 4), textcoords="offset points", fontsize=7, color=colour)
    axes.set_xscale("log")
    axes.set_xticks([4, 8, 16, 32, 64], ["4", "8", "16", "32", "64"])
    axes.set_xlabel("exemplars a class in the same bytes")
    axes.set_ylabel("last accuracy, %")
    axes.grid(alpha=0.3)
    axes.legend(loc="upper left", fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None})


if __name__ == "__main__":
    main()
