"""Sweep files: a grid of pilots in YAML. Errors name the line. Imports no torch.

name: first-look            # the file's name by default
dataset: demo
size: 32
initial: 4
increment: 3
codecs: raw;jpeg:quality={10,50}   # a grid, or a list of specs
budgets: [20img, 64KiB]
aligns: [none, both]
methods: [replay]
seeds: [0, 1, 2]
steps: 200                  # and any other field of a pilot
"""

from __future__ import annotations

import difflib
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from toolkit.codecs.spec import expand_grid
from toolkit.foundation.documents import LARGEST_YAML, Unfit, compose_yaml, read_stream
from toolkit.foundation.errors import UsageError, describe_os_error, one_line
from toolkit.foundation.seeds import parse_seeds, require_distinct
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.plan import plan
from toolkit.pilots.request import PilotRequest

GRID = ("codecs", "budgets", "aligns", "methods", "seeds")
"""Keys of the grid; each takes a list or a single value."""
_SINGULAR = {"codec": "codecs", "budget": "budgets", "align": "aligns", "method": "methods"}
SHARED = tuple(name for name in PilotConfig.model_fields if name not in _SINGULAR)
KEYS = ("name", *GRID, *SHARED)
_DEFAULTS: dict[str, Any] = {"aligns": ["none"], "methods": ["replay"], "seeds": [0]}


@dataclass(frozen=True)
class Sweep:
    """Contents of a sweep file: its name and its distinct runs."""

    name: str
    planned: list[PilotRequest]


@dataclass
class _Entries:
    """Keys and values of a file, with their line numbers.

    Attributes:
        lines: key -> line, from 1.
    """

    path: Path
    values: dict[str, Any] = field(default_factory=dict)
    lines: dict[str, int] = field(default_factory=dict)

    def refuse(self, line: int, problem: str) -> UsageError:
        return UsageError(f"{self.path}:{line}: {problem}")

    def about(self, key: str, problem: str) -> UsageError:
        """An error about the value of a key, or about the file if the key is missing."""
        return self.refuse(self.lines.get(key, 1), problem if problem.startswith(f"{key}:") else f"{key}: {problem}")


def read_sweep(path: Path) -> Sweep:
    """Read a sweep file.

    Raises:
        UsageError: the file cannot be read, is not YAML, or has an unknown key or an invalid value; with the line.
    """
    entries = _parse(path)
    name = str(entries.values.pop("name", path.stem))
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,79}", name):
        raise entries.about("name", f"a name must be 1 to 80 letters, digits, dots and dashes, got {name!r}")
    grid = {key: _list(entries, key) for key in GRID}
    shared = {key: value for key, value in entries.values.items() if key not in GRID}
    for required in ("dataset", "initial", "increment"):
        if required not in shared:
            raise UsageError(f"{path}: {required} is missing")
    planned: dict[str, PilotRequest] = {}
    for method in grid["methods"]:
        try:
            runs = plan(grid["codecs"], grid["aligns"], grid["budgets"], grid["seeds"], **shared | {"method": method})
        except UsageError as error:
            raise _located(entries, error) from None
        planned.update((run.run_name(), run) for run in runs)
    return Sweep(name, list(planned.values()))


def _parse(path: Path) -> _Entries:
    """Keys, values and lines; unknown and repeated keys are refused."""
    entries = _Entries(path)
    try:
        with open(path, "rb") as file:  # also a pipe, as from a shell's <(...)
            node = compose_yaml(read_stream(file, LARGEST_YAML))
    except OSError as error:
        raise UsageError(describe_os_error(error, "read", path)) from error
    except Unfit as error:
        raise UsageError(f"{path} is not a sweep file: {error}") from error
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        problem = getattr(error, "problem", None) or one_line(error)
        raise entries.refuse(mark.line + 1 if mark else 1, f"not valid YAML: {problem}") from error
    if not isinstance(node, yaml.MappingNode):
        raise entries.refuse(1, "a sweep file needs lines such as `codecs: [raw, png]`")
    loader = yaml.SafeLoader("")
    for key_node, value_node in node.value:
        key, line = str(key_node.value), key_node.start_mark.line + 1
        if key not in KEYS:
            raise entries.refuse(line, f"unknown key {key!r}{_meant(key)}; the keys are {', '.join(KEYS)}")
        if key in entries.values:
            raise entries.refuse(line, f"{key} is already in line {entries.lines[key]}")
        try:
            entries.values[key] = loader.construct_object(value_node, deep=True)
        except Exception as error:  # for odd scalars PyYAML raises errors of int, float and datetime, and IndexError
            raise entries.refuse(line, f"{key}: {getattr(error, 'problem', None) or one_line(error)}") from error
        entries.lines[key] = line
    return entries


def _meant(key: str) -> str:
    near = [_SINGULAR[key]] if key in _SINGULAR else difflib.get_close_matches(key, KEYS, 1)
    return f" (did you mean {near[0]!r}?)" if near else ""


def _list(entries: _Entries, key: str) -> list[Any]:
    """The values of a grid key; a single value becomes a list of one."""
    if key not in entries.values and key not in _DEFAULTS:
        raise UsageError(f"{entries.path}: {key} is missing")
    value = entries.values.get(key, _DEFAULTS.get(key))
    values = value if isinstance(value, list) else [value]
    if not values or any(isinstance(one, (dict, list)) or one is None for one in values):
        raise entries.about(key, f"takes a list of values, got {value!r}")
    try:
        if key == "codecs":
            return expand_grid(";".join(map(str, values)))
        if key == "seeds":
            seeds = parse_seeds(",".join(map(str, values)))
            require_distinct(seeds)
            return seeds
    except UsageError as error:
        raise entries.about(key, one_line(error)) from None
    return [str(one) for one in values]


def _located(entries: _Entries, error: UsageError) -> UsageError:
    """A configuration error, with the line of the field that it names first."""
    text = one_line(error)
    named = text.split(":", 1)[0].split(".")[0]
    key = _SINGULAR.get(named, named)
    if key not in entries.lines:
        return UsageError(f"{entries.path}: {text}")
    return entries.about(key, text.removeprefix(f"{named}: "))
