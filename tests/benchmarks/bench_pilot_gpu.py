"""A CIFAR-100-shaped iCaRL run on a CUDA device, with the whole published recipe. ``python
tests/benchmarks/bench_pilot_gpu.py``.

50,000 random images of 32 px in 100 classes, ten stages of ten: 200 and 9 x 170 epochs of a ResNet-32 with
distillation. Random pixels take as long as real ones. Beside the run's seconds: images a second, and the share of a
step's device time that is neither convolution nor matrix product. ``--epochs 0.02`` scales all epochs, for a look.
"""

from __future__ import annotations

import argparse
import sys
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import torch
from reporting import save, table
from torch.profiler import ProfilerActivity, profile

from toolkit.learning.methods import build_method
from toolkit.learning.methods.base import Stage, StageData
from toolkit.learning.recipes import published
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.foreground import run_pilot
from toolkit.training.backbones import build_backbone
from toolkit.training.batches import Pool, ReplayBatches
from toolkit.training.loop import Recipe, train
from toolkit.training.networks import Classifier

BATCH = 128
PROFILED_STEPS = 20
MATRIX_WORK = ("conv", "gemm", "cutlass", "cudnn", "xmma", "implicit")
"""Parts of the names of kernels that convolve or multiply matrices."""


def bench_run(scale: float, graphs: bool, folder: Path) -> dict[str, Any]:
    """Seconds of a whole run, coding and evaluation included, and images a second over all of it."""
    random = np.random.default_rng(0)
    labels = {"train_labels": np.repeat(np.arange(100), 500), "test_labels": np.repeat(np.arange(100), 100)}
    images = {
        f"{split}_images": random.integers(0, 256, (len(labels[f"{split}_labels"]), 32, 32, 3), np.uint8)
        for split in ("train", "test")
    }
    np.savez(folder / "cifar-shaped.npz", **images, **labels)
    choices = dict(published("pycil-icarl").choices)
    choices |= {name: scale * float(str(choices[name])) for name in ("epochs", "initial_epochs")}
    config = make_pilot_config(
        dataset=str(folder / "cifar-shaped.npz"),
        codec="raw",
        budget="20img",
        device="cuda",
        cuda_graphs=graphs,
        checkpoint_every=10_000,
        **choices,
    )
    result = run_pilot(config, 1993, folder / "runs")
    return {
        "cuda_graphs": graphs,
        "epochs": f"{scale:g} x (200 + 9 x 170)",
        "seconds": result["seconds"],
        "optimizer_steps": result["optimizer_steps"],
        "images_per_second": BATCH * result["optimizer_steps"] / result["seconds"],
        "peak_memory_MiB": (result["peak_memory_bytes"] or 0) / 2**20,
    }


def bench_step(graphs: bool) -> dict[str, Any]:
    """A later stage's steps under the profiler: the share of device time that is no matrix work."""
    device = torch.device("cuda")
    images = torch.randint(0, 256, (5000, 32, 32, 3), dtype=torch.uint8, device=device)
    new, old = (Pool(images, torch.randint(first, first + 10, (5000,), device=device)) for first in (10, 0))
    method = build_method("icarl")
    network: torch.nn.Module = Classifier(build_backbone("resnet32"), 10).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    stage = Stage(1, 10, 20)
    network = method.begin(network, stage)
    (phase,) = method.phases(network, stage, StageData(new, old, 0.5))

    def work() -> None:
        train(
            phase.network,
            ReplayBatches(new, old, BATCH),
            Recipe(PROFILED_STEPS, cuda_graphs=graphs),
            device=device,
            loss=phase.loss,
        )
        torch.cuda.synchronize()

    work()
    with profile(activities=[ProfilerActivity.CUDA]) as profiler:
        work()
    times = {event.key.lower(): event.self_device_time_total for event in profiler.key_averages()}
    whole = sum(times.values())
    matrices = sum(time for name, time in times.items() if any(part in name for part in MATRIX_WORK))
    return {"device_ms_a_step": whole / 1000 / PROFILED_STEPS, "share_without_matrix_work": 1 - matrices / whole}


def main() -> int:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--epochs", type=float, default=1.0, help="scales all epochs")
    parser.add_argument("--eager", action="store_true", help="without CUDA graphs")
    arguments = parser.parse_args()
    graphs = not arguments.eager
    with tempfile.TemporaryDirectory() as folder:
        result = bench_run(arguments.epochs, graphs, Path(folder)) | bench_step(graphs)
    print(table([result]))
    save("pilot-gpu" if arguments.epochs == 1 else "pilot-gpu-part", {"device": torch.cuda.get_device_name(), **result})
    return 0


if __name__ == "__main__":
    sys.exit(main())
