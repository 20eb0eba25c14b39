"""The training loop against a bare forward, backward and step. ``python tests/benchmarks/bench_training.py``."""

from __future__ import annotations

import statistics
import sys
from functools import partial

import torch
from reporting import save, seconds, table
from torch.nn import functional

from toolkit.learning.methods import build_method
from toolkit.learning.methods.base import Stage, StageData
from toolkit.training.backbones import build_backbone, default_network
from toolkit.training.batches import Pool, ReplayBatches
from toolkit.training.device import autocast, resolve_device
from toolkit.training.loop import Recipe, train
from toolkit.training.networks import Classifier

STEPS = 15
ROUNDS = 7
BATCH = 128


def bench_loop(network_name: str | None = None, batch: int = BATCH) -> dict[str, object]:
    """Medians over rounds taken in turn: milliseconds a step of the loop and of the bare steps, and their ratio."""
    device = resolve_device("auto")
    name = network_name or default_network(device)
    torch.manual_seed(0)
    network = Classifier(build_backbone(name), 20).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
    images = torch.randint(0, 256, (1200, 32, 32, 3), dtype=torch.uint8, device=device)
    pool = Pool(images, torch.randint(0, 20, (1200,), device=device))
    batches = ReplayBatches(pool, pool, batch)
    resident, labels = batches(0)[:2]
    optimizer = torch.optim.SGD(network.parameters(), 0.1, momentum=0.9, weight_decay=5e-4)

    def bare() -> None:
        for _ in range(STEPS):
            with autocast(device):
                loss = functional.cross_entropy(network(resident).float(), labels)
            optimizer.zero_grad(set_to_none=True)
            loss.backward()
            optimizer.step()
        if device.type == "cuda":
            torch.cuda.synchronize()

    def looped() -> None:
        train(network, batches, Recipe(STEPS), device=device)
        if device.type == "cuda":
            torch.cuda.synchronize()

    bare(), looped()
    pairs = [(seconds(looped), seconds(bare)) for _ in range(ROUNDS)]
    loop_ms, bare_ms = (1000 * statistics.median(side) / STEPS for side in zip(*pairs, strict=True))
    return {
        "network": name,
        "device": str(device),
        "batch": batch,
        "loop_ms": loop_ms,
        "bare_ms": bare_ms,
        "ratio": statistics.median(ours / theirs for ours, theirs in pairs),
        "images_per_second": 1000 * batch / loop_ms,
    }


def bench_distillation(network_name: str | None = None, batch: int = BATCH) -> dict[str, object]:
    """Images a second of a later stage's training with distillation (iCaRL) and without (replay), and their ratio."""
    device = resolve_device("auto")
    name = network_name or default_network(device)
    torch.manual_seed(0)
    images = torch.randint(0, 256, (1200, 32, 32, 3), dtype=torch.uint8, device=device)
    new, old = (Pool(images, torch.randint(low, low + 10, (1200,), device=device)) for low in (10, 0))
    works = {}
    for method_name in ("replay", "icarl"):
        method = build_method(method_name)
        network: torch.nn.Module = Classifier(build_backbone(name), 10).to(device, memory_format=torch.channels_last)  # type: ignore[call-overload]
        stage = Stage(1, 10, 20)
        network = method.begin(network, stage)
        (phase,) = method.phases(network, stage, StageData(new, old, 0.5))
        works[method_name] = partial(
            train, phase.network, ReplayBatches(new, old, batch), Recipe(STEPS), device=device, loss=phase.loss
        )
    for work in works.values():
        work()
    pairs = [(seconds(works["icarl"]), seconds(works["replay"])) for _ in range(ROUNDS)]
    distilled, plain = (STEPS * batch / statistics.median(side) for side in zip(*pairs, strict=True))
    return {
        "network": name,
        "device": str(device),
        "batch": batch,
        "distilled_images_per_second": distilled,
        "replay_images_per_second": plain,
        "ratio": statistics.median(plain / slow for slow, plain in pairs),
    }


def main() -> int:
    result, distillation = bench_loop(), bench_distillation()
    print(table([result]))
    print(table([distillation]))
    save(f"training-{result['device']}", {**result, "distillation": distillation})
    return 0


if __name__ == "__main__":
    sys.exit(main())
