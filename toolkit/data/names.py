"""Names found in a dataset as they are shown and kept: text that every file, table and terminal takes."""

from __future__ import annotations

import unicodedata

_UNPRINTABLE = ("Cc", "Cs", "Zl", "Zp")
"""Control characters, bytes that were no UTF-8, line and paragraph separators."""
_REORDERING = frozenset("\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""They make a terminal show the rest of a line backwards."""


def printable_name(name: str) -> str:
    r"""A name of a file or class in NFC, with what cannot be printed written as ``\xe9``, ``\n`` or ``\u202e``.

    A byte that is not UTF-8, which Python keeps as a lone surrogate, is written as that byte.
    """
    return "".join(_escaped(character) for character in unicodedata.normalize("NFC", name))


def is_plain(name: str) -> bool:
    """Whether nothing of a name has to be escaped."""
    return "".join(map(_escaped, name)) == name


def _escaped(character: str) -> str:
    if "\udc80" <= character <= "\udcff":
        return f"\\x{ord(character) - 0xDC00:02x}"
    if unicodedata.category(character) in _UNPRINTABLE or character in _REORDERING:
        return character.encode("unicode_escape", "surrogatepass").decode()
    return character
