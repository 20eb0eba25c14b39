"""Photographs and a pretrained network: what pays at 224 px, images, features, or nothing?

flowers17 and grocery24 at 224 px in five stages, EfficientNet-Lite0 from ImageNet weights, memories of 0.25, 1 and 4
raw images per class on disk. The head or the last block is trained on exemplars of several codecs, on stored features,
and on nothing; SimpleCIL, streaming LDA and RanPAC keep statistics. Lossy codecs encode all images alike. At the end
the whole network is fine-tuned once, with few steps and one seed. Takes about an hour on two cores; a stopped study
resumes where it stopped.

    python notebooks/studies/photographs.py DATA [--runs-dir RUNS]

writes ``results/photographs.json`` (every run) and ``results/photographs.md`` (the table). DATA is the folder that
holds both image sets; ``--smallest`` tries the script on demo images with one seed and writes nothing.
"""

from __future__ import annotations

from pathlib import Path

from study import Study, parser, percent

from toolkit.codecs.spec import is_lossless
from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset
from toolkit.foundation.sizes import format_size
from toolkit.memory.allocation import BudgetTooSmall
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.contents import PilotSummary

SEEDS = (0, 1, 2)
STAGES = {"flowers17": 4, "grocery24": 5}
"""Image sets, and their classes per stage; the last stage has fewer."""
BUDGETS = ("0.25img", "1img", "4img")
HEAD = (
    "raw",
    "original",
    *(f"jpeg:quality={quality}" for quality in (10, 20, 50, 90)),
    "webp:quality=20",
    "avif:quality=40",
    *(f"features:bits={bits}" for bits in (2, 4, 8)),
)
LAST_BLOCK = ("raw", "original", "jpeg:quality=20", "jpeg:quality=50", "features:bits=4")
ALL = ("original", "jpeg:quality=20")
WITHOUT = ("simplecil", "slda", "ranpac", "finetune", "joint")
_SMALLEST = {"size": 96, "steps": 2, "initial": 4, "increment": 3}


def main() -> None:
    options = parser(__doc__, "photographs", "the folder that holds flowers17 and grocery24")
    options.add_argument("--smallest", action="store_true", help="one run of each kind on demo images")
    asked = options.parse_args()
    study = Study("photographs", asked.runs_dir, asked.afresh)
    if asked.smallest:
        demo = load_dataset("demo", 96)
        for way in ({"tune": "head"}, {"tune": "last-block"}, {"method": "simplecil"}):
            codec = "raw" if "method" in way else "features:bits=4"
            study.run(make_pilot_config(dataset="demo", codec=codec, budget="1img", **_SMALLEST, **way), 0, demo)
        return
    sets = {name: str(Path(asked.dataset) / name) for name in STAGES}
    plans: list[tuple[str, PilotConfig, tuple[int, ...]]] = [
        (name, config, SEEDS) for name in STAGES for config in configurations(sets[name], STAGES[name])
    ]
    plans += [("flowers17", config, SEEDS[:1]) for config in whole_networks(sets["flowers17"], STAGES["flowers17"])]
    opened: dict[str, ImageDataset] = {}
    for name, config, seeds in plans if not asked.report else ():
        if name not in opened:
            opened[name] = load_dataset(sets[name], 224)
        for seed in seeds:
            try:
                study.run(config, seed, opened[name])
            except BudgetTooSmall:
                break  # one exemplar per class does not fit: the table leaves the setting out
    pilots = [pilot for _, config, seeds in plans if (pilot := study.summary(config, seeds)) is not None]
    study.write(pilots, "python notebooks/studies/photographs.py DATA")
    study.write_tables(as_table(pilots))


def configurations(dataset: str, classes: int) -> list[PilotConfig]:
    """The pilots on one image set."""
    shared: dict[str, object] = {"dataset": dataset, "size": 224, "initial": classes, "increment": classes}
    found = [make_pilot_config(codec="raw", budget="1img", method=method, **shared) for method in WITHOUT]
    for budget in BUDGETS:
        for tune, codecs in (("head", HEAD), ("last-block", LAST_BLOCK)):
            found += [
                make_pilot_config(codec=codec, budget=budget, tune=tune, align=alignment(codec), **shared)
                for codec in codecs
            ]
    return found


def whole_networks(dataset: str, classes: int) -> list[PilotConfig]:
    """Pilots that train all layers, with few steps."""
    shared: dict[str, object] = {"dataset": dataset, "size": 224, "initial": classes, "increment": classes}
    return [
        make_pilot_config(codec=codec, budget="1img", tune="all", steps=20, align=alignment(codec), **shared)
        for codec in ALL
    ]


def alignment(codec: str) -> str:
    """Images that pass through a codec: all through a lossy one, only exemplars are stored as features."""
    return "none" if is_lossless(codec) or codec.startswith("features") else "both"


def as_table(pilots: list[PilotSummary]) -> str:
    """A Markdown table, one row per setting."""
    lines = [
        "Last accuracy in percent, mean over three seeds +- 95 % interval; rows that train all layers have one seed.",
        "Bytes on disk; features and statistics included.",
        "",
        "| images | budget | trained | method | stored as | bytes on disk | exemplars per class | last accuracy |",
        "|---|---|---|---|---|--:|--:|--:|",
    ]
    for pilot in pilots:
        config, mean = pilot["config"], pilot["mean"]
        kept = mean["exemplars_per_class"] > 0
        cells = [
            str(config["dataset"]),
            str(config["budget"]) if kept else "-",
            "-" if ":" in str(config["extractor"]) else str(config["tune"]),
            pilot["method"],
            f"`{pilot['codec']}`" if kept else "-",
            format_size(mean["memory_bytes"]),
            f"{mean['exemplars_per_class']:.1f}",
            percent(pilot, "last_accuracy"),
        ]
        lines.append("| " + " | ".join(cells) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
