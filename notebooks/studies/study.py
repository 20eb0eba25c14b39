"""Shared by the studies of pilots: resumable runs, results as data, and table cells."""

from __future__ import annotations

import argparse
import sys
from pathlib import Path
from typing import Any, cast

from toolkit.codecs.spec import short_spec
from toolkit.data.catalog import short_name
from toolkit.data.dataset import ImageDataset
from toolkit.foundation.files import default_runs_dir, read_json, write_json
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.contents import PilotResult, PilotSummary
from toolkit.pilots.foreground import run_seeds
from toolkit.pilots.results import aggregate_pilots
from toolkit.report.gain import gain_over
from toolkit.runs.environment import environment
from toolkit.runs.folder import RunFolder

RESULTS = Path(__file__).parent / "results"


def arguments(description: str | None, name: str) -> argparse.Namespace:
    """The command line of a study on one dataset."""
    return parser(description, name, "the folder tiny-imagenet-20").parse_args()


def parser(description: str | None, name: str, dataset: str) -> argparse.ArgumentParser:
    """The options common to all studies."""
    parser = argparse.ArgumentParser(description=description, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("dataset", help=dataset)
    parser.add_argument("--runs-dir", type=Path, default=default_runs_dir() / name)
    parser.add_argument("--threads", type=int, default=0)
    parser.add_argument("--report", action="store_true", help="run nothing, only write the results of finished runs")
    parser.add_argument("--afresh", action="store_true", help="repeat runs that are already in the results")
    return parser


ACCOUNTINGS = {
    "disk": "Budgets and memories are bytes on disk.",
    "content": "Budgets and memories are content bytes: payloads, labels and shared headers; files took more.",
}
"""What a budget counted in the runs of a study: ``content`` in results from before budgets were bytes on disk."""


class Study:
    """A study's runs, in run folders and in the published results.

    Attributes:
        accounting: of the results, one of :data:`ACCOUNTINGS`.

    Args:
        name: the name of the file under ``results/``.
        runs_dir: the folder of run folders.
        afresh: whether to ignore the published results.
        also: names of other studies, whose published runs of the same configurations are taken as well.
    """

    def __init__(self, name: str, runs_dir: Path, afresh: bool = False, also: tuple[str, ...] = ()) -> None:
        self.path = RESULTS / f"{name}.json"
        self._runs_dir = runs_dir
        published = read_json(self.path) if self.path.exists() and not afresh else {}
        self._held: list[PilotSummary] = published.get("pilots", [])
        self.accounting: str = published.get("accounting", "disk")
        for other in also if not afresh else ():
            self._held += read_json(RESULTS / f"{other}.json")["pilots"]

    def run(self, config: PilotConfig, seed: int, dataset: ImageDataset | None = None) -> None:
        """Run one seed of a setting unless it has a result with budgets in bytes on disk.

        ``dataset`` takes the place of the configuration's, as for choices on validation images.
        """
        if self.accounting != "disk":
            self._held, self.accounting = [], "disk"
        run = self._finished(config, seed) or run_seeds(config, [seed], self._runs_dir, dataset=dataset)["runs"][0]
        what = f"{config.codec:20} {config.align:5} {config.method:8} seed {seed}"
        print(f"{what}: last accuracy {run['last_accuracy']:.3f}", file=sys.stderr, flush=True)

    def summary(self, config: PilotConfig, seeds: tuple[int, ...]) -> PilotSummary | None:
        """The ``pilot`` JSON of a setting over its finished seeds, without local paths; None if there are none."""
        pilot = self.pilot(config, seeds)
        return None if pilot is None else self.publish(pilot)

    def pilot(self, config: PilotConfig, seeds: tuple[int, ...]) -> PilotSummary | None:
        """:meth:`summary` with this machine's paths."""
        runs = [run for seed in seeds if (run := self._finished(config, seed)) is not None]
        return aggregate_pilots(config, runs) if runs else None

    def publish(self, pilot: PilotSummary) -> PilotSummary:
        """A ``pilot`` JSON without this machine's paths."""
        config = self._published(PilotConfig.model_validate(pilot["config"]))
        return {**pilot, "codec": config["codec"], "config": config}

    def write(self, pilots: list[PilotSummary], command: str, **more: Any) -> None:
        """Write the results as data."""
        facts = {"command": command, "environment": environment(), "accounting": self.accounting}
        write_json(self.path, {**facts, "pilots": pilots, **more})

    def write_tables(self, tables: str) -> None:
        """Write the results as Markdown, with what their budgets counted."""
        self.path.with_suffix(".md").write_text(f"{tables}\n{ACCOUNTINGS[self.accounting]}\n")

    def _finished(self, config: PilotConfig, seed: int) -> PilotResult | None:
        """A seed's result, from its run folder or from the published results."""
        run = RunFolder(self._runs_dir / config.run_name(seed))
        if run.result is not None:
            return cast(PilotResult, run.result)
        for pilot in self._held:
            # parsed, so that fields added since then have their defaults
            if self._published(PilotConfig.model_validate(pilot["config"])) == self._published(config):
                return next((run for run in pilot["runs"] if run["seed"] == seed), None)
        return None

    def _published(self, config: PilotConfig) -> dict[str, Any]:
        """The configuration with file names instead of this machine's paths."""
        names = {"dataset": short_name(config.dataset), "codec": short_spec(config.codec)}
        return {**config.model_dump(mode="json"), **names}


def percent(pilot: PilotSummary, name: str) -> str:
    """``41.8 +- 2.1``: a metric's mean over seeds and its 95 % interval, in percent."""
    interval = pilot["ci95"][name]
    return f"{100 * pilot['mean'][name]:.1f}" + ("" if interval is None else f" +- {100 * interval:.1f}")


def points(pilot: PilotSummary, other: PilotSummary) -> str:
    """``+1.2 +- 0.8``: the gain in last accuracy of one pilot over another, in points, paired by seed."""
    gain = gain_over(pilot, other)
    return f"{gain.points:+.1f}" + ("" if gain.half is None else f" +- {gain.half:.1f}")
