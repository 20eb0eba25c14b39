"""The JPEG layer's study: does it pay, why, and what are its learned tables worth as a codec?

``layer``: a ResNet-8 at 64 px, plain, behind the layer in the paper's setting (sensitivity, alpha 5, 8 bits), and behind
each control, 1,000 steps of 32 images. ``codec``: the same network trained and tested on images that passed ``jpeg`` at
six qualities, or ``learned-jpeg`` with tables trained for four rate weights; accuracy against stored bytes. Three seeds
of everything; test images are used once, to report. One dataset and part takes 40 to 60 minutes on one core; a stopped
study goes on where it was.

    python studies/jpeg_layer.py layer DATA/flowers17 [--runs-dir RUNS]
    python studies/jpeg_layer.py codec DATA/flowers17 [--runs-dir RUNS]

Each writes ``results/jpeg-PART-DATASET.json``, from which ``--report`` redraws the tables and figures alone.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from toolkit.foundation.files import default_runs_dir, write_json
from toolkit.foundation.parallel import set_threads
from toolkit.jpeg_dl.config import JPEGConfig, make_config
from toolkit.jpeg_dl.experiment import run_seeds
from toolkit.runs.environment import environment

SEEDS = (0, 1, 2)
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=["layer", "codec"])
    parser.add_argument("dataset", type=Path, help="the folder flowers17 or tiny-imagenet-20")
    parser.add_argument("--runs-dir", type=Path, default=default_runs_dir() / "jpeg-layer")
    parser.add_argument("--threads", type=int, default=0)
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    study = {"layer": study_layer, "codec": study_codec}[arguments.part]
    name = arguments.dataset.name
    results = study(arguments.dataset, arguments.runs_dir)
    command = f"python studies/jpeg_layer.py {arguments.part} DATA/{name}"
    write_json(
        RESULTS / f"jpeg-{arguments.part}-{name}.json",
        {"command": command, "environment": environment(), "results": results},
    )


def configuration(dataset: Path, **choices: Any) -> JPEGConfig:
    """What every training of the study has in common, and what is special about this one."""
    common = {"dataset": str(dataset), "size": 64, "network": "resnet8", "steps": 1000, "batch_size": 32}
    return make_config(**common, **choices)


def study_layer(dataset: Path, runs_dir: Path) -> list[dict[str, Any]]:
    """Plain, layer and controls in the paper's setting."""
    return [published(run_seeds(configuration(dataset), SEEDS, runs_dir), dataset)]


def study_codec(dataset: Path, runs_dir: Path) -> list[dict[str, Any]]:
    """Networks trained and tested on coded images."""
    raise SystemExit(f"not yet: {dataset} {runs_dir}")


def published(result: dict[str, Any], dataset: Path) -> dict[str, Any]:
    """A result without the path of this machine's data."""
    return {**result, "config": {**result["config"], "dataset": dataset.name}}


if __name__ == "__main__":
    sys.exit(main())
