"""Short pieces of work described as data: what a worker carries out in one go, from a run folder's configuration.

No torch here, and none in what describes a request: the app does so too.
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
from typing import Any, ClassVar

from pydantic import TypeAdapter, ValidationError

from toolkit.foundation.errors import UsageError, one_line
from toolkit.foundation.progress import OnRow, Progress, ignore_row, silent
from toolkit.foundation.validation import ConfigModel, first_problem, validated
from toolkit.runs.contents import Damaged, Result, require
from toolkit.runs.folder import RunFolder


@dataclass(frozen=True)
class Request(ABC):
    """Everything that changes a result, and how to come to it; a dataclass for each kind.

    Attributes:
        kind: of the run; its first word is the command.
        first: the field that the command takes without an option.
        said: options that the command always names; others only where they differ from their defaults.
        light: short enough to run beside a training.
        results: what its result is.
    """

    kind: ClassVar[str]
    first: ClassVar[str] = "dataset"
    said: ClassVar[tuple[str, ...]] = ()
    light: ClassVar[bool] = True
    results: ClassVar[type[Result]] = Result

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @abstractmethod
    def subject(self) -> str:
        """What the readable part of the folder's name says."""

    def settled(self) -> dict[str, Any]:
        """The request with different ways to write the same made one."""
        return self.as_dict()

    def run_name(self) -> str:
        """Name of the run's folder: the same for the same request and the same contents of the files it names."""
        digest = hashlib.sha256(json.dumps(self.settled(), sort_keys=True).encode()).hexdigest()[:8]
        readable = re.sub(r"[^A-Za-z0-9.]+", "-", self.subject()).strip("-")[:60]
        return f"{self.kind}-{readable}-{digest}"

    def folder(self, runs_dir: Path) -> RunFolder:
        """The run's folder, made where there is none.

        Raises:
            WorkError: it cannot be written.
        """
        return RunFolder.create(Path(runs_dir).resolve() / self.run_name(), self.kind, self.as_dict())

    def folder_at(self, runs_dir: Path) -> RunFolder | None:
        """The run's folder where there is one.

        Raises:
            Damaged: it is not whole.
        """
        run = RunFolder(Path(runs_dir).resolve() / self.run_name())
        if not run.exists():
            return None
        read_request({self.kind: type(self)}, run)
        return run

    def command(self) -> str:
        """The ``recallrate`` command that does the same."""
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

    @abstractmethod
    def run(self, progress: Progress = silent, on_row: OnRow = ignore_row) -> dict[str, Any]:
        """The result's JSON.

        Args:
            progress: told how far it is.
            on_row: told about parts of the result as they come, by what comes in parts.

        Raises:
            UsageError: any part of the request is wrong.
            WorkError: the work failed.
        """


def request_from(kinds: Mapping[str, type[Request]], config: Mapping[str, Any]) -> Request:
    """The request that a run folder's configuration holds, of one of ``kinds``."""
    values = dict(config)
    return kinds[values.pop("kind")](**values)


def read_request(kinds: Mapping[str, type[Request]], run: RunFolder) -> Request:
    """The request of a run folder that is whole: so is its result, where it has one.

    Raises:
        Damaged: a part of it is not what the toolkit writes.
        Newer: it is from a newer version of the toolkit.
    """
    run.check()
    config = run.config
    kind = kinds.get(config.pop("kind"))
    if kind is None:
        raise Damaged(f"{run.name} is damaged: config.json: its kind must be one of {', '.join(kinds)}")
    try:
        request = TypeAdapter(kind).validate_python(config)
    except ValidationError as error:
        raise Damaged(f"{run.name} is damaged: config.json: {first_problem(error)}") from error
    held = request.as_dict()
    for name, value in config.items():  # pydantic takes "32" for 32
        if name not in held or held[name] != value:
            raise Damaged(f"{run.name} is damaged: config.json: {name}: {reprlib.repr(value)} is none of its values")
    if (result := run.result) is not None:
        require(kind.results, result, run.result_path)
    return request


def read_seeded(kind: type[ConfigModel], run: RunFolder) -> tuple[ConfigModel, int]:
    """Configuration and seed of a run folder whose request has both; all else in it is whole, but for its result.

    Raises:
        Damaged: a part of it is not what the toolkit writes.
        Newer: it is from a newer version of the toolkit.
    """
    run.check()
    config = run.config
    if config.get("config") is None or config.get("seed") is None:
        raise Damaged(f"{run.name} is damaged: config.json: it needs a config and a seed")
    try:
        return validated(kind, config["config"]), config["seed"]
    except UsageError as error:
        raise Damaged(f"{run.name} is damaged: config.json: {one_line(error)}") from error
