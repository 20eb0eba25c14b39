"""Sentences of a result as data, so that they can be shown in any language when the result is read."""

from __future__ import annotations

from collections.abc import Callable

from typing_extensions import TypedDict

from toolkit.language.catalogue import ENGLISH


class SentenceContents(TypedDict):
    """A sentence as JSON."""

    key: str
    values: dict[str, str | float]


class Sentence:
    """A text of the catalogues with its values; ``str`` gives it in English.

    Args:
        key: in the catalogues.
        values: strings and numbers for the text's placeholders.
    """

    def __init__(self, key: str, **values: str | float) -> None:
        self.key = key
        self.values = values

    def __str__(self) -> str:
        return self.said(ENGLISH)

    def said(self, say: Callable[..., str]) -> str:
        """The sentence in the language of ``say``: a catalogue, or a function that formats the values its own way."""
        return say(self.key, **self.values)

    def as_dict(self) -> SentenceContents:
        """The sentence as JSON."""
        return {"key": self.key, "values": self.values}

    @classmethod
    def from_dict(cls, found: SentenceContents) -> Sentence:
        """The inverse of :meth:`as_dict`."""
        return cls(found["key"], **found["values"])
