"""Results of finished trainings with the JPEG layer over seeds. Imports no torch."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import dataclass
from typing import Any

from toolkit.foundation.errors import WorkError
from toolkit.foundation.image_size import WrittenSize
from toolkit.jpeg_dl.config import JPEGConfig
from toolkit.jpeg_dl.contents import TrainingResult, TrainingsSummary, VariantSummary
from toolkit.jpeg_dl.request import JPEGRequest
from toolkit.learning.metrics import mean_and_ci95
from toolkit.runs.folder import RunFolder

MEASURES = ("accuracy", "soft_accuracy", "hard_accuracy", "bits_per_pixel")


@dataclass(frozen=True)
class Trainings:
    """One configuration and its runs.

    Attributes:
        config: without the seed.
        runs: (folder, seed), seeds in order.
    """

    config: JPEGConfig
    runs: tuple[tuple[RunFolder, int], ...]

    @property
    def key(self) -> str:
        """Identifies the configuration."""
        return self.config.run_name(0)

    def result(self) -> TrainingsSummary | None:
        """The ``jpeg train`` JSON of the finished runs; None if there are none."""
        requests = [(JPEGRequest(self.config, seed), run) for run, seed in self.runs]
        finished = [result for request, run in requests if (result := request.result_in(run)) is not None]
        return aggregate_trainings(self.config, finished) if finished else None


def trainings(runs: Sequence[RunFolder], dataset: str, size: WrittenSize) -> list[Trainings]:
    """The trainings of one dataset (with an absolute path) and size, latest first.

    Args:
        runs: run folders, newest first; runs of other kinds and damaged runs are skipped.
        dataset, size: the training data.
    """
    found: dict[str, tuple[JPEGConfig, list[tuple[RunFolder, int]]]] = {}
    for run in runs:
        if run.config["kind"] != "jpeg":
            continue
        with suppress(WorkError):  # the list of runs reports it
            request = JPEGRequest.of(run)
            config = request.config
            if (config.dataset, config.size) == (dataset, size):
                found.setdefault(config.run_name(0), (config, []))[1].append((run, request.seed))
    return [Trainings(config, tuple(sorted(members, key=lambda one: one[1]))) for config, members in found.values()]


def aggregate_trainings(config: JPEGConfig, runs: Sequence[TrainingResult]) -> TrainingsSummary:
    """Means and half-widths of 95 % intervals over seeds for every variant, and for its gain over plain by seed."""
    variants: dict[str, VariantSummary] = {}
    for name in config.variants:
        records: list[Mapping[str, Any]] = [{**run["variants"][name]} for run in runs]
        measured = [measure for measure in MEASURES if records[0].get(measure) is not None]
        spread = {measure: mean_and_ci95([record[measure] for record in records]) for measure in measured}
        gains = [run["variants"][name]["accuracy"] - run["variants"]["plain"]["accuracy"] for run in runs]
        spread["gain_over_plain"] = mean_and_ci95(gains)
        variants[name] = {
            "mean": {measure: mean for measure, (mean, _) in spread.items()},
            "ci95": {measure: half for measure, (_, half) in spread.items()},
        }
    return {"config": config.model_dump(mode="json"), "variants": variants, "runs": list(runs)}
