"""A pilot's peak memory against what it works on. ``python tests/benchmarks/bench_pilot_memory.py``.

In a process of its own: the growth of its peak from when its libraries are loaded, against the bytes of the data (both
splits, original and coded), the network and the optimiser. Part of the growth are the libraries themselves: what a step
on two images makes them load and keep is measured first. Activations come on top; they grow with the batch, not with
the data. So the ratio falls with the data: the last row has as many images as CIFAR-100, made of noise.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
from reporting import benchmark_spec, save, table

ROOT = Path(__file__).parents[2]
MEASURE = """
import json, sys, tempfile
from pathlib import Path
import psutil
from toolkit.codecs.cache import coded_images
from toolkit.codecs.spec import parse_codec
from toolkit.data.catalog import load_dataset
from toolkit.foundation.threads import set_threads
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.foreground import run_pilot
from toolkit.runs.usage import peak_memory_bytes
import torch
from toolkit.training.loop import Recipe, train
from toolkit.training.batches import Batch
from toolkit.training.backbones import build_backbone
from toolkit.training.networks import Classifier
set_threads(2)
values = json.loads(sys.argv[1])
config = make_pilot_config(codec="jpeg:quality=50", align="both", budget="20img", steps=4, **values)
before = psutil.Process().memory_info().rss
two = Batch(torch.zeros(2, 3, config.size, config.size).contiguous(memory_format=torch.channels_last), torch.arange(2))
small = Classifier(build_backbone("resnet8"), 2).to(memory_format=torch.channels_last)
train(small, lambda step: two, Recipe(2), device=torch.device("cpu"))
libraries = peak_memory_bytes() - before
with tempfile.TemporaryDirectory() as folder:
    result = run_pilot(config, 0, Path(folder))
dataset = load_dataset(config.dataset, config.size)
data = 2 * (dataset.train.images.nbytes + dataset.test.images.nbytes)
network = sum(one.nbytes for one in build_backbone(result["network"]).parameters())
growth = peak_memory_bytes() - before
print(json.dumps({"growth": growth, "libraries": libraries, "data": data, "network_and_optimizer": 3 * network}))
"""
CIFAR100 = {"classes": 100, "train": 500, "test": 100}
"""Images a class."""


def bench_memory(dataset: str, size: int, batch_size: int, stage: int) -> dict[str, Any]:
    """MiB, and the growth over what the pilot works on, with the libraries' part and without."""
    values = {"dataset": dataset, "size": size, "batch_size": batch_size, "initial": stage, "increment": stage}
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    command = [sys.executable, "-c", MEASURE, json.dumps(values)]
    for _ in range(2):  # the first one fills the cache of coded images
        done = subprocess.run(command, env=environment, capture_output=True, text=True, check=True)
    mib = {name: value / 2**20 for name, value in json.loads(done.stdout.splitlines()[-1]).items()}
    held = mib["data"] + mib["network_and_optimizer"]
    facts = {"dataset": Path(dataset).stem, "size": size, "batch_size": batch_size}
    return {**facts, **mib, "ratio": mib["growth"] / held, "own_ratio": (mib["growth"] - mib["libraries"]) / held}


def as_many_as_cifar100(path: Path) -> Path:
    """Noise in place of CIFAR-100's images, in MedMNIST layout."""
    rng = np.random.default_rng(0)
    arrays = {}
    for split in ("train", "test"):
        labels = np.repeat(np.arange(CIFAR100["classes"]), CIFAR100[split])
        arrays[f"{split}_images"] = rng.integers(0, 256, (len(labels), 32, 32, 3), dtype=np.uint8)
        arrays[f"{split}_labels"] = labels
    np.savez(path, **arrays)
    return path


def main() -> int:
    rows = [bench_memory(benchmark_spec(), size, batch, 4) for size, batch in ((32, 128), (64, 128), (64, 32))]
    with tempfile.TemporaryDirectory() as folder:
        large = as_many_as_cifar100(Path(folder) / "noise.npz")
        rows.append(bench_memory(str(large), 32, 128, 20))
    print(table(rows))
    save("pilot-memory", {"rows": rows})
    return 0


if __name__ == "__main__":
    sys.exit(main())
