"""The JPEG layer study: does the layer pay, why, and how good are its learned tables as a codec?

``layer``: a ResNet-8 at 64 px, plain, behind the layer in the paper's setting (sensitivity, alpha 5, 8 bits), and
behind each control, 1,000 steps of 32 images. ``codec``: the same network trained and tested on images coded with
``jpeg`` at six qualities, or with ``learned-jpeg`` and tables trained for five rate weights; accuracy against stored
bytes. Three seeds each; test images are used once, to report. One part on one dataset takes 40 to 60 minutes on one
core; a stopped study resumes where it stopped.

    python notebooks/studies/jpeg_layer.py layer DATA/flowers17 [--runs-dir RUNS]
    python notebooks/studies/jpeg_layer.py codec DATA/flowers17 [--runs-dir RUNS]
    python notebooks/studies/jpeg_layer.py robustness DATA/flowers17 [--runs-dir RUNS]

``robustness`` attacks the networks of ``layer``, which must have finished. Each part writes
``results/jpeg-PART-DATASET.json``, and a table and figure as ``.md`` and ``.svg``; ``--report`` only redraws these.
"""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any

from jpeg_layer_report import draw_codec, draw_layer, draw_robustness

from toolkit.codecs.spec import short_spec
from toolkit.foundation.files import default_runs_dir, read_json, write_json
from toolkit.foundation.threads import set_threads
from toolkit.jpeg_dl.attack import attack_run
from toolkit.jpeg_dl.config import JPEGConfig, make_jpeg_config
from toolkit.jpeg_dl.contents import AttackResult, TrainingsSummary
from toolkit.jpeg_dl.export import export_tables
from toolkit.jpeg_dl.foreground import run_jpeg
from toolkit.runs.environment import environment
from toolkit.runs.folder import RunFolder

SEEDS = (0, 1, 2)
QUALITIES = (2, 5, 10, 20, 50, 80)
RATE_WEIGHTS = (0.001, 0.003, 0.01, 0.03, 0.1)
RATE_SETTING = {
    "start": "plain",
    "init": "quality=75",
    "bits": 12,
    "alpha_mode": "matched",
    "hardness": 3.0,
    "table_lr": 0.5,
}
"""Chosen on held-out training images of flowers17; soft enough for a gradient of the rate."""
EPS = (1 / 255, 2 / 255, 3 / 255, 4 / 255)
ATTACKED, QUERIES = 100, 200
RESULTS = Path(__file__).parent / "results"


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("part", choices=list(PARTS))
    parser.add_argument("dataset", type=Path, help="the folder flowers17 or tiny-imagenet-20")
    parser.add_argument("--runs-dir", type=Path, default=default_runs_dir() / "jpeg-layer")
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="train nothing, only redraw the results in the JSON")
    arguments = parser.parse_args()
    set_threads(arguments.threads)
    run, draw = PARTS[arguments.part]
    name = arguments.dataset.name
    path = RESULTS / f"jpeg-{arguments.part}-{name}.json"
    if not arguments.report:
        results = run(arguments.dataset, arguments.runs_dir)
        command = f"python notebooks/studies/jpeg_layer.py {arguments.part} DATA/{name}"
        write_json(path, {"command": command, "environment": environment(), "results": results})
    draw(read_json(path)["results"], path)


def configuration(dataset: Path, **choices: Any) -> JPEGConfig:
    """The common settings of the study with the ``choices`` of one training."""
    common = {"dataset": str(dataset), "size": 64, "network": "resnet8", "steps": 1000, "batch_size": 32}
    return make_jpeg_config(**common, **choices)


def study_layer(dataset: Path, runs_dir: Path) -> list[TrainingsSummary]:
    """Plain network, layer and controls in the paper's setting."""
    return [published(run_jpeg(configuration(dataset), SEEDS, runs_dir), dataset)]


def study_codec(dataset: Path, runs_dir: Path) -> list[TrainingsSummary]:
    """Networks trained and tested on images coded with standard tables, and with tables trained for each rate weight.

    Tables are trained once, with the first seed; the networks trained with them are not used.
    """
    specs = [f"jpeg:quality={quality},subsampling=444" for quality in QUALITIES]
    for weight in RATE_WEIGHTS:
        config = configuration(dataset, variants=("plain", "jpeg"), rate_weight=weight, **RATE_SETTING)
        run_jpeg(config, SEEDS[:1], runs_dir)
        tables = runs_dir / f"tables-{dataset.name}-{weight:g}.json"
        learned = export_tables(RunFolder(runs_dir / config.run_name(SEEDS[0])), tables)
        specs.append(f"learned-jpeg:tables={tables.resolve()},subsampling=444")
        print(f"rate weight {weight:g}: largest steps {learned.steps.max(axis=(1, 2)).tolist()}", file=sys.stderr)
    results = []
    for spec in ["raw", *specs]:
        result = run_jpeg(configuration(dataset, variants=("plain",), codec=spec), SEEDS, runs_dir)
        results.append(published(result, dataset))
        mean = result["variants"]["plain"]["mean"]["accuracy"]
        size = result["runs"][0]["test_image_bytes"]
        print(f"{short_spec(spec)}: {size:.0f} bytes, accuracy {mean:.3f}", file=sys.stderr, flush=True)
    return results


def study_robustness(dataset: Path, runs_dir: Path) -> list[AttackResult]:
    """The plain and layered networks of every seed under all attacks, with the soft quantiser as deployed."""
    config = configuration(dataset)
    return [
        attack_run(RunFolder(runs_dir / config.run_name(seed)), eps=EPS, images=ATTACKED, queries=QUERIES, seed=seed)
        for seed in SEEDS
    ]


def published(result: TrainingsSummary, dataset: Path) -> TrainingsSummary:
    """A result without local paths."""
    codec = short_spec(str(result["config"]["codec"]))
    return {**result, "config": {**result["config"], "dataset": dataset.name, "codec": codec}}


PARTS = {
    "layer": (study_layer, draw_layer),
    "codec": (study_codec, draw_codec),
    "robustness": (study_robustness, draw_robustness),
}


if __name__ == "__main__":
    main()
