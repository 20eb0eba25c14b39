"""Train the neural codec that ships in ``toolkit/codecs/neural/weights``.

    python notebooks/studies/small_codec.py DATA/tiny-imagenet-20

The first ten of the twenty classes, in alphabetical order, train it at 32 and 64 px; the other ten are held out for
studies of the codec. The same command resumes an interrupted training. About four minutes on two cores.

``small_codec_choice.py`` determined the settings of the training.
"""

from __future__ import annotations

import argparse
import shutil
import sys
from pathlib import Path
from typing import Any

from toolkit.codec_training.config import make_codec_config
from toolkit.codec_training.training import train_codecs
from toolkit.codecs.neural.codec import SMALL_FOLDER
from toolkit.foundation.files import write_json
from toolkit.foundation.threads import set_threads

CLASSES = 10
RATES = {0.3: 1, 0.6: 2, 1.0: 3}
"""Bits per pixel, and the corresponding quality."""
TRAINING: dict[str, Any] = {
    "sizes": (32, 64),
    "batch_size": 16,
    "extractor": "self",
    "device": "cpu",
    "mixed_precision": False,  # a network this small is faster in float32 on two cores
    "rates": tuple(RATES),
    "afresh": True,
    "steps": 600,
    "lr": 3e-5,
    "feature_weight": 8.0,
}


def part_of(dataset: Path, folder: Path, first: int, last: int) -> Path:
    """A copy of the classes ``first`` to ``last - 1`` of a dataset, in alphabetical order."""
    for split in ("train", "test"):
        for name in sorted(one.name for one in (dataset / split).iterdir() if one.is_dir())[first:last]:
            if not (folder / split / name).exists():
                shutil.copytree(dataset / split / name, folder / split / name)
    return folder


def parse_arguments(description: str | None) -> argparse.Namespace:
    """Parse the command line of a training of the codec, and set the number of threads."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", type=Path)
    parser.add_argument(
        "--folder", type=Path, required=True, help="folder for copies of the classes and for the trainings"
    )
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    return arguments


def main() -> int:
    arguments = parse_arguments(__doc__)
    first_ten = part_of(arguments.dataset, arguments.folder / "first-ten-classes", 0, CLASSES)
    config = make_codec_config(dataset=str(first_ten), **TRAINING)
    made = train_codecs(config, arguments.folder / "codecs", progress)
    for codec in made["codecs"]:
        name = f"small-{RATES[codec['rate']]}.npz"
        shutil.copyfile(arguments.folder / "codecs" / codec["file"], SMALL_FOLDER / name)
        codec["file"] = name
    write_json(SMALL_FOLDER / "training.json", {**made, "config": {**made["config"], "dataset": first_ten.name}})
    return 0


def progress(what: str, done: int, total: int) -> None:
    """Print the progress of a training."""
    if done % 250 == 0:
        print(f"{what}: {done} of {total}", flush=True)


if __name__ == "__main__":
    sys.exit(main())
