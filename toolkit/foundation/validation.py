"""Configurations as pydantic models: their errors in one line, and a digest that names them."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from toolkit.foundation.errors import UsageError

Model = TypeVar("Model", bound=BaseModel)


def validated(kind: type[Model], values: Mapping[str, Any]) -> Model:
    """A ``kind`` made of ``values``.

    Raises:
        UsageError: every problem, one after the other, on one line.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        raise UsageError("; ".join(_describe(problem) for problem in error.errors())) from error


def digest(model: BaseModel, only: Iterable[str] | None = None) -> str:
    """Eight hexadecimal digits that change with any of the model's values, or with any of those named ``only``.

    Values at their defaults do not count, so that a choice that becomes possible later renames nothing.
    """
    chosen = model.model_dump(mode="json", include=None if only is None else set(only), exclude_defaults=True)
    text = json.dumps(chosen, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _describe(problem: Any) -> str:
    name = ".".join(map(str, problem["loc"])) or "configuration"
    return f"{name}: {problem['msg'].removeprefix('Value error, ')}, got {problem['input']!r}"
