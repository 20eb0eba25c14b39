"""Requests: what a run does, as data. Every kind of work with a run folder has a class of them.

Neither this file nor the fields of a request need torch: the app describes requests too.
"""

from __future__ import annotations

import hashlib
import json
import re
import reprlib
import shlex
from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from pathlib import Path
from typing import Any, ClassVar, Generic, Self, TypeVar, cast

from pydantic import BaseModel, TypeAdapter, ValidationError

from toolkit.foundation.errors import UsageError, one_line
from toolkit.foundation.progress import OnRow, Progress, ignore_row, silent
from toolkit.foundation.validation import first_problem, validated
from toolkit.runs.contents import AnyResult, Damaged, Result, require
from toolkit.runs.folder import RunFolder
from toolkit.runs.reporting import RunReporter

_Config = TypeVar("_Config", bound=BaseModel)
Outcome = TypeVar("Outcome", bound=Result)
"""The contract of a request's result."""


class Request(ABC, Generic[Outcome]):
    """Everything that changes a result, and the way to compute it; one class per kind of run.

    Attributes:
        kind: of the run.
        light: whether it is short enough to run beside a training.
        results: the contract of the result, perhaps with validators around it.
        rows: the contract of the rows that are logged while the work runs; None if there are none.
    """

    kind: ClassVar[str]
    light: ClassVar[bool] = True
    results: ClassVar[Any] = AnyResult
    rows: ClassVar[Any] = None

    @classmethod
    @abstractmethod
    def from_contents(cls, contents: Mapping[str, Any]) -> Self:
        """The request that ``config.json`` holds, without its ``kind``.

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
        """The ``recallrate`` command that does the same."""

    @abstractmethod
    def work(self, run: RunFolder, reporter: RunReporter) -> Outcome:
        """Compute the result, as ``result.json`` stores it; checkpoints to continue after a kill are kept in ``run``.

        Raises:
            UsageError: any part of the request is wrong.
            WorkError: the work failed.
        """

    def check(self) -> None:
        """Find mistakes that would otherwise show only after a while, before anything is written.

        Raises:
            UsageError: any part of the request is wrong.
        """

    def facts(self) -> dict[str, object]:
        """Further facts for the log and ``environment.json`` when the work begins."""
        return {}

    def finished(self, run: RunFolder, result: Outcome) -> dict[str, object]:
        """Remove files that the finished run no longer needs; returns the facts that the log states at the end."""
        return {}

    def require_result(self, run: RunFolder, result: AnyResult) -> Outcome:
        """The result, once it is known to be one of this request.

        Raises:
            Damaged: it is not.
        """
        return cast(Outcome, require(self.results, result, run.result_path))

    def result_in(self, run: RunFolder) -> Outcome | None:
        """The result in this request's folder with the folder's path; None if it is unfinished.

        Raises:
            Damaged: it cannot be read.
        """
        result = run.result
        return None if result is None else run.located(cast(Outcome, result))

    def folder(self, runs_dir: Path) -> RunFolder:
        """The run's folder, created if it does not exist.

        Raises:
            WorkError: it cannot be written.
        """
        return RunFolder.create(Path(runs_dir).resolve() / self.run_name(), self.kind, self.contents())

    def folder_at(self, runs_dir: Path) -> RunFolder | None:
        """The run's folder, or None if it does not exist.

        Raises:
            Damaged: it is damaged.
        """
        run = RunFolder(Path(runs_dir).resolve() / self.run_name())
        if not run.exists():
            return None
        type(self).of(run)
        return run

    @classmethod
    def of(cls, run: RunFolder) -> Self:
        """The request of an intact run folder of this kind; its result is checked too.

        Raises:
            Damaged: a part of it is not what the toolkit writes.
            Newer: it is from a newer version of the toolkit.
        """
        run.check()
        config: dict[str, object] = {**run.config}
        kind = config.pop("kind")
        if kind != cls.kind:
            raise Damaged(f"{run.name} is damaged: config.json: its kind must be {cls.kind}, got {kind}")
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
    """A request whose fields are its contents, and that can be carried out without a run folder.

    Attributes:
        first: the field that is the command's positional argument.
        said: options that the command always names; it names others only if they differ from their defaults.
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
            on_row: receives each row of the result when it is done, if the result has rows.

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
        for name, value in contents.items():  # pydantic takes "32" for 32
            if name not in held or held[name] != value:
                raise UsageError(f"{name}: {reprlib.repr(value)} is none of its values")
        return request

    def contents(self) -> dict[str, object]:
        return asdict(self)

    def settled(self) -> dict[str, object]:
        """The contents in canonical form: equal for requests that mean the same."""
        return self.contents()

    def run_name(self) -> str:
        """Equal for equal requests, as long as the files that they name have the same contents."""
        digest = hashlib.sha256(json.dumps(self.settled(), sort_keys=True).encode()).hexdigest()[:8]
        return f"{self.kind}-{readable(self.subject(), 60)}-{digest}"

    def command(self) -> str:
        words = ["recallrate", *self.command_words(), str(getattr(self, self.first))]
        for name in self.said:
            words += [f"--{name}", str(getattr(self, name))]
        flags = []
        for field in fields(self):
            value = getattr(self, field.name)
            if field.name in (self.first, *self.said) or value == field.default:
                continue
            option = f"--{field.name.replace('_', '-')}"
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
    """A training: a configuration and a seed, so that other seeds can repeat it.

    Attributes:
        configs: the class of the configuration.
        config: all choices.
        seed: of everything random.
    """

    light: ClassVar[bool] = False
    configs: ClassVar[type[BaseModel]]

    config: _Config
    seed: int

    @classmethod
    def from_contents(cls, contents: Mapping[str, Any]) -> Self:
        if contents.get("config") is None or contents.get("seed") is None:
            raise UsageError("it needs a config and a seed")
        return cls(validated(cls.configs, contents["config"]), contents["seed"])  # type: ignore[arg-type]

    def contents(self) -> dict[str, object]:
        return {"seed": self.seed, "config": self.config.model_dump(mode="json")}


def readable(words: str, most: int) -> str:
    """Words as a part of a folder's name, with at most ``most`` characters."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-")[:most]
