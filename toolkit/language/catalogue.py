"""Catalogues of texts, and the callable that looks them up."""

from __future__ import annotations

import tomllib
from collections.abc import Mapping
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from toolkit.foundation.errors import UsageError

LANGUAGES = {"en": "English", "ja": "日本語"}
"""Language code -> name in the language itself."""


@dataclass(frozen=True)
class Language:
    """A catalogue.

    Attributes:
        code: ``en`` or ``ja``.
        texts: by dotted key, such as ``probe.title``; placeholders for values are in braces.
    """

    code: str
    texts: Mapping[str, str]

    def __call__(self, key: str, **values: Any) -> str:
        """The text for ``key`` with its values filled in.

        Raises:
            KeyError: no such text, or a missing value.
        """
        return self.texts[key].format(**values)


@cache
def language(code: str) -> Language:
    """The catalogue of a language.

    Raises:
        UsageError: no such language.
    """
    if code not in LANGUAGES:
        raise UsageError(f"language must be one of {', '.join(LANGUAGES)}, got {code!r}")
    sections = tomllib.loads(Path(__file__).with_name(f"{code}.toml").read_text(encoding="utf-8"))
    texts = {f"{section}.{name}": text for section, found in sections.items() for name, text in found.items()}
    return Language(code, texts)


ENGLISH = language("en")
"""The default catalogue."""
