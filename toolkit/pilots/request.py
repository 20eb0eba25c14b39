"""A pilot as a request: a configuration and a seed. Imports no torch."""

from __future__ import annotations

import json
import shlex
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, ClassVar

from pydantic import BaseModel

from toolkit.data.dataset import ImageDataset
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.validation import described_fields
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.contents import CheckedPilotResult, PilotResult
from toolkit.runs.contents import AnyResult, Damaged
from toolkit.runs.folder import RunFolder
from toolkit.runs.reporting import RunReporter
from toolkit.runs.request import SeededRequest

CHECKPOINT = "checkpoint.pt"


@dataclass(frozen=True)
class PilotRequest(SeededRequest[PilotConfig, PilotResult]):
    """One pilot with its seed."""

    kind: ClassVar[str] = "pilot"
    results: ClassVar[Any] = CheckedPilotResult
    configs: ClassVar[type[BaseModel]] = PilotConfig

    def run_name(self) -> str:
        return self.config.run_name(self.seed)

    def command(self) -> str:
        return pilot_command(self.config, [self.seed])

    def check(self, dataset: ImageDataset | None = None, progress: Progress = silent) -> None:
        """Check the configuration before anything is written.

        Args:
            dataset: the configuration's dataset, if it is already open.
            progress: receives the progress of opening and coding it.

        Raises:
            UsageError: stages, class order, method, device, network, extractor or budget do not fit.
        """
        from toolkit.pilots.checks import check_pilot

        check_pilot(self.config, self.seed, dataset, progress)

    def facts(self) -> dict[str, object]:
        from toolkit.training.device import resolve_device

        return {"device": str(resolve_device(self.config.device))}

    def work(self, run: RunFolder, reporter: RunReporter, dataset: ImageDataset | None = None) -> PilotResult:
        """See :meth:`~toolkit.runs.request.Request.work`; ``dataset`` is the configuration's, if it is open."""
        from toolkit.pilots.pilot import train_pilot

        return train_pilot(run, self.config, self.seed, reporter, run.path / CHECKPOINT, dataset)

    def finished(self, run: RunFolder, result: PilotResult) -> dict[str, object]:
        (run.path / CHECKPOINT).unlink(missing_ok=True)
        return {"last_accuracy": result["last_accuracy"], "seconds": result["seconds"]}

    def require_result(self, run: RunFolder, result: AnyResult) -> PilotResult:
        known = super().require_result(run, result)
        if known["seed"] != self.seed:
            raise Damaged(f"{run.name} is damaged: result.json: seed must be {self.seed}, got {known['seed']}")
        return known


def pilot_command(config: PilotConfig, seeds: Sequence[int], runs_dir: Path | None = None) -> str:
    """The ``recallrate pilot`` command that runs, resumes or just shows these runs.

    Besides the fields that define the experiment, it contains only values that differ from the defaults.
    """
    words = ["recallrate", "pilot", config.dataset]
    for name in ("size", "initial", "increment", "codec", "budget", "align", "method", "steps"):
        words += [f"--{name}", str(getattr(config, name))]
    options = described_fields(PilotConfig)
    for name, field in PilotConfig.model_fields.items():
        value = getattr(config, name)
        if field.is_required() or value == field.default or f"--{name}" in words:
            continue
        if value is True and name in options:
            words.append(f"--{name.replace('_', '-')}")
        elif name in options:
            words += [f"--{name.replace('_', '-')}", str(value)]
        else:
            words += ["--set", f"{name}={value if isinstance(value, str) else json.dumps(value)}"]
    words += ["--seeds", ",".join(map(str, seeds))]
    if runs_dir is not None:
        words += ["--runs-dir", str(runs_dir)]
    return shlex.join(words)
