"""The codec protocol and the registry: one table of names, parameters and factories."""

from __future__ import annotations

import os
import re
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path, PurePosixPath, PureWindowsPath
from typing import Protocol, runtime_checkable

import numpy as np

from toolkit.foundation.errors import UsageError

Value = int | float | str | bool
_GRAMMAR = ",|;{}"
"""What specs and grids are made with; a path that has one of these could not be read back."""


@runtime_checkable
class Codec(Protocol):
    """Images to payloads and back.

    A payload is what one exemplar costs in the memory. What all exemplars have in common is *shared*: it is learned
    by :meth:`fit`, stored once, and needed to decode. ``str(codec)`` is the canonical spec and parses back.
    """

    @property
    def lossless(self) -> bool:
        """True if decoding gives exactly the pixels that were encoded."""

    def fit(self, images: np.ndarray) -> None:
        """Learn what is shared by images like these: uint8 (N, H, W, 3), all of one size."""

    def encode(self, images: np.ndarray) -> list[bytes]:
        """One payload an image; uint8 (N, H, W, 3). Fits on these images if nothing was fitted or loaded yet."""

    def decode(self, payloads: Sequence[bytes]) -> np.ndarray:
        """The decoded images, uint8 (N, H, W, 3).

        Raises:
            WorkError: a payload is damaged, or nothing was fitted or loaded yet.
        """

    def to_file(self, payload: bytes) -> bytes:
        """The exemplar as a self-contained file of its format (raw pixels for ``raw``)."""

    def shared_state(self) -> bytes:
        """What :meth:`load_shared` needs on another machine; its length is what sharing costs."""

    def load_shared(self, state: bytes) -> None:
        """Take over a shared state in place of :meth:`fit`."""

    def shared_bytes(self) -> int:
        """Bytes charged once for all exemplars."""

    def weights_bytes(self) -> int:
        """Bytes of network weights the decoder needs (0 but for neural codecs)."""

    @property
    def extension(self) -> str:
        """File name extension of :meth:`to_file`, without the dot."""


@dataclass(frozen=True)
class Parameter:
    """One key of a codec spec: its type, what it accepts, and its default (None: not set unless given).

    Attributes:
        kind: int, float, str, bool (written yes/no) or Path, whose value is the text of an absolute path.
        default: the value taken when the key is left out.
        low, high: inclusive range of a number.
        choices: accepted words of a str.
        pattern, words: what a str without choices must match in full, and how that is said.
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
        if self.kind is str:
            return self.words
        return f"{self.low:g}..{self.high:g}"

    def parse(self, codec: str, key: str, text: str) -> Value:
        """The value written as ``text``.

        Raises:
            UsageError: not of this kind or out of range; the message lists what is accepted.
        """
        refusal = UsageError(f"{codec}: {key} must be {self.accepted()}, got {text!r}")
        if self.kind is bool:
            if text not in ("yes", "no"):
                raise refusal
            return text == "yes"
        if self.choices:
            if text not in self.choices:
                raise refusal
            return text
        if self.kind is Path:
            return self._parse_path(codec, key, text)
        if self.kind is str:
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

    def _parse_path(self, codec: str, key: str, text: str) -> str:
        """The path made absolute, so that it means the same from any folder.

        One that is absolute already, here or on another system, is kept as it stands: a spec stored on one machine
        stays the same on every other.
        """
        path = os.path.expanduser(text)
        if path and not (PurePosixPath(path).is_absolute() or PureWindowsPath(path).is_absolute()):
            path = os.path.abspath(path)
        if not path or set(path) & set(_GRAMMAR) or not path.isprintable():
            raise UsageError(f"{codec}: {key} must be {self.accepted()}, got {path!r}")
        return path

    def write(self, value: Value) -> str:
        """The text that parses to ``value``."""
        if self.kind is bool:
            return "yes" if value else "no"
        return str(value).removesuffix(".0") if self.kind is float else str(value)


@dataclass(frozen=True)
class CodecKind:
    """A registered codec: its name in specs, its parameters, and how one is made from parsed values.

    ``wraps`` marks a wrapper, whose factory takes the inner codec first. ``check`` takes the values of a canonical spec
    and raises a :class:`UsageError` if such a codec could not encode here, for want of a file.
    """

    name: str
    summary: str
    factory: Callable[..., Codec]
    parameters: dict[str, Parameter] = field(default_factory=dict)
    wraps: bool = False
    check: Callable[..., None] | None = None

    def spec(self, values: Mapping[str, Value | None]) -> str:
        """Canonical text: the name, the rate, and every value that differs from its default, in registered order.

        A value of None is left out: the key does not apply beside the others.
        """
        written = [
            f"{key}={parameter.write(value)}"
            for key, parameter in self.parameters.items()
            if (value := values.get(key)) is not None and (parameter.always or value != parameter.default)
        ]
        return f"{self.name}:{','.join(written)}" if written else self.name


_KINDS: dict[str, CodecKind] = {}


def register(kind: CodecKind) -> CodecKind:
    """Enter a codec into the registry."""
    if kind.name in _KINDS:
        raise ValueError(f"codec {kind.name!r} is registered twice")
    _KINDS[kind.name] = kind
    return kind


def codec_kinds() -> dict[str, CodecKind]:
    """All registered codecs by name, in order of registration."""
    from toolkit.codecs import learned_jpeg, standard, wrappers  # noqa: F401 - importing them registers their codecs

    return dict(_KINDS)
