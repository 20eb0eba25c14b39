"""Estimates of time and memory of runs before they start: from similar finished runs, a short warm-up or a guess.

Imports torch only for a warm-up, because the app uses this module too.
"""

from __future__ import annotations

import statistics
import tempfile
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from toolkit.codecs.features import stores_features
from toolkit.codecs.spec import parse_codec, with_store
from toolkit.data.dataset import HELD_OUT_SHARE, ImageDataset
from toolkit.foundation.errors import WorkError
from toolkit.foundation.image_size import WrittenSize, parse_image_size
from toolkit.foundation.progress import Progress, silent
from toolkit.learning.catalog import parse_method
from toolkit.pilots.config import PilotConfig, cropped_side
from toolkit.pilots.plan import step_count
from toolkit.pilots.request import PilotRequest
from toolkit.runs.folder import RunFolder

WARMUP_STEPS = 20
ROUGH_SECONDS_PER_STEP = 0.15
"""Seconds per step of the default network with 64 images of 32 x 32 pixels on one CPU core, to a factor of three."""
ROUGH_FROZEN_STEP = {"last-block": 0.5, "head": 0.005}
"""Seconds per step with 64 images of 224 x 224 pixels if the other layers are frozen, by what is trained."""
ROUGH_FROZEN_SECONDS = 0.01
"""Seconds for the frozen layers of one image of 224 x 224 pixels, once for each image, view and setting."""
START_SECONDS = 10.0
"""Seconds until a worker has loaded its libraries and begins its first step: most of the time of a short run."""
_PACE = (
    "dataset",
    "size",
    "network",
    "tune",
    "batch_size",
    "method",
    "mixed_precision",
    "compile",
    "cuda_graphs",
    "device",
    "augment",
    "brightness",
    "initial",
    "increment",
)
"""Fields that the time per step depends on."""


@dataclass(frozen=True)
class Estimate:
    """Estimate for one run.

    Attributes:
        seconds: time until its result.
        memory_bytes: maximum size of its exemplar memory.
        from_runs: whether it is based on finished runs; otherwise on a warm-up or a guess.
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
    """Estimate every run; the result is keyed by run name.

    Args:
        planned: the runs.
        finished: folders of pilots to learn from; unfinished and damaged ones are skipped.
        progress: receives the progress of warm-ups, one for every kind of run without a similar finished run.
        unknown_pace: gives the seconds per step of a run without a similar finished run; by default
            :func:`warmup_seconds_per_step`.

    Raises:
        UsageError: a dataset, network or budget is wrong.
    """
    from toolkit.data.catalog import load_dataset
    from toolkit.memory.budget import budget_bytes

    pace_of = unknown_pace or warmup_seconds_per_step
    paces = _paces(finished)
    warm: dict[tuple[object, ...], float] = {}
    datasets: dict[tuple[str, WrittenSize], ImageDataset] = {}
    computed: set[tuple[object, ...]] = set()
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
        frozen = 0.0 if key in paces else _frozen_seconds(config, dataset, computed)
        estimates[run.run_name()] = Estimate(
            START_SECONDS + frozen + step_count(config, classes, _trained_images(config, dataset)) * pace,
            budget_bytes(config.budget, classes, dataset.raw_image_bytes),
            key in paces,
        )
    return estimates


def rough_seconds_per_step(config: PilotConfig, progress: Progress = silent) -> float:
    """Guess the seconds per step from the pixels per batch, without running any step."""
    if config.tune in ROUGH_FROZEN_STEP:
        return ROUGH_FROZEN_STEP[config.tune] * _area(config, 224) * config.batch_size / 64
    return ROUGH_SECONDS_PER_STEP * _area(config, 32) * config.batch_size / 64


def _trained_images(config: PilotConfig, dataset: ImageDataset) -> int:
    """Number of images that the pilot trains on."""
    images = len(dataset.train.labels)
    return images - round(HELD_OUT_SHARE * images) if config.held_out else images


def _area(config: PilotConfig, side: int) -> float:
    """Pixels of an image relative to a square's."""
    return parse_image_size(config.size).pixels / side**2


def _frozen_seconds(config: PilotConfig, dataset: ImageDataset, computed: set[tuple[object, ...]]) -> float:
    """Seconds for the frozen layers of the images that no run in ``computed`` has seen, which this run joins."""
    if config.tune == "all":
        return 0.0
    where = (config.dataset, config.size, config.network, config.tune)
    views = {(*where, "raw"): config.views}
    codec = parse_codec(config.codec)
    if not (codec.lossless or stores_features(codec)):  # decoded images pass through the layers, features have
        views[*where, config.codec] = 1
    tested = len(dataset.train.labels) if config.held_out else len(dataset.train.labels) + len(dataset.test.labels)
    passes = sum(count for seen, count in views.items() if seen not in computed)
    computed.update(views)
    return ROUGH_FROZEN_SECONDS * _area(config, 224) * tested * passes


def warmup_seconds_per_step(config: PilotConfig, progress: Progress = silent) -> float:
    """Seconds per step in the pilot's second stage on this machine, without the first half of the steps.

    The second stage is timed because methods distil or grow from there on. Images are not compressed, since the codec
    does not change a step, and no run is written. Evaluation and coding are not included. 0 for methods that train
    nothing.
    """
    if parse_method(config.method)[0].frozen:
        return 0.0
    import torch

    from toolkit.data.catalog import load_dataset
    from toolkit.pilots.data import PilotData
    from toolkit.pilots.learner import Learner, open_pilot_memory
    from toolkit.training.device import resolve_device
    from toolkit.training.loop import train

    steps = {"steps": WARMUP_STEPS, "epochs": None, "initial_steps": None, "initial_epochs": None}
    raw = with_store("raw", cropped_side(config))
    changes = {"codec": raw, "align": "none", "budget": "1000img", "selection": "random", **steps}
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
    """Median seconds per step, including evaluation and coding, by the fields it depends on."""
    found: dict[tuple[object, ...], list[float]] = {}
    for run in finished:
        try:
            request = PilotRequest.of(run)
            result = request.result_in(run)
        except WorkError:  # the list of runs shows the reason
            continue
        if result is not None and result["optimizer_steps"]:
            key = _pace_key(request.config)
            found.setdefault(key, []).append(result["seconds"] / result["optimizer_steps"])
    return {key: statistics.median(paces) for key, paces in found.items()}


def _pace_key(config: PilotConfig) -> tuple[object, ...]:
    return (*(getattr(config, name) for name in _PACE), cropped_side(config))
