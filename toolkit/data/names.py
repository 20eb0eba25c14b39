"""Display names of files and classes: text that every file, table and terminal accepts."""

from __future__ import annotations

import unicodedata

_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
"""Control characters, bytes that were not UTF-8, line and paragraph separators."""
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Characters that make a terminal reorder the rest of a line."""


def printable_name(name: str) -> str:
    r"""A name of a file or class in NFC, with unprintable characters escaped as ``\xe9``, ``\n`` or ``\u202e``.

    A byte that is not UTF-8, which Python keeps as a lone surrogate, is escaped as that byte.
    """
    return "".join(_escaped(character) for character in unicodedata.normalize("NFC", name))


def is_plain(name: str) -> bool:
    """Whether a name needs no escaping."""
    return "".join(map(_escaped, name)) == name


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) in _UNPRINTABLE or character in _REORDERING:
        return character.encode("unicode_escape", "surrogatepass").decode()
    return character
