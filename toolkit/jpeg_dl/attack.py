"""Attack the networks of a finished training."""

from __future__ import annotations

from typing import cast

import numpy as np
import torch

from toolkit.data.catalog import load_dataset
from toolkit.foundation.errors import UsageError
from toolkit.foundation.progress import Progress, silent
from toolkit.jpeg_dl.contents import AttackResult
from toolkit.jpeg_dl.experiment import load_trained
from toolkit.jpeg_dl.variants import TrainingData, evenly_spread, layered
from toolkit.robustness.evaluation import robustness_report
from toolkit.runs.folder import RunFolder
from toolkit.training.device import resolve_device


def attack_run(
    run: RunFolder,
    *,
    eps: tuple[float, ...],
    mode: str = "soft",
    images: int = 200,
    queries: int = 300,
    variant: str = "jpeg",
    seed: int = 0,
    device: str = "auto",
    progress: Progress = silent,
) -> AttackResult:
    """Robustness of a run's plain network and of a variant with its layer, on evenly spaced test images.

    Args:
        run: a finished training.
        eps: L-infinity bounds for pixels in [0, 1].
        mode: the quantiser as deployed, ``soft`` or ``hard``.
        images: maximum number of test images.
        queries: of the gradient-free attack, per image.

    Returns:
        :func:`~toolkit.robustness.evaluation.robustness_report` with the names of run and variant.

    Raises:
        UsageError: the run has no such variant, the variant has no quantiser, or eps or mode is invalid.
    """
    target = resolve_device(device)
    config, network, layer = load_trained(run, variant)
    if layer is None or layer.mode == "identity":
        raise UsageError(f"{variant} has no quantiser to attack: choose jpeg, standard, ste, noise or unclipped")
    _, plain, _ = load_trained(run, "plain")
    data = TrainingData.of(load_dataset(config.dataset, config.size, progress=progress), config, progress)
    chosen = evenly_spread(len(data.test_labels), images)
    report = robustness_report(
        plain.to(target).eval(),
        layered(layer, network, target).eval(),
        torch.from_numpy(np.array(data.test_images[chosen])),
        torch.from_numpy(data.test_labels[chosen]),
        eps=eps,
        mode=mode,
        seed=seed,
        device=target,
        queries=queries,
        progress=progress,
    )
    return cast(AttackResult, {"run": run.name, "variant": variant, **report})
