"""Text that is safe to print: no control characters that move the cursor, change colours or reverse the line."""

from __future__ import annotations

import unicodedata

_TURNING = frozenset("\u200e\u200f\u202a\u202b\u202c\u202d\u202e\u2066\u2067\u2068\u2069")
"""Marks that change the direction of writing, so that a name reads as another."""


def visible(text: str) -> str:
    """The text with every control character except tab and newline as its escape, such as ``\\x1b``.

    Lone surrogates, which file names may contain, and direction marks are escaped too.
    """
    if text.isprintable():
        return text
    return "".join(_escaped(one) if _is_hidden(one) else one for one in text)


def _is_hidden(one: str) -> bool:
    return one not in "\t\n" and (unicodedata.category(one) in ("Cc", "Cs") or one in _TURNING)


def _escaped(one: str) -> str:
    return one.encode("unicode_escape", "surrogatepass").decode()
