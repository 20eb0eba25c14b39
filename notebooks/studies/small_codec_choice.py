"""Choose the training settings of the small codec.

    python notebooks/studies/small_codec_choice.py DATA/tiny-imagenet-20 --folder FOLDER

Of the ten training classes, seven train and networks of the other three measure, so that the ten held-out classes have
no part in the choice. ``results/small-codec-choice.{json,md}``: relative FMSE of several trainings, of the
initialisation from principal components (only the entropy model is trained), and of AVIF and JPEG with shared headers.
The same command resumes an interrupted training. About ten minutes on two cores.
"""

from __future__ import annotations

import sys
from typing import Any

from neural import distortion_table, measured
from small_codec import CLASSES, TRAINING, parse_arguments, part_of, progress
from study import RESULTS

from toolkit.codec_training.config import make_codec_config
from toolkit.codec_training.training import train_codecs
from toolkit.foundation.files import write_json
from toolkit.runs.environment import environment

TRAINED = 7
"""Number of classes."""
ONE_RATE = {"rates": (0.6,)}
CHOICES: dict[str, dict[str, Any]] = {
    "components": {"lr": 1e-9, "steps": 300},
    "lr 3e-5, 600 steps": {},
    "lr 3e-5, 600 steps, no features": {"feature_weight": 0.0} | ONE_RATE,
    "lr 1e-4, 600 steps": {"lr": 1e-4} | ONE_RATE,
    "lr 1e-3, 2500 steps": {"lr": 1e-3, "steps": 2500} | ONE_RATE,
}
"""Changes to :data:`small_codec.TRAINING`."""
PEERS = (
    *(f"avif:quality={quality}" for quality in (5, 10, 20, 30, 40)),
    *(f"jpeg:quality={quality}" for quality in (5, 10, 20)),
)


def main() -> int:
    arguments = parse_arguments(__doc__)
    train_on = part_of(arguments.dataset, arguments.folder / "first-seven-classes", 0, TRAINED)
    judge_on = part_of(arguments.dataset, arguments.folder / "next-three-classes", TRAINED, CLASSES)
    named = {spec: spec for spec in PEERS}
    for name, changes in CHOICES.items():
        config = make_codec_config(**TRAINING | changes, dataset=str(train_on))
        folder = arguments.folder / name.replace(",", "").replace(" ", "-")
        for codec in train_codecs(config, folder, progress)["codecs"]:
            named[f"neural:checkpoint={folder / codec['file']}"] = f"{name}: {codec['rate']} bits per pixel"
    rows = []
    for size in TRAINING["sizes"]:
        for name, row in zip(named.values(), measured(judge_on, size, tuple(named)), strict=True):
            rows.append(row | {"codec": name})
    write_json(RESULTS / "small-codec-choice.json", {"environment": environment(), "settings": rows})
    (RESULTS / "small-codec-choice.md").write_text(distortion_table(rows))
    return 0


if __name__ == "__main__":
    sys.exit(main())
