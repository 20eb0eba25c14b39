"""How to train on a pretrained network: what is trained, how many views of each image, learning rate and steps.

flowers17 and grocery24 at 224 px in five stages, replay with an EfficientNet-Lite0 from ImageNet weights, JPEG at
quality 20 for all images, a memory of a quarter of a raw image per class on disk. Everything is measured on a held-out
fifth of the training images; the defaults of :data:`toolkit.pilots.config.FINE_TUNING` are chosen from this table, and
test images are never read. Takes about 20 minutes on two cores; a stopped study resumes where it stopped.

    python notebooks/studies/fine_tuning.py DATA [--runs-dir RUNS]

writes ``results/fine_tuning.json`` (every run) and ``results/fine_tuning.md`` (the table). DATA is the folder that
holds both image sets; ``--smallest`` tries the script on demo images with one seed and writes nothing.
"""

from __future__ import annotations

from pathlib import Path

from study import Study, parser, percent

from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset, validation_view
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.contents import PilotSummary

SEEDS = (0, 1, 2)
STAGES = {"flowers17": 4, "grocery24": 5}
"""Image sets, and their classes per stage; the last stage has fewer."""
_ADAMW: dict[str, object] = {"optimizer": "adamw", "weight_decay": 0.01, "batch_size": 128, "steps": 200}
_SGD: dict[str, object] = {"optimizer": "sgd", "weight_decay": 5e-4, "batch_size": 128, "steps": 200}
_BLOCK: dict[str, object] = {**_ADAMW, "tune": "last-block", "lr": 1e-3, "batch_size": 64, "steps": 50}
WAYS: list[dict[str, object]] = [
    {**_ADAMW, "tune": "head", "views": 4, "lr": 1e-3},
    {**_ADAMW, "tune": "head", "views": 1, "lr": 3e-3},
    {**_ADAMW, "tune": "head", "views": 4, "lr": 3e-3},
    {**_SGD, "tune": "head", "views": 1, "lr": 0.1},
    {**_SGD, "tune": "head", "views": 4, "lr": 0.1},
    {**_SGD, "tune": "head", "views": 8, "lr": 0.1},
    {**_SGD, "tune": "head", "views": 4, "lr": 0.03},
    {**_SGD, "tune": "head", "views": 4, "lr": 0.1, "steps": 50},
    {**_BLOCK, "views": 1},
    {**_BLOCK, "views": 4},
    {**_BLOCK, "views": 4, "steps": 25},
    {**_BLOCK, "views": 4, "batch_size": 32},
    {**_BLOCK, "views": 1, "batch_size": 32},
]
"""Ways to train, every value written out: the defaults that are chosen from them must not change the runs."""


def main() -> None:
    options = parser(__doc__, "fine-tuning", "the folder that holds flowers17 and grocery24")
    options.add_argument("--smallest", action="store_true", help="one run of each kind on demo images")
    asked = options.parse_args()
    study = Study("fine_tuning", asked.runs_dir, asked.afresh)
    if asked.smallest:
        shared = {"dataset": "demo", "size": 96, "steps": 2, "views": 2, "initial": 4, "increment": 3}
        data = validation_view(load_dataset("demo", 96))
        for tune in ("head", "last-block"):
            study.run(make_pilot_config(codec="jpeg:quality=20", budget="1img", tune=tune, **shared), 0, data)
        return
    groups = {name: configurations(Path(asked.dataset) / name, classes) for name, classes in STAGES.items()}
    opened: dict[str, ImageDataset] = {}
    for seed in SEEDS if not asked.report else ():
        for name, configs in groups.items():
            if name not in opened:
                opened[name] = validation_view(load_dataset(str(Path(asked.dataset) / name), 224))
            for config in configs:
                study.run(config, seed, opened[name])
    configs = [config for group in groups.values() for config in group]
    pilots = [pilot for config in configs if (pilot := study.summary(config, SEEDS)) is not None]
    study.write(pilots, "python notebooks/studies/fine_tuning.py DATA", images="validation")
    study.write_tables(as_table(pilots))


def configurations(dataset: Path, classes: int) -> list[PilotConfig]:
    """The pilots on one image set."""
    return [
        make_pilot_config(
            dataset=str(dataset),
            size=224,
            initial=classes,
            increment=classes,
            codec="jpeg:quality=20",
            align="both",
            budget="0.25img",
            **way,
        )
        for way in WAYS
    ]


def as_table(pilots: list[PilotSummary]) -> str:
    """A Markdown table, one row per way to train."""
    lines = [
        "Mean last accuracy over three seeds +- 95 % interval, in percent, on a held-out fifth of the training images.",
        "JPEG at quality 20, everything coded; a memory of a quarter of a raw image per class on disk.",
        "",
        "| images | tuned | views | optimiser | learning rate | batch | steps | last accuracy | seconds |",
        "|---|---|--:|---|--:|--:|--:|--:|--:|",
    ]
    for pilot in pilots:
        config = pilot["config"]
        seconds = min(run["seconds"] for run in pilot["runs"])  # the others may have computed frozen layers
        names = ("dataset", "tune", "views", "optimizer", "lr", "batch_size", "steps")
        cells = [str(config[name]) for name in names]
        lines.append("| " + " | ".join([*cells, percent(pilot, "last_accuracy"), f"{seconds:.0f}"]) + " |")
    return "\n".join(lines) + "\n"


if __name__ == "__main__":
    main()
