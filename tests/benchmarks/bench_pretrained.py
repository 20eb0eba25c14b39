"""Probe, and pilots of eight settings with three seeds, on photographs at 224 px with the pretrained network.

``python tests/benchmarks/bench_pretrained.py [all|last-block|head]``

Everything starts from an empty cache, in processes of their own whose peak memory the system reports. The peers are
what a user would write instead, timed in the same run on fewer images or steps and multiplied: a loop that passes the
decoded images of each batch through the whole frozen network, and the pass of a nearest-mean classifier (SimpleCIL)
over the decoded images of every setting in float32. RECALLRATE_DATA names the folder that holds ``flowers17``.
"""

from __future__ import annotations

import os
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import measured_command, save, seconds, table

from toolkit.codecs.spec import expand_grid
from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset
from toolkit.pilots.config import DEFAULT_TUNE, make_pilot_config
from toolkit.pilots.plan import step_count
from toolkit.training.device import autocast, resolve_device
from toolkit.training.networks import Classifier
from toolkit.training.start import open_network

GRID = "raw;original;jpeg:quality={10,20,50,90};webp:quality=20;avif:quality=40"
SIZE = 224
BUDGET = "4img"
SEEDS = "0,1,2"
MOST_SECONDS = 600
MOST_MIB = 2048
_TIMED_STEPS = 5
_TIMED_IMAGES = 96


def bench_pretrained(
    folder: Path, data: str, tune: str = DEFAULT_TUNE, grid: str = GRID, size: int = SIZE, more: tuple[str, ...] = ()
) -> dict[str, Any]:
    """Seconds and peak memory of the probe and of the pilots of each setting, from an empty cache.

    Args:
        folder: for caches and runs.
        data: the dataset.
        tune: what is trained.
        grid: the settings.
        size: of the images.
        more: further options of the pilots.
    """
    start = [sys.executable, "-m", "toolkit.cli"]
    probe = [*start, "probe", data, "--size", str(size), "--codecs", grid, "--budget", BUDGET]
    rows: list[dict[str, Any]] = [{"what": "probe", **measured_command(probe, folder / "cache")}]
    for codec in expand_grid(grid):
        options = ["--size", str(size), "--codec", codec, "--budget", BUDGET, "--align", "both", "--tune", tune]
        pilot = [*start, "pilot", data, *options, "--seeds", SEEDS, "--runs-dir", str(folder / "runs"), *more]
        rows.append({"what": codec, **measured_command(pilot, folder / "cache")})
        print(table(rows[-1:]), flush=True)
    return {
        "tune": tune,
        "rows": rows,
        "wall_s": sum(row["wall_s"] for row in rows),
        "peak_MiB": max(row["peak_MiB"] for row in rows),
    }


def peers(dataset: ImageDataset, tune: str, settings: int, seeds: int) -> dict[str, float]:
    """Seconds of the two peers for as many settings and seeds, from a few steps and images."""
    device = resolve_device("cpu")
    config = make_pilot_config(
        dataset=dataset.name, size=dataset.size, initial=4, increment=4, codec="raw", budget=BUDGET, tune=tune
    )
    start = open_network(config.network)
    assert start.statistics is not None
    network = Classifier(start.backbone(), len(dataset.class_names), *start.statistics)
    images = torch.from_numpy(np.array(dataset.train.images[:_TIMED_IMAGES])).permute(0, 3, 1, 2)
    labels = torch.from_numpy(dataset.train.labels[: config.batch_size])
    batch = images[torch.arange(config.batch_size) % len(images)]
    network.backbone.requires_grad_(False)
    optimizer = torch.optim.AdamW(network.head.parameters(), config.lr)

    def steps(count: int) -> None:
        for _ in range(count):
            with autocast(device):
                loss = torch.nn.functional.cross_entropy(network(batch).float(), labels[: len(batch)])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()

    steps(1)
    each = seconds(lambda: steps(_TIMED_STEPS)) / _TIMED_STEPS
    with torch.inference_mode():
        network.eval()
        network.features(images[:8])
        passed = seconds(lambda: [network.features(part) for part in images.split(32)]) / len(images)
    total = len(dataset.train) + len(dataset.test)
    return {
        "plain_loop_s": each * step_count(config, len(dataset.class_names)) * settings * seeds,
        "nearest_mean_pass_s": passed * total * settings,
    }


def main() -> int:
    tune = sys.argv[1] if len(sys.argv) > 1 else DEFAULT_TUNE
    data = str(Path(os.environ["RECALLRATE_DATA"]) / "flowers17")
    with tempfile.TemporaryDirectory() as folder:
        result = bench_pretrained(Path(folder), data, tune)
        result |= peers(load_dataset(data, SIZE), tune, len(expand_grid(GRID)), len(SEEDS.split(",")))
    figures = {name: value for name, value in result.items() if name != "rows"}
    print(table([figures]))
    save(f"pretrained-{tune}", {"dataset": "flowers17", "size": SIZE, "grid": GRID, "budget": BUDGET, **result})
    return 0 if result["wall_s"] <= MOST_SECONDS and result["peak_MiB"] <= MOST_MIB else 1


if __name__ == "__main__":
    sys.exit(main())
