"""Requests to train with the layer, to attack a finished training, and to export its tables."""

from __future__ import annotations

import hashlib
import shlex
from dataclasses import dataclass
from pathlib import Path
from typing import Annotated, Any, ClassVar, Generic

from pydantic import BaseModel, Field

from toolkit.data.dataset import ImageDataset
from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import default_runs_dir, make_folder
from toolkit.foundation.progress import OnRow, Progress, ignore_row, silent
from toolkit.jpeg_dl.config import JPEGConfig
from toolkit.jpeg_dl.contents import AttackResult, CheckedAttackResult, ExportResult, TrainingResult
from toolkit.runs.choices import Device, Seed
from toolkit.runs.contents import AnyResult, Damaged
from toolkit.runs.folder import RunFolder
from toolkit.runs.reporting import RunReporter
from toolkit.runs.request import FieldsRequest, Outcome, SeededRequest


@dataclass(frozen=True)
class JPEGRequest(SeededRequest[JPEGConfig, TrainingResult]):
    """One training with the layer: its configuration, controls included, and its seed."""

    kind: ClassVar[str] = "jpeg"
    results: ClassVar[Any] = TrainingResult
    configs: ClassVar[type[BaseModel]] = JPEGConfig

    def run_name(self) -> str:
        return self.config.run_name(self.seed)

    def command(self) -> str:
        """The equivalent ``recallrate jpeg train`` command, without options that have their default."""
        words = ["recallrate", "jpeg", "train", self.config.dataset]
        for name, field in JPEGConfig.model_fields.items():
            value = getattr(self.config, name)
            if field.is_required() or value == field.default or name == "checkpoint_every":
                continue
            option = f"--{name.replace('_', '-')}"
            if name == "variants":
                words += ["--controls", ",".join(value[2:]) or "none"]
            else:
                words += [option] if value is True else [option, str(value)]
        return shlex.join([*words, "--seeds", str(self.seed)])

    def check(self, dataset: ImageDataset | None = None, progress: Progress = silent) -> None:
        """See :meth:`~toolkit.runs.request.Request.check`; ``dataset`` is the configured dataset if already open."""
        from toolkit.jpeg_dl.experiment import check_training

        check_training(self.config, dataset, progress)

    def facts(self) -> dict[str, object]:
        from toolkit.training.device import resolve_device

        return {"device": str(resolve_device(self.config.device))}

    def work(self, run: RunFolder, reporter: RunReporter, dataset: ImageDataset | None = None) -> TrainingResult:
        """See :meth:`~toolkit.runs.request.Request.work`; ``dataset`` is the configured dataset if already open."""
        from toolkit.jpeg_dl.experiment import train_variants

        return train_variants(run, self.config, self.seed, reporter, dataset)

    def finished(self, run: RunFolder, result: TrainingResult) -> dict[str, object]:
        return {name: record["accuracy"] for name, record in result["variants"].items()}

    def require_result(self, run: RunFolder, result: AnyResult) -> TrainingResult:
        known = super().require_result(run, result)
        if known["seed"] != self.seed or known["variants"].keys() != set(self.config.variants):
            raise Damaged(f"{run.name} is damaged: result.json: it belongs to another seed or other variants")
        return known


@dataclass(frozen=True)
class TrainedRequest(FieldsRequest[Outcome], Generic[Outcome]):
    """A request about a finished training.

    Attributes:
        training: path of the run folder.
        variant: ``jpeg`` or a control.
    """

    first: ClassVar[str] = "training"

    training: Annotated[str, Field(description="run folder or name of one seed, as `jpeg train` prints it")]
    variant: Annotated[str, Field(description="jpeg or a control")] = "jpeg"

    def subject(self) -> str:
        return f"{Path(self.training).name.removeprefix('jpeg-')}-{self.variant}"

    def settled(self) -> dict[str, object]:
        """The request and a digest of the training's result: a repeated training under the same name differs."""
        result = Path(self.training) / "result.json"
        digest = hashlib.sha256(result.read_bytes()).hexdigest() if result.exists() else None
        return self.contents() | {"result": digest}

    def command_words(self) -> tuple[str, ...]:
        return ("jpeg", self.kind)

    def run_folder(self) -> RunFolder:
        """The run folder of the training.

        Raises:
            UsageError: it does not exist.
        """
        return open_training(Path(self.training))


@dataclass(frozen=True)
class AttackRequest(TrainedRequest[AttackResult]):
    """Everything that changes the result of the attacks; see ``recallrate jpeg attack --help``."""

    kind: ClassVar[str] = "attack"
    results: ClassVar[Any] = CheckedAttackResult
    light: ClassVar[bool] = False

    eps: Annotated[str, Field(description="comma-separated L-infinity bounds in units of 1/255")] = "1,2,3,4"
    mode: Annotated[str, Field(description="the quantiser as deployed: soft or hard")] = "soft"
    images: Annotated[int, Field(ge=1, description="maximum number of test images to attack")] = 200
    queries: Annotated[int, Field(ge=1, description="queries of the gradient-free attack per image")] = 300
    seed: Seed = 0
    device: Device = "auto"

    def bounds(self) -> tuple[float, ...]:
        """The L-infinity bounds for pixels in [0, 1].

        Raises:
            UsageError: ``eps`` is not a list of numbers above 0 and within the pixel range.
        """
        try:
            units = [float(text) for text in self.eps.split(",")]
        except ValueError:
            raise UsageError(f"eps takes numbers such as 1,2,3,4, got {self.eps!r}") from None
        if not all(0 < unit <= 255 for unit in units):
            raise UsageError(f"eps must be above 0 and at most 255, in units of 1/255, got {self.eps!r}")
        return tuple(unit / 255 for unit in units)

    def run(self, progress: Progress = silent, on_row: OnRow = ignore_row) -> AttackResult:
        from toolkit.jpeg_dl.attack import attack_run

        return attack_run(
            self.run_folder(),
            eps=self.bounds(),
            mode=self.mode,
            images=self.images,
            queries=self.queries,
            variant=self.variant,
            seed=self.seed,
            device=self.device,
            progress=progress,
        )


@dataclass(frozen=True)
class ExportRequest(TrainedRequest[ExportResult]):
    """Export learned tables for the codec ``learned-jpeg``; see ``recallrate jpeg export --help``."""

    kind: ClassVar[str] = "export"
    results: ClassVar[Any] = ExportResult
    said: ClassVar[tuple[str, ...]] = ("output",)

    output: Annotated[str, Field(description="tables file to write")] = "tables.json"

    def run(self, progress: Progress = silent, on_row: OnRow = ignore_row) -> ExportResult:
        from toolkit.jpeg_dl.export import export_tables

        make_folder(Path(self.output).resolve().parent)
        tables = export_tables(self.run_folder(), Path(self.output), variant=self.variant, progress=progress)
        return {"tables": self.output, "luma": tables.luma.tolist(), "chroma": tables.chroma.tolist()}


def tables_dir() -> Path:
    """The folder for exported tables, next to the folder of runs."""
    return default_runs_dir().parent / "tables"


def open_training(path: Path) -> RunFolder:
    """The run folder of a ``jpeg train``.

    Raises:
        UsageError: the path is not one.
    """
    run = RunFolder(Path(path).resolve())
    if not run.exists() or run.config.get("kind") != "jpeg":
        raise UsageError(f"{path} is not the run folder of a `jpeg train`")
    return run
