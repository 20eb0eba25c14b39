"""The road study: does compressing the replay memory pay on Tiny-ImageNet, at equal bytes and equal steps?

Twenty classes at 32 px in five stages of four, replay with a ResNet-8, 200 steps per stage, a memory with the bytes of
four raw images per class on disk; five ways to keep images exactly, and seven lossy settings with and without
alignment, three seeds each. Each seed also draws the class order, the same for every setting, so that gains are paired
by seed. Takes about 95 minutes on two cores; a stopped study resumes where it stopped.

    python notebooks/studies/road.py DATA/tiny-imagenet-20 [--runs-dir RUNS]

writes ``results/road.json`` (every run), ``results/road.md`` (the table) and ``results/road.svg`` (the figure).
Runs that are already in ``results/road.json`` with the same configuration are taken from there, so that a study can be
completed later; ``--afresh`` repeats them. ``--report`` only writes the results of finished runs.
"""

from __future__ import annotations

from pathlib import Path

import matplotlib.pyplot as plt
from study import RESULTS, Study, arguments, percent, points

from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.contents import PilotSummary

SEEDS = (0, 1, 2)
LOSSLESS = ("raw", "png", "webp:lossless=yes", "jxl:lossless=yes", "original")
REFERENCES = ("raw", "jxl:lossless=yes", "original")
"""Gains are over these: uncompressed pixels, the smallest lossless codec of pixels, and the files as they came."""
LOSSY = (
    "jpeg:quality=50",
    "jpeg:quality=50,subsampling=420",  # half-resolution chroma, as in many published comparisons
    "jpeg:quality=20",
    "jpeg:quality=75",
    "webp:quality=50",
    "avif:quality=40",
    "jpeg2000:psnr=27",
)


def main() -> None:
    asked = arguments(__doc__, "road")
    study = Study("road", asked.runs_dir, asked.afresh)
    settings = [(codec, "none") for codec in LOSSLESS] + [(c, align) for c in LOSSY for align in ("both", "none")]
    configs = [configuration(asked.dataset, codec, align) for codec, align in settings]
    for seed in SEEDS if not asked.report else ():  # one seed of everything first, for an early overview
        for config in configs:
            study.run(config, seed)
    pilots = [pilot for config in configs if (pilot := study.summary(config, SEEDS)) is not None]
    study.write(pilots, "python notebooks/studies/road.py DATA/tiny-imagenet-20")
    study.write_tables(as_table(pilots))
    draw(pilots, RESULTS / "road.svg")


def configuration(dataset: str, codec: str, align: str) -> PilotConfig:
    """One setting of the study."""
    return make_pilot_config(
        dataset=dataset, size=32, initial=4, increment=4, codec=codec, budget="4img", align=align, steps=200
    )


def as_table(pilots: list[PilotSummary]) -> str:
    """A Markdown table, one row per setting."""
    lines = [
        f"Mean over seeds +- 95 % interval, in percent; memory of {pilots[0]['budget_bytes']:,} bytes on disk. Last",
        "accuracy, average and forgetting are the deployed model's: on coded test images if aligned `both`, else on",
        "originals. Gains are points of last accuracy, paired by seed.",
        "",
        "| codec | alignment | seeds | exemplars per class "
        "| last accuracy | on originals | on coded | average | forgetting "
        f"| {' | '.join(f'over `{codec}`' for codec in REFERENCES)} |",
        "|---|---|--:|--:|--:|--:|--:|--:|--:|--:|--:|--:|",
    ]
    references = {pilot["codec"]: pilot for pilot in pilots if pilot["codec"] in REFERENCES}
    for pilot in pilots:
        names = (
            "last_accuracy",
            "accuracy_on_original",
            "accuracy_on_coded",
            "average_incremental_accuracy",
            "forgetting",
        )
        cells = [percent(pilot, name) for name in names]
        for codec in REFERENCES:
            there = codec in references and codec != pilot["codec"]
            cells.append(points(pilot, references[codec]) if there else "-")
        align = "-" if pilot["codec"] in LOSSLESS else pilot["align"]
        exemplars = f"{pilot['mean']['exemplars_per_class']:.1f}"
        seeds = len(pilot["runs"])
        lines.append(f"| `{pilot['codec']}` | {align} | {seeds} | {exemplars} | {' | '.join(cells)} |")
    return "\n".join(lines) + "\n"


def draw(pilots: list[PilotSummary], path: Path) -> None:
    """Last accuracy by codec, aligned and not, with 95 % bars from three seeds; dotted lines are references."""
    plt.rcParams["svg.hashsalt"] = "road"
    codecs = list(dict.fromkeys(pilot["codec"] for pilot in pilots))
    figure, axes = plt.subplots(figsize=(7.5, 0.55 * len(codecs) + 1.2))
    styles = {"lossless": ("#555555", 0.0), "both": ("#0b6e4f", -0.13), "none": ("#c0562a", 0.13)}
    labels = {"lossless": "lossless", "both": "aligned: all images coded", "none": "only exemplars coded"}
    for pilot in pilots:
        group = "lossless" if pilot["codec"] in LOSSLESS else pilot["align"]
        colour, offset = styles[group]
        accuracy = pilot["mean"]["last_accuracy"]
        # with two seeds, the interval of Student's t spans the whole axis
        interval = (pilot["ci95"]["last_accuracy"] or 0) if len(pilot["runs"]) >= 3 else 0
        height = codecs.index(pilot["codec"]) + offset
        label = labels.pop(group, None)
        axes.errorbar(100 * accuracy, height, xerr=100 * interval, fmt="o", color=colour, capsize=3, label=label)
    for pilot in pilots:
        if pilot["codec"] in REFERENCES:
            axes.axvline(100 * pilot["mean"]["last_accuracy"], color="#999999", linestyle=":", zorder=0)
    exemplars = {pilot["codec"]: pilot["mean"]["exemplars_per_class"] for pilot in pilots}
    axes.set_yticks(
        range(len(codecs)), [f"{codec}  ({exemplars[codec]:.0f} per class)" for codec in codecs], fontsize=9
    )
    axes.invert_yaxis()
    axes.set_xlabel("last accuracy in %, same bytes and steps (bars: 95 %)")
    axes.grid(axis="x", alpha=0.3)
    axes.legend(fontsize=8, ncols=3, loc="lower center", bbox_to_anchor=(0.5, 1.0), frameon=False)
    figure.tight_layout()
    figure.savefig(path, metadata={"Date": None} if path.suffix == ".svg" else None)
    plt.close(figure)


if __name__ == "__main__":
    main()
