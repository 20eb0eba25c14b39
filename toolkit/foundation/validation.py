"""Configurations as pydantic models: their errors in one line, and a digest that names them."""

from __future__ import annotations

import hashlib
import json
import reprlib
from collections.abc import Iterable, Mapping
from typing import Any, TypeVar

from pydantic import BaseModel, ValidationError

from toolkit.foundation.errors import UsageError

ConfigModel = TypeVar("ConfigModel", bound=BaseModel)


def validated(kind: type[ConfigModel], values: Mapping[str, Any]) -> ConfigModel:
    """A ``kind`` made of ``values``.

    Raises:
        UsageError: every problem, one after the other, on one line.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        problems = error.errors()
        # of a list whose items are wrong pydantic says as well that it is too short without them
        inside = {problem["loc"][:1] for problem in problems if len(problem["loc"]) > 1}
        told = [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in inside]
        raise UsageError("; ".join(map(_describe, told))) from error


def first_problem(error: ValidationError) -> str:
    """What is wrong with a value that another process has written: the first problem, shortened, on one line."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(map(str, problem["loc"]))
    words = "it must be an object" if problem["type"] == "model_type" else problem["msg"].removeprefix("Value error, ")
    if problem["type"] not in ("missing", "value_error"):  # those have no value, or a message that names what counts
        words += f", got {reprlib.repr(problem['input'])}"
    return " ".join((f"{where}: {words}" if where else words).split())


def digest(model: BaseModel, only: Iterable[str] | None = None) -> str:
    """Eight hexadecimal digits that change with any of the model's values, or with any of those named ``only``.

    Values at their defaults do not count, so that a choice that becomes possible later renames nothing.
    """
    chosen = model.model_dump(mode="json", include=None if only is None else set(only), exclude_defaults=True)
    text = json.dumps(chosen, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _describe(problem: Any) -> str:
    words = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:  # values that do not go together: the message names them, the input is all there are
        return f"configuration: {words}"
    given = "" if ", got " in words else f", got {problem['input']!r}"
    return f"{'.'.join(map(str, problem['loc']))}: {words}{given}"
