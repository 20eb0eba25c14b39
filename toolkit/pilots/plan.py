"""Plan pilots: the list of runs for a user's choices.

Imports no torch.
"""

from __future__ import annotations

import math
from collections.abc import Sequence

from toolkit.codecs.spec import is_lossless, is_raw, stores_exactly, without_store
from toolkit.foundation.errors import UsageError
from toolkit.learning.catalog import parse_method
from toolkit.pilots.config import PilotConfig, make_pilot_config
from toolkit.pilots.request import PilotRequest

MAX_RUNS = 10_000
"""Maximum number of runs planned at once."""


def plan(
    codecs: Sequence[str], aligns: Sequence[str], budgets: Sequence[str], seeds: Sequence[int], **shared: object
) -> list[PilotRequest]:
    """Every codec at every alignment, budget and seed; seeds vary fastest, so that settings complete one by one.

    A lossless codec changes no pixel, so it is planned once, without alignment.

    Args:
        codecs: specs.
        aligns: ``none``, ``train``, ``both``; for lossy codecs.
        budgets: as written by users, such as ``64KiB``.
        seeds: distinct.
        shared: further fields of :class:`PilotConfig`.

    Raises:
        UsageError: nothing to run, more than :data:`MAX_RUNS` runs, or an invalid configuration.
    """
    for name, chosen in (("setting", codecs), ("alignment", aligns), ("budget", budgets), ("seed", seeds)):
        if not chosen:
            raise UsageError(f"choose at least one {name}")
    if (runs := math.prod(map(len, (codecs, aligns, budgets, seeds)))) > MAX_RUNS:
        raise UsageError(f"at most {MAX_RUNS} runs can be planned at once, got {runs}")
    planned: dict[str, PilotRequest] = {}
    for codec in codecs:
        for align in ("none",) if is_lossless(codec) else aligns:
            for budget in budgets:
                config = make_pilot_config(codec=codec, align=align, budget=budget, **shared)
                for seed in seeds:
                    run = PilotRequest(config, seed)
                    planned.setdefault(run.run_name(), run)
    return list(planned.values())


def stage_count(classes: int, initial: int, increment: int) -> int:
    """Number of stages for ``classes`` classes."""
    return 1 + math.ceil(max(0, classes - initial) / increment)


def step_count(config: PilotConfig, classes: int, images: int = 0) -> int:
    """Optimiser steps of a whole run; with lengths in epochs, exemplars are not counted.

    Args:
        config: the pilot.
        classes: number of classes in the dataset.
        images: number of training images in the dataset, for lengths in epochs.
    """
    if parse_method(config.method)[0].frozen:
        return 0
    stages = stage_count(classes, config.initial, config.increment)
    first = min(1.0, config.initial / classes)
    later = config.steps * (stages - 1)
    if config.epochs is not None and images:
        later = round(config.epochs * images * (1 - first) / config.batch_size)
    initial_epochs = config.initial_epochs or (None if config.initial_steps is not None else config.epochs)
    if initial_epochs is not None and images:
        return later + max(1, round(initial_epochs * images * first / config.batch_size))
    return later + (config.initial_steps or config.steps)


def default_settings(codecs: Sequence[str], recommended: str | None = None) -> list[str]:
    """Settings to start with: raw and the source files, if they are offered, as references, and the recommended setting
    or else the middle lossy one.

    JPEG is preferred to other lossy codecs.
    """
    chosen = [codec for codec in codecs if is_raw(codec) or codec == "original"]
    if recommended in codecs and recommended not in chosen:
        return [*chosen, str(recommended)]
    lossy = [codec for codec in codecs if not stores_exactly(codec)]
    candidates = [codec for codec in lossy if without_store(codec).startswith("jpeg:")] or lossy
    return chosen + candidates[len(candidates) // 2 :][:1]
