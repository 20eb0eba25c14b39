"""Objects by name, imported when needed, so that tables of names stay cheap to import."""

from __future__ import annotations

import importlib
from typing import Any


def load_object(place: str) -> Any:
    """The object that ``package.module:name`` names; its module is imported now."""
    module, _, name = place.partition(":")
    return getattr(importlib.import_module(module), name)
