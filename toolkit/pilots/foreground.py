"""Run pilots in this process, one seed after the other."""

from __future__ import annotations

from collections.abc import Sequence
from functools import partial
from pathlib import Path

from toolkit.data.catalog import load_dataset
from toolkit.data.dataset import ImageDataset
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.seeds import require_distinct
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.contents import PilotResult, PilotSummary
from toolkit.pilots.request import PilotRequest
from toolkit.pilots.results import aggregate_pilots
from toolkit.runs.execution import carry_out_in


def run_seeds(
    config: PilotConfig,
    seeds: Sequence[int],
    runs_dir: Path,
    progress: Progress = silent,
    dataset: ImageDataset | None = None,
) -> PilotSummary:
    """Run, resume or just read one pilot per seed, and return the ``pilot`` JSON of the contract.

    Args:
        config: the pilot.
        seeds: distinct.
        runs_dir: the folder for run folders.
        progress: receives the progress.
        dataset: the configuration's dataset, if it is already open.

    Raises:
        UsageError: the configuration does not fit the dataset.
        WorkError: a run failed; results of other runs are kept.
    """
    require_distinct(seeds)
    dataset = dataset or load_dataset(config.dataset, config.size, progress=progress)
    requests = [PilotRequest(config, seed) for seed in seeds]
    if requests:
        requests[0].check(dataset, progress)
    results = [carry_out_in(runs_dir, one, progress, partial(one.work, dataset=dataset)) for one in requests]
    return aggregate_pilots(config, results)


def run_pilot(config: PilotConfig, seed: int, runs_dir: Path, progress: Progress = silent) -> PilotResult:
    """Run one seed in ``runs_dir`` or read its result, and return an entry of ``runs`` in the ``pilot`` JSON.

    Waits for the folder's training slot. A killed run continues from its last checkpoint.
    """
    return carry_out_in(runs_dir, PilotRequest(config, seed), progress)
