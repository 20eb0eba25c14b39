"""Requests: what a run does, as data. Every kind of run has its own request class.

Imports no torch, because the app describes requests too.
"""

from __future__ import annotations

import hashlib
import json
import re
import reprlib
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from toolkit.foundation.errors import UsageError, one_line
from toolkit.foundation.progress import OnRow, Progress, ignore_row, silent
from toolkit.foundation.validation import described_fields, first_problem, validated
from toolkit.runs.contents import AnyResult, Damaged, Result, require
from toolkit.runs.folder import RunFolder
from toolkit.runs.reporting import RunReporter

_Config = TypeVar("_Config", bound=BaseModel)
Outcome = TypeVar("Outcome", bound=Result)
"""The contract of a request's result."""


class Request(ABC, Generic[Outcome]):
    """Everything that determines a result, and the function that computes it; one class per kind of run.

    Attributes:
        kind: name of the kind of run.
        light: whether it is short enough to run beside a training.
        waits: whether it only waits for runs that it queues, so that it takes nobody's place.
        results: contract of the result, possibly annotated with validators.
        rows: contract of the rows logged while the work runs; None if there are none.
    """

    kind: ClassVar[str]
    light: ClassVar[bool] = True
    waits: ClassVar[bool] = False
    results: ClassVar[Any] = AnyResult
    rows: ClassVar[Any] = None

    @classmethod
    @abstractmethod
    def from_contents(cls, contents: Mapping[str, Any]) -> Self:
        """The request stored in ``config.json``, given without its ``kind``.

        Raises:
            UsageError, ValidationError: the contents are not a request of this kind.
        """

    @abstractmethod
    def contents(self) -> dict[str, object]:
        """The request as ``config.json`` stores it, without its ``kind``."""

    @abstractmethod
    def run_name(self) -> str:
        """Name of the run's folder: readable, and the same for the same request."""

    @abstractmethod
    def command(self) -> str:
        """The equivalent ``recallrate`` command."""

    @abstractmethod
    def work(self, run: RunFolder, reporter: RunReporter) -> Outcome:
        """Compute the result, as ``result.json`` stores it; checkpoints for resuming after a kill are kept in ``run``.

        Raises:
            UsageError: any part of the request is wrong.
            WorkError: the work failed.
        """

    def check(self) -> None:
        """Find mistakes that would otherwise surface late, before anything is written.

        Raises:
            UsageError: any part of the request is wrong.
        """

    def facts(self) -> dict[str, object]:
        """Further facts for the log and ``environment.json`` when the work begins."""
        return {}

    def finished(self, run: RunFolder, result: Outcome) -> dict[str, object]:
        """Remove files that the finished run no longer needs; returns facts for the log's ``finished`` event."""
        return {}

    def require_result(self, run: RunFolder, result: AnyResult) -> Outcome:
        """The result, checked to belong to this request.

        Raises:
            Damaged: it does not.
        """
        return cast(Outcome, require(self.results, result, run.result_path))

    def result_in(self, run: RunFolder) -> Outcome | None:
        """The result in this request's folder, with the folder's path; None if the run is unfinished.

        Raises:
            Damaged: the result cannot be read.
        """
        result = run.result
        return None if result is None else run.located(cast(Outcome, result))

    def folder(self, runs_dir: Path) -> RunFolder:
        """The run's folder, created if it does not exist.

        Raises:
            WorkError: the folder cannot be written.
        """
        return RunFolder.create(Path(runs_dir).resolve() / self.run_name(), self.kind, self.contents())

    def folder_at(self, runs_dir: Path) -> RunFolder | None:
        """The run's folder, or None if it does not exist.

        Raises:
            Damaged: the folder is damaged.
        """
        run = RunFolder(Path(runs_dir).resolve() / self.run_name())
        if not run.exists():
            return None
        type(self).of(run)
        return run

    @classmethod
    def of(cls, run: RunFolder) -> Self:
        """The request of a run folder of this kind; its result is checked too.

        Raises:
            Damaged: a file is not what the toolkit writes.
            Newer: the folder is from a newer version of the toolkit.
        """
        run.check()
        config: dict[str, object] = {**run.config}
        kind = config.pop("kind")
        if kind != cls.kind:
            raise Damaged(f"{run.name} is damaged: config.json: kind must be {cls.kind}, got {kind}")
        try:
            request = cls.from_contents(config)
        except ValidationError as error:
            raise Damaged(f"{run.name} is damaged: config.json: {first_problem(error)}") from error
        except UsageError as error:
            raise Damaged(f"{run.name} is damaged: config.json: {one_line(error)}") from error
        if (result := run.result) is not None:
            request.require_result(run, result)
        elif cls.rows is not None:
            for row in run.found():
                require(cls.rows, row, run.path / "events.jsonl")
        return request


@dataclass(frozen=True)
class FieldsRequest(Request[Outcome], Generic[Outcome]):
    """A request whose fields are its contents; it can be carried out without a run folder.

    Attributes:
        first: the field that is the command's positional argument.
        said: options that the command always includes; others are included only if they differ from the defaults.
    """

    first: ClassVar[str] = "dataset"
    said: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def subject(self) -> str:
        """The readable part of the folder's name."""

    @abstractmethod
    def run(self, progress: Progress = silent, on_row: OnRow = ignore_row) -> Outcome:
        """Compute the result.

        Args:
            progress: receives the progress.
            on_row: receives each finished row of the result, if the result has rows.

        Raises:
            UsageError: any part of the request is wrong.
            WorkError: the work failed.
        """

    def work(self, run: RunFolder, reporter: RunReporter) -> Outcome:
        return self.run(reporter.show, run.log_found)

    @classmethod
    def from_contents(cls, contents: Mapping[str, Any]) -> Self:
        request = TypeAdapter(cls).validate_python(dict(contents))
        held = request.contents()
        for name, value in contents.items():  # pydantic converts "32" to 32
            if name not in held or held[name] != value:
                raise UsageError(f"{name}: {reprlib.repr(value)} is not a valid value")
        return request

    def contents(self) -> dict[str, object]:
        return asdict(self)

    def settled(self) -> dict[str, object]:
        """The contents in canonical form: equal for requests that mean the same."""
        return self.contents()

    def run_name(self) -> str:
        """Equal for equal requests, provided that the files they name have the same contents."""
        digest = hashlib.sha256(json.dumps(self.settled(), sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.kind}-{readable(self.subject(), 60)}-{digest}"

    def command(self) -> str:
        words = ["recallrate", *self.command_words(), str(getattr(self, self.first))]
        for name in self.said:
            words += [f"--{name}", str(getattr(self, name))]
        flags = []
        for field in described_fields(type(self)).values():
            value = getattr(self, field.name)
            if field.name in (self.first, *self.said) or value == field.default:
                continue
            option = f"--{field.option}"
            if value is True:
                flags.append(option)
            else:
                words += [option, str(value)]
        return shlex.join(words + flags)

    def command_words(self) -> tuple[str, ...]:
        """The words between ``recallrate`` and the first argument."""
        return (self.kind,)


@dataclass(frozen=True)
class SeededRequest(Request[Outcome], Generic[_Config, Outcome]):
    """A training: a configuration and a seed, so that it can be repeated with other seeds.

    Attributes:
        configs: class of the configuration.
        config: all choices.
        seed: seed of everything random.
    """

    light: ClassVar[bool] = False
    configs: ClassVar[type[BaseModel]]

    config: _Config
    seed: int

    @classmethod
    def from_contents(cls, contents: Mapping[str, Any]) -> Self:
        if contents.get("config") is None or contents.get("seed") is None:
            raise UsageError("config and seed are required")
        return cls(validated(cls.configs, contents["config"]), contents["seed"])  # type: ignore[arg-type]

    def contents(self) -> dict[str, object]:
        return {"seed": self.seed, "config": self.config.model_dump(mode="json")}


def readable(words: str, most: int) -> str:
    """Words converted to a part of a folder's name, at most ``most`` characters."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-")[:most]
