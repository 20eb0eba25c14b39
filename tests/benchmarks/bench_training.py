"""The training loop against a bare forward, backward and step. ``python tests/benchmarks/bench_training.py``."""

from __future__ import annotations

import statistics
import sys

import torch
from reporting import save, seconds, table
from torch.nn import functional

from toolkit.training.batches import Pool, ReplayBatches
from toolkit.training.device import autocast, resolve_device
from toolkit.training.loop import Recipe, train
from toolkit.training.networks import Classifier, build_backbone, default_network

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
    resident, labels, _ = batches(0)
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
        "network": name, "device": str(device), "batch": batch, "loop_ms": loop_ms, "bare_ms": bare_ms,
        "ratio": statistics.median(ours / theirs for ours, theirs in pairs),
        "images_per_second": 1000 * batch / loop_ms,
    }  # fmt: skip


def main() -> int:
    result = bench_loop()
    print(table([result]))
    save(f"training-{result['device']}", result)
    return 0


if __name__ == "__main__":
    sys.exit(main())
