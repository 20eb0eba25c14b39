"""What a run is asked to do, as data: the one face of all kinds of work that has a run folder.

No torch here, and none in what describes a request: the app describes requests too.
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
from typing import Any, ClassVar, Generic, Self, TypeVar

from pydantic import BaseModel, TypeAdapter, ValidationError

from toolkit.foundation.errors import UsageError, one_line
from toolkit.foundation.progress import OnRow, Progress, ignore_row, silent
from toolkit.foundation.validation import first_problem, validated
from toolkit.runs.contents import Damaged, Result, require
from toolkit.runs.folder import RunFolder
from toolkit.runs.reporting import RunReporter

_Config = TypeVar("_Config", bound=BaseModel)


class Request(ABC):
    """Everything that changes a result, and how to come to it; a class for each kind of run.

    Attributes:
        kind: of the run.
        light: short enough to run beside a training.
        results: what its result is.
        rows: what the parts of a result are that are logged as they come; None where there are none.
    """

    kind: ClassVar[str]
    light: ClassVar[bool] = True
    results: ClassVar[type[Result]] = Result
    rows: ClassVar[type[BaseModel] | None] = None

    @classmethod
    @abstractmethod
    def from_contents(cls, contents: Mapping[str, Any]) -> Self:
        """The request that ``config.json`` holds, its ``kind`` aside.

        Raises:
            UsageError, ValidationError: it is none.
        """

    @abstractmethod
    def contents(self) -> dict[str, Any]:
        """What ``config.json`` holds of it, its ``kind`` aside."""

    @abstractmethod
    def run_name(self) -> str:
        """Name of the run's folder: readable, and the same for the same request."""

    @abstractmethod
    def command(self) -> str:
        """The ``recallrate`` command that does the same."""

    @abstractmethod
    def work(self, run: RunFolder, reporter: RunReporter) -> dict[str, Any]:
        """Come to the result, as ``result.json`` has it; what is needed to go on after a kill is in ``run``.

        Raises:
            UsageError: any part of the request is wrong.
            WorkError: the work failed.
        """

    def check(self) -> None:  # noqa: B027 (most kinds find out soon enough while they work)
        """Find what is wrong before anything is written, where that would show only after a while.

        Raises:
            UsageError: any part of the request is wrong.
        """

    def facts(self) -> dict[str, Any]:
        """What else the log and ``environment.json`` say when the work begins."""
        return {}

    def finished(self, run: RunFolder, result: Mapping[str, Any]) -> dict[str, Any]:
        """Remove what is no longer needed once the result is written; what the log says of the end."""
        return {}

    def require_result(self, run: RunFolder, result: dict[str, Any]) -> None:
        """Refuse a result that is not this request's.

        Raises:
            Damaged: it is not.
        """
        require(self.results, result, run.result_path)

    def folder(self, runs_dir: Path) -> RunFolder:
        """The run's folder, made where there is none.

        Raises:
            WorkError: it cannot be written.
        """
        return RunFolder.create(Path(runs_dir).resolve() / self.run_name(), self.kind, self.contents())

    def folder_at(self, runs_dir: Path) -> RunFolder | None:
        """The run's folder where there is one.

        Raises:
            Damaged: it is not whole.
        """
        run = RunFolder(Path(runs_dir).resolve() / self.run_name())
        if not run.exists():
            return None
        type(self).of(run)
        return run

    @classmethod
    def of(cls, run: RunFolder) -> Self:
        """The request of a run folder of this kind that is whole: so is its result, where it has one.

        Raises:
            Damaged: a part of it is not what the toolkit writes.
            Newer: it is from a newer version of the toolkit.
        """
        run.check()
        config = run.config
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
class FieldsRequest(Request):
    """A request whose fields are its contents, and that needs no run folder to be carried out.

    Attributes:
        first: the field that the command takes without an option.
        said: options that the command always names; others only where they differ from their defaults.
    """

    first: ClassVar[str] = "dataset"
    said: ClassVar[tuple[str, ...]] = ()

    @abstractmethod
    def subject(self) -> str:
        """What the readable part of the folder's name says."""

    @abstractmethod
    def run(self, progress: Progress = silent, on_row: OnRow = ignore_row) -> dict[str, Any]:
        """The result's JSON.

        Args:
            progress: told how far it is.
            on_row: told about rows of the result as they come, by what comes in rows.

        Raises:
            UsageError: any part of the request is wrong.
            WorkError: the work failed.
        """

    def work(self, run: RunFolder, reporter: RunReporter) -> dict[str, Any]:
        return self.run(reporter.show, run.log_found)

    @classmethod
    def from_contents(cls, contents: Mapping[str, Any]) -> Self:
        request = TypeAdapter(cls).validate_python(dict(contents))
        held = request.contents()
        for name, value in contents.items():  # pydantic takes "32" for 32
            if name not in held or held[name] != value:
                raise UsageError(f"{name}: {reprlib.repr(value)} is none of its values")
        return request

    def contents(self) -> dict[str, Any]:
        return asdict(self)

    def settled(self) -> dict[str, Any]:
        """The contents with different ways to write the same made one."""
        return self.contents()

    def run_name(self) -> str:
        """The same for the same request and the same contents of the files it names."""
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
class SeededRequest(Request, Generic[_Config]):
    """A configuration and a seed: a training, which other seeds repeat.

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

    def contents(self) -> dict[str, Any]:
        return {"seed": self.seed, "config": self.config.model_dump(mode="json")}


def readable(words: str, most: int) -> str:
    """Words as a part of a folder's name, of at most so many characters."""
    return re.sub(r"[^A-Za-z0-9.]+", "-", words).strip("-")[:most]
