"""Pilots in this process, one seed after the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path
from typing import Any

from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.seeds import require_distinct
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.request import PilotRequest
from toolkit.pilots.results import aggregate_pilots
from toolkit.runs.execution import carry_out


def run_seeds(
    config: PilotConfig,
    seeds: Sequence[int],
    runs_dir: Path,
    progress: Progress = silent,
    dataset: ImageDataset | None = None,
) -> dict[str, Any]:
    """Run (or resume, or just read) one pilot a seed; the ``pilot`` JSON of the contract.

    Args:
        config: the pilot.
        seeds: distinct.
        runs_dir: where run folders go.
        progress: told how far it is.
        dataset: the configuration's, where it is open already.

    Raises:
        UsageError: the configuration does not fit the dataset.
        WorkError: a run failed; the others' results stay.
    """
    require_distinct(seeds)
    dataset = dataset or load_dataset(config.dataset, config.size, progress=progress)
    requests = [PilotRequest(config, seed) for seed in seeds]
    if requests:
        requests[0].check(dataset, progress)
    return aggregate_pilots(config, [_run(request, runs_dir, progress, dataset) for request in requests])


def run_pilot(config: PilotConfig, seed: int, runs_dir: Path, progress: Progress = silent) -> dict[str, Any]:
    """Run one seed in ``runs_dir``, or read its result if it has one; an entry of ``runs`` in the ``pilot`` JSON.

    Waits for the folder's training slot. A run that was killed goes on from its last checkpoint.
    """
    return _run(PilotRequest(config, seed), runs_dir, progress)


def _run(
    request: PilotRequest, runs_dir: Path, progress: Progress, dataset: ImageDataset | None = None
) -> dict[str, Any]:
    run = request.folder(runs_dir)
    PilotRequest.of(run)  # refuses a folder that is damaged
    return carry_out(request, run, progress, partial(request.work, dataset=dataset))
