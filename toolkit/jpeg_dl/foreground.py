"""Run trainings with the layer in this process, one seed after another."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from toolkit.data.catalog import load_dataset
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.seeds import require_distinct
from toolkit.jpeg_dl.config import JPEGConfig
from toolkit.jpeg_dl.contents import TrainingsSummary
from toolkit.jpeg_dl.request import JPEGRequest
from toolkit.jpeg_dl.results import aggregate_trainings
from toolkit.runs.execution import carry_out_in


def run_jpeg(config: JPEGConfig, seeds: Sequence[int], runs_dir: Path, progress: Progress = silent) -> TrainingsSummary:
    """Run (or resume, or just read) one training per seed; the ``jpeg train`` JSON.

    Raises:
        UsageError: the network or device is not available, or seeds are not distinct.
        WorkError: a run failed; results of the other runs are kept.
    """
    require_distinct(seeds)
    dataset = load_dataset(config.dataset, config.size, progress=progress)
    requests = [JPEGRequest(config, seed) for seed in seeds]
    if requests:
        requests[0].check(dataset, progress)
    results = [carry_out_in(runs_dir, one, progress, partial(one.work, dataset=dataset)) for one in requests]
    return aggregate_trainings(config, results)
