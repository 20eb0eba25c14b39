"""Named parameters as specs write them: ``name:key=value,key=value``. Codecs and methods are named this way."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from toolkit.foundation.errors import UsageError, quoted

Value = int | float | str | bool
_GRAMMAR = ",|;{}"
"""What specs and grids are made with; a path that has one of these could not be read back."""


@dataclass(frozen=True)
class Parameter:
    """One key of a spec: its type, what it accepts, and its default (None: not set unless given).

    Attributes:
        kind: int, float, str, bool (written yes/no) or Path, whose value is the text of an absolute path. Any other
            type is that of what a text stands for: its value is the text, which must match ``pattern``.
        default: the value taken when the key is left out.
        low, high: inclusive range of a number.
        choices: accepted words of a str.
        pattern, words: what a text without choices must match in full, and how that is said.
        always: written in canonical specs even at its default, as the rate of a codec is.
    """

    kind: type
    default: Value | None = None
    low: float | None = None
    high: float | None = None
    choices: tuple[str, ...] = ()
    pattern: str = ""
    words: str = ""
    help: str = ""
    always: bool = False

    def accepted(self) -> str:
        """What may be written, for error messages and help: ``1..100``, ``yes|no``, ``420|444``."""
        if self.kind is bool:
            return "yes|no"
        if self.choices:
            return "|".join(self.choices)
        if self.kind is Path:
            return f"a path without any of {' '.join(_GRAMMAR)}"
        if self.kind not in (int, float):
            return self.words
        return f"{self.low:g}..{self.high:g}"

    def parse(self, owner: str, key: str, text: str) -> Value:
        """The value written as ``text``.

        Raises:
            UsageError: not of this kind or out of range; the message lists what is accepted.
        """
        refusal = UsageError(f"{owner}: {key} must be {self.accepted()}, got {quoted(text)}")
        if self.kind is bool:
            if text not in ("yes", "no"):
                raise refusal
            return text == "yes"
        if self.choices:
            if text not in self.choices:
                raise refusal
            return text
        if self.kind is Path:
            return self._parse_path(owner, key, text)
        if self.kind not in (int, float):
            if not re.fullmatch(self.pattern, text):
                raise refusal
            return text
        try:
            value = self.kind(text)
        except ValueError:
            raise refusal from None
        if not (self.low is not None and self.high is not None and self.low <= value <= self.high):
            raise refusal
        return value

    def _parse_path(self, owner: str, key: str, text: str) -> str:
        """The path made absolute, so that it means the same from any folder.

        One that is absolute already, here or on another system, is kept as it stands: a spec stored on one machine
        stays the same on every other.
        """
        path = os.path.expanduser(text)
        if path and not (PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()):
            path = os.path.abspath(path)
        if not can_be_written(path):
            raise UsageError(f"{owner}: {key} must be {self.accepted()}, got {path!r}")
        return path

    def write(self, value: Value) -> str:
        """The text that parses to ``value``."""
        if self.kind is bool:
            return "yes" if value else "no"
        return str(value).removesuffix(".0") if self.kind is float else str(value)


def can_be_written(path: str) -> bool:
    """Whether a spec that names this path can be read back."""
    return bool(path) and not set(path) & set(_GRAMMAR) and path.isprintable()


def parse_assignments(owner: str, parameters: Mapping[str, Parameter], text: str) -> dict[str, Value]:
    """``key=value,key=value`` to values, with the defaults of the keys left out (but for those that have none).

    Raises:
        UsageError: unknown key or value; the message lists the accepted ones.
    """
    values: dict[str, Value] = {
        key: parameter.default for key, parameter in parameters.items() if parameter.default is not None
    }
    given: set[str] = set()
    for assignment in filter(None, (part.strip() for part in text.split(","))):
        key, equals, word = (part.strip() for part in assignment.partition("="))
        if key not in parameters:
            known = ", ".join(parameters) or "none"
            in_path = not equals and any(parameter.kind is Path for parameter in parameters.values())
            hint = "; a path cannot contain a comma" if in_path else ""
            raise UsageError(f"{owner} has no key {quoted(key)}: its keys are {known}{hint}")
        if not equals or key in given:
            problem = "is given twice" if key in given else "needs a value"
            raise UsageError(f"{owner}: {key} {problem} ({parameters[key].accepted()})")
        given.add(key)
        values[key] = parameters[key].parse(owner, key, word)
    return values


def write_spec(name: str, parameters: Mapping[str, Parameter], values: Mapping[str, Value | None]) -> str:
    """Canonical text: the name, what is always written, and every value that differs from its default, in order.

    A value of None is left out: the key does not apply beside the others.
    """
    written = [
        f"{key}={parameter.write(value)}"
        for key, parameter in parameters.items()
        if (value := values.get(key)) is not None and (parameter.always or value != parameter.default)
    ]
    return f"{name}:{','.join(written)}" if written else name
