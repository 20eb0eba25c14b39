"""Data as text in Markdown: a name never becomes bold, a link, a colour, a formula, an icon or a picture.

Streamlit shows nearly every text as Markdown, with colours, icons, emoji, arrows and formulas of its own. Catalogue
texts may use that. What comes from data passes :func:`plain` or :func:`code`; ``say`` of
:mod:`toolkit.ui.components.language` does it for the values that it puts in.
"""

from __future__ import annotations

import re

from toolkit.foundation.printing import visible


class Marked(str):
    """Markdown that may be shown as it is."""

    __slots__ = ()


_STYLES = "red|orange|yellow|blue|green|violet|gray|grey|rainbow|primary|small|shimmer|color"
_SPECIAL = re.compile(rf"[\\`*_\[\]<>#$|~&]|:(?=:)|:(?!(?!(?:{_STYLES})\b)[a-z_]+=)(?=[a-z])")
"""What begins some markup. A colon does before a word; not in ``jpeg:quality=50``, where the word is no style."""
_BEGINNING = re.compile(r"^([-+]|\d+[.)])(?=\s|$)")
"""Of a list, at the beginning of a line."""
_REPLACED = re.compile(
    r"""(?<!\S)[<>~-](?=[=>-]+(?!\S))     # arrows and signs of comparison
    | :(?=material[/_]|[\w+-]+:)          # icons and emoji
    | (?<!\S):(?=[\w+-]+$)                # emoji, if a colon follows
    | https?:(?=//) | www(?=\.)           # addresses
    | @(?=[\w-]+\.)""",
    re.VERBOSE | re.IGNORECASE,
)
"""What is replaced in finished text, where no backslash helps."""
_JOINER = "\u2060"
"""Takes no room and allows no break: it only keeps apart what would be replaced together."""


def plain(value: object) -> Marked:
    """Anything as a line of Markdown that shows its text and nothing else; Markdown that is so already, unchanged."""
    if isinstance(value, Marked):
        return value
    text = _REPLACED.sub(rf"\g<0>{_JOINER}", _line(value))
    text = _SPECIAL.sub(r"\\\g<0>", text)
    return Marked(_BEGINNING.sub(lambda found: f"{found[1][:-1]}\\{found[1][-1]}", text))


def code(value: object) -> Marked:
    """Anything as Markdown that shows its text as code."""
    text = _line(value).replace(":material/", f":{_JOINER}material/")
    longest = max(map(len, re.findall("`+", text)), default=0)
    fence = "`" * (longest + 1)
    edge = " " if text.startswith("`") or text.endswith("`") else ""
    return Marked(f"{fence}{edge}{text}{edge}{fence}")


def join_marked(parts: list[Marked], between: str = ", ") -> Marked:
    """Several pieces of Markdown as one."""
    return Marked(between.join(parts))


def _line(value: object) -> str:
    return visible(" ".join(str(value).split()))
