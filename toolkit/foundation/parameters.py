"""Named parameters of specs such as ``name:key=value,key=value``, which name codecs and methods."""

from __future__ import annotations

import os
import re
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath, PureWindowsPath

from toolkit.foundation.errors import UsageError, quoted

Value = int | float | str | bool
_GRAMMAR = ",|;{}"
"""Characters of the grammar of specs and grids; a path with one of these could not be parsed back."""


@dataclass(frozen=True)
class Parameter:
    """One key of a spec: its type, accepted values and default (None: not set unless given).

    Attributes:
        kind: int, float, str, bool (written yes/no) or Path (its value is an absolute path as text). The value of any
            other type is text that must match ``pattern``.
        default: the value if the key is left out.
        low, high: inclusive range of a number.
        choices: accepted values of a str.
        pattern, words: what text without choices must match in full, and its description.
        always: written in canonical specs even at its default, such as the rate of a codec.
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
        """The accepted values, for error messages and help: ``1..100``, ``yes|no``, ``420|444``."""
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
        """The value of ``text``.

        Raises:
            UsageError: of the wrong type or out of range; the message lists the accepted values.
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
        """The path made absolute, so that it is valid from any folder.

        A path that is already absolute, on this or another system, is unchanged: a spec stored on one machine stays
        the same on every other.
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
    """Whether a spec with this path can be parsed back."""
    return bool(path) and not set(path) & set(_GRAMMAR) and path.isprintable()


def parse_assignments(owner: str, parameters: Mapping[str, Parameter], text: str) -> dict[str, Value]:
    """``key=value,key=value`` to values, with defaults for omitted keys that have one.

    Raises:
        UsageError: unknown key or invalid value; the message lists the accepted ones.
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
    """Canonical text: the name, the keys always written, and every value that differs from its default, in order.

    A value of None is left out: its key does not apply with the others.
    """
    written = [
        f"{key}={parameter.write(value)}"
        for key, parameter in parameters.items()
        if (value := values.get(key)) is not None and (parameter.always or value != parameter.default)
    ]
    return f"{name}:{','.join(written)}" if written else name
