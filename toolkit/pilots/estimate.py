"""What runs will cost, before they start: from finished runs of the same kind, else from a short warm-up or a guess.

Imports no torch before a warm-up: the app reads these too.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.data.dataset import ImageDataset
from toolkit.foundation.errors import WorkError
from toolkit.foundation.progress import Progress, silent
from toolkit.learning.catalog import parse_method
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.plan import step_count
from toolkit.pilots.request import PilotRequest
from toolkit.runs.folder import RunFolder

WARMUP_STEPS = 20
ROUGH_SECONDS_PER_STEP = 0.15
"""A step of the default network with 64 images of 32 x 32 pixels on one CPU core, to within a factor of three."""
START_SECONDS = 10.0
"""Of a worker, until its libraries are loaded and its first step begins; most of a short run's time."""
_PACE = (
    "dataset",
    "size",
    "network",
    "batch_size",
    "method",
    "mixed_precision",
    "compile",
    "cuda_graphs",
    "device",
    "brightness",
    "initial",
    "increment",
)
"""What the time of a step depends on."""


@dataclass(frozen=True)
class Estimate:
    """Of one run.

    Attributes:
        seconds: until its result.
        memory_bytes: of its exemplar memory, at most.
        from_runs: whether finished runs say so; else a warm-up or a guess.
    """

    seconds: float
    memory_bytes: int
    from_runs: bool


def estimate_runs(
    planned: Sequence[PilotRequest],
    finished: Sequence[RunFolder],
    progress: Progress = silent,
    *,
    unknown_pace: Callable[[PilotConfig, Progress], float] | None = None,
) -> dict[str, Estimate]:
    """An estimate for each run, by name.

    Args:
        planned: the runs.
        finished: pilots' folders to learn from; those without a result, and those not whole, are passed over.
        progress: told about warm-ups, one for every kind of run that no finished one is like.
        unknown_pace: seconds a step of a run that no finished one is like; by default :func:`warmup_seconds_per_step`.

    Raises:
        UsageError: a dataset, network or budget is wrong.
    """
    from toolkit.data.catalog import load_dataset
    from toolkit.memory.budget import budget_bytes

    pace_of = unknown_pace or warmup_seconds_per_step
    paces = _paces(finished)
    warm: dict[tuple[object, ...], float] = {}
    datasets: dict[tuple[str, int], ImageDataset] = {}
    estimates = {}
    for run in planned:
        config = run.config
        where = (config.dataset, config.size)
        if where not in datasets:
            datasets[where] = load_dataset(*where, progress=progress)
        dataset = datasets[where]
        classes = len(dataset.class_names)
        key = _pace_key(config)
        if key not in paces and key not in warm:
            progress("timing a few steps", len(warm), len(warm) + 1)
            warm[key] = pace_of(config, progress)
        pace = paces.get(key, warm.get(key, 0.0))
        estimates[run.run_name()] = Estimate(
            START_SECONDS + step_count(config, classes, len(dataset.train.labels)) * pace,
            budget_bytes(config.budget, classes, dataset.raw_image_bytes),
            key in paces,
        )
    return estimates


def rough_seconds_per_step(config: PilotConfig, progress: Progress = silent) -> float:
    """A guess without any step: it grows with the pixels of a batch."""
    return ROUGH_SECONDS_PER_STEP * (config.size / 32) ** 2 * config.batch_size / 64


def warmup_seconds_per_step(config: PilotConfig, progress: Progress = silent) -> float:
    """Seconds a step of the pilot's second stage takes here, the first half of the steps not counted.

    The second, because from there on methods distil or have grown. Nothing is coded, since the codec does not change a
    step, and no run is written. Evaluation and coding come on top. 0 for methods that train nothing.
    """
    if parse_method(config.method)[0].frozen:
        return 0.0
    import torch

    from toolkit.data.catalog import load_dataset
    from toolkit.pilots.learner import Learner, PilotData, open_pilot_memory
    from toolkit.training.device import resolve_device
    from toolkit.training.loop import train

    steps = {"steps": WARMUP_STEPS, "epochs": None, "initial_steps": None, "initial_epochs": None}
    changes = {"codec": "raw", "align": "none", "budget": "1000img", "selection": "random", **steps}
    config = config.model_copy(update=changes)
    device = resolve_device(config.device)
    data = PilotData.load(config, load_dataset(config.dataset, config.size, progress=progress), 0, progress)
    moments: list[float] = []

    def after_step(step: int, loss: torch.Tensor, optimizer: torch.optim.Optimizer) -> None:
        loss.item()  # waits for a GPU
        moments.append(time.perf_counter())

    with tempfile.TemporaryDirectory() as folder, open_pilot_memory(config, data, Path(folder)) as memory:
        learner = Learner(config, data, memory, device, 0, progress)
        stage = min(1, len(data.scenario) - 1)
        if stage:
            learner.begin(0)
            learner.finish(0)
            learner.commit(0)
        learner.begin(stage)
        phases = learner.phases(stage)
        phases[0].prepare()
        recipe = replace(learner.recipe(stage), steps=WARMUP_STEPS)
        batches = learner.batches(stage, 0, phases[0])
        train(phases[0].network, batches, recipe, device=device, loss=phases[0].loss, after_step=after_step)
    half = len(moments) // 2
    return (moments[-1] - moments[half]) / (len(moments) - 1 - half)


def _paces(finished: Sequence[RunFolder]) -> dict[tuple[object, ...], float]:
    """Median seconds a step, evaluation and coding included, by what it depends on."""
    found: dict[tuple[object, ...], list[float]] = {}
    for run in finished:
        try:
            config, result = PilotRequest.of(run).config, run.result
        except WorkError:  # the list of runs says what is wrong with it
            continue
        if result is not None and result["optimizer_steps"]:
            key = _pace_key(config)
            found.setdefault(key, []).append(result["seconds"] / result["optimizer_steps"])
    return {key: statistics.median(paces) for key, paces in found.items()}


def _pace_key(config: PilotConfig) -> tuple[object, ...]:
    return tuple(getattr(config, name) for name in _PACE)
