"""Escape data for Markdown, so that no name becomes bold, a link, a colour, a formula, an icon or a picture.

Streamlit renders nearly all text as Markdown, with its own colours, icons, emoji, arrows and formulas. Catalogue texts
may use them; text from data goes through :func:`plain` or :func:`code`. ``say`` of
:mod:`toolkit.ui.components.language` escapes the values that it inserts.
"""

from __future__ import annotations

import re

from toolkit.foundation.printing import visible


class Marked(str):
    """Markdown that needs no escaping."""

    __slots__ = ()


_STYLES = "red|orange|yellow|blue|green|violet|gray|grey|rainbow|primary|small|shimmer|color"
_SPECIAL = re.compile(rf"[\\`*_\[\]<>#$|~&]|:(?=:)|:(?!(?!(?:{_STYLES})\b)[a-z_]+=)(?=[a-z])")
"""Characters that start markup; a colon before a word, except as in ``jpeg:quality=50``, where no style follows."""
_BEGINNING = re.compile(r"^([-+]|\d+[.)])(?=\s|$)")
"""A list marker at the beginning of a line."""
_REPLACED = re.compile(
    r"""(?<!\S)[<>~-](?=[=>-]+(?!\S))     # arrows and comparison signs
    | :(?=material[/_]|[\w+-]+:)          # icons and emoji
    | (?<!\S):(?=[\w+-]+$)                # emoji, if a colon follows
    | https?:(?=//) | www(?=\.)           # addresses
    | @(?=[\w-]+\.)""",
    re.VERBOSE | re.IGNORECASE,
)
"""Text that Streamlit replaces after rendering, where a backslash does not help."""
_JOINER = "\u2060"
"""Zero-width and non-breaking: only separates characters that would be replaced together."""


def plain(value: object) -> Marked:
    """Any value as a line of Markdown that shows its plain text; marked text is unchanged."""
    if isinstance(value, Marked):
        return value
    text = _REPLACED.sub(rf"\g<0>{_JOINER}", _line(value))
    text = _SPECIAL.sub(r"\\\g<0>", text)
    return Marked(_BEGINNING.sub(lambda found: f"{found[1][:-1]}\\{found[1][-1]}", text))


def code(value: object) -> Marked:
    """Any value as Markdown code."""
    text = _line(value).replace(":material/", f":{_JOINER}material/")
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    edge = " " if text.startswith("`") or text.endswith("`") else ""
    return Marked(f"{fence}{edge}{text}{edge}{fence}")


def join_marked(parts: list[Marked], between: str = ", ") -> Marked:
    """Join pieces of Markdown."""
    return Marked(between.join(parts))


def _line(value: object) -> str:
    return visible(" ".join(str(value).split()))
