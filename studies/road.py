"""The road's study: does compressing the replay memory pay on Tiny-ImageNet, at equal bytes and equal steps?

Twenty classes at 32 px in five stages of four, replay with a ResNet-8, 200 steps a stage, a memory of four raw
images a class in bytes; raw and png, and seven lossy settings with and without alignment, three seeds each. Seeds also
draw the class order, the same for every setting. Takes about 85 minutes on two cores; a stopped study goes on where
it was.

    python studies/road.py DATA/tiny-imagenet-20 [--runs-dir RUNS]

writes ``results/road.json`` (every run), ``results/road.md`` (the table) and ``results/road.svg`` (the figure).
Runs that ``results/road.json`` already holds with the same configuration are taken from there, so that a study can
be completed on another day; ``--afresh`` repeats them. ``--report`` only writes the results of what has finished.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

import matplotlib.pyplot as plt

from toolkit.foundation.files import default_runs_dir, read_json, write_json
from toolkit.pilots.config import PilotConfig, make_config
from toolkit.pilots.pilot import run_seeds
from toolkit.pilots.results import aggregate
from toolkit.runs.environment import environment
from toolkit.runs.folder import RunFolder

SEEDS = (0, 1, 2)
LOSSLESS = ("raw", "png")
LOSSY = (
    "jpeg:quality=50",
    "jpeg:quality=50,subsampling=420",  # half-resolution chroma, as many published comparisons have it
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
    parser.add_argument("--report", action="store_true", help="run nothing, write the results of what has finished")
    parser.add_argument("--afresh", action="store_true", help="repeat the runs that the results already hold")
    arguments = parser.parse_args()
    held = (
        [] if arguments.afresh or not (RESULTS / "road.json").exists() else read_json(RESULTS / "road.json")["pilots"]
    )
    settings = [(codec, "none") for codec in LOSSLESS] + [(c, align) for c in LOSSY for align in ("both", "none")]
    for seed in SEEDS if not arguments.report else ():  # one seed of everything first: an early look at the whole
        for codec, align in settings:
            run_one(arguments, held, codec, align, seed)
    finished = [summary(arguments, held, codec, align) for codec, align in settings]
    pilots = [pilot for pilot in finished if pilot is not None]
    command = "python studies/road.py DATA/tiny-imagenet-20"
    write_json(RESULTS / "road.json", {"command": command, "environment": environment(), "pilots": pilots})
    (RESULTS / "road.md").write_text(as_table(pilots))
    draw(pilots, RESULTS / "road.svg")


def configuration(arguments: argparse.Namespace, codec: str, align: str) -> PilotConfig:
    """One setting of the study."""
    return make_config(
        dataset=arguments.dataset, size=32, initial=4, increment=4, codec=codec, budget="4img", align=align, steps=200
    )


def without_path(config: PilotConfig) -> dict[str, Any]:
    """The configuration as published: without the path of this machine's data."""
    return {**config.model_dump(mode="json"), "dataset": "tiny-imagenet-20"}


def finished_run(arguments: argparse.Namespace, held: list[dict], config: PilotConfig, seed: int) -> dict | None:
    """A seed's result, from its run folder or from the results already published."""
    if (result := RunFolder(arguments.runs_dir / config.run_name(seed)).result) is not None:
        return result
    for pilot in held:
        if pilot["config"] == without_path(config):
            return next((run for run in pilot["runs"] if run["seed"] == seed), None)
    return None


def run_one(arguments: argparse.Namespace, held: list[dict], codec: str, align: str, seed: int) -> None:
    """Run one seed of a setting unless its result is there."""
    config = configuration(arguments, codec, align)
    run = finished_run(arguments, held, config, seed) or run_seeds(config, [seed], arguments.runs_dir)["runs"][0]
    print(f"{codec:20} {align:5} seed {seed}: last accuracy {run['last_accuracy']:.3f}", file=sys.stderr, flush=True)


def summary(arguments: argparse.Namespace, held: list[dict], codec: str, align: str) -> dict[str, Any] | None:
    """The ``pilot`` JSON of a setting over its finished seeds; None where there is none."""
    config = configuration(arguments, codec, align)
    runs = [run for seed in SEEDS if (run := finished_run(arguments, held, config, seed)) is not None]
    return {**aggregate(config, runs), "config": without_path(config)} if runs else None


def as_table(pilots: list[dict[str, Any]]) -> str:
    """A Markdown table: one row a setting."""
    lines = [
        f"Mean over seeds +- 95 % interval, in percent; memory of {pilots[0]['budget_bytes']:,} bytes. Last accuracy,",
        "average and forgetting are the deployed model's: on coded test images if aligned `both`, else on originals.",
        "",
        "| codec | alignment | seeds | exemplars a class "
        "| last accuracy | on originals | on coded | average | forgetting |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|",
    ]
    for pilot in pilots:
        names = (
            "last_accuracy",
            "accuracy_on_original",
            "accuracy_on_coded",
            "average_incremental_accuracy",
            "forgetting",
        )
        cells = [_percent(pilot, name) for name in names]
        align = "-" if pilot["codec"] in LOSSLESS else pilot["align"]
        exemplars = f"{pilot['mean']['exemplars_per_class']:.1f}"
        seeds = len(pilot["runs"])
        lines.append(f"| `{pilot['codec']}` | {align} | {seeds} | {exemplars} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def _percent(pilot: dict[str, Any], name: str) -> str:
    interval = pilot["ci95"][name]
    return f"{100 * pilot['mean'][name]:.1f}" + ("" if interval is None else f" +- {100 * interval:.1f}")


def draw(pilots: list[dict[str, Any]], path: Path) -> None:
    """One row a codec: last accuracy, aligned and not, with 95 % bars from three seeds on; the dotted line is raw."""
    plt.rcParams["svg.hashsalt"] = "road"
    codecs = list(dict.fromkeys(pilot["codec"] for pilot in pilots))
    figure, axes = plt.subplots(figsize=(7.5, 0.55 * len(codecs) + 1.2))
    styles = {"lossless": ("#555555", 0.0), "both": ("#0b6e4f", -0.13), "none": ("#c0562a", 0.13)}
    labels = {"lossless": "lossless", "both": "aligned: all images coded", "none": "only exemplars coded"}
    for pilot in pilots:
        group = "lossless" if pilot["codec"] in LOSSLESS else pilot["align"]
        colour, offset = styles[group]
        accuracy = pilot["mean"]["last_accuracy"]
        # with two seeds, Student's t spans the whole axis and says nothing
        interval = pilot["ci95"]["last_accuracy"] if len(pilot["runs"]) >= 3 else 0
        height = codecs.index(pilot["codec"]) + offset
        label = labels.pop(group, None)
        axes.errorbar(100 * accuracy, height, xerr=100 * interval, fmt="o", color=colour, capsize=3, label=label)
    raw = next(pilot for pilot in pilots if pilot["codec"] == "raw")
    axes.axvline(100 * raw["mean"]["last_accuracy"], color="#999999", linestyle=":", zorder=0)
    exemplars = {pilot["codec"]: pilot["mean"]["exemplars_per_class"] for pilot in pilots}
    axes.set_yticks(range(len(codecs)), [f"{codec}  ({exemplars[codec]:.0f} a class)" for codec in codecs], fontsize=9)
    axes.invert_yaxis()
    axes.set_xlabel("last accuracy in %, same bytes and steps (bars: 95 %)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


if __name__ == "__main__":
    main()
