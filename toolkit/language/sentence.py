"""What a result says in words, as data: said in any language when it is read, not when it is measured."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from typing import Any

from toolkit.language.catalogue import ENGLISH


class Sentence:
    """A text of the catalogues with its values; ``str`` gives it in English.

    Args:
        key: in the catalogues.
        values: for its places; strings and numbers.
    """

    def __init__(self, key: str, **values: str | float) -> None:
        self.key = key
        self.values = values

    def __str__(self) -> str:
        return self.said(ENGLISH)

    def said(self, say: Callable[..., str]) -> str:
        """The sentence as ``say`` has it: a catalogue, or what puts values into one in a way of its own."""
        return say(self.key, **self.values)

    def as_dict(self) -> dict[str, Any]:
        """As JSON."""
        return {"key": self.key, "values": self.values}

    @classmethod
    def from_dict(cls, found: Mapping[str, Any]) -> Sentence:
        """What :meth:`as_dict` gave."""
        return cls(found["key"], **found["values"])
