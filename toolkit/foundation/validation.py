"""Configurations as pydantic models: one-line errors, and digests for names."""

from __future__ import annotations

import dataclasses
import hashlib
import json
import reprlib
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Any, TypeVar, get_type_hints

import annotated_types
from pydantic import BaseModel, ValidationError
from pydantic.fields import FieldInfo

from toolkit.foundation.errors import UsageError

ConfigModel = TypeVar("ConfigModel", bound=BaseModel)


def validated(kind: type[ConfigModel], values: Mapping[str, Any]) -> ConfigModel:
    """A ``kind`` with ``values``.

    Raises:
        UsageError: all problems, on one line.
    """
    try:
        return kind(**values)
    except ValidationError as error:
        problems = error.errors()
        # for a list with invalid items, pydantic also reports that it is too short without them
        inside = {problem["loc"][:1] for problem in problems if len(problem["loc"]) > 1}
        told = [problem for problem in problems if problem["type"] != "too_short" or problem["loc"] not in inside]
        raise UsageError("; ".join(map(_describe, told))) from error


def first_problem(error: ValidationError) -> str:
    """The first problem of a value written by another process, shortened to one line."""
    problem = error.errors(include_url=False)[0]
    where = ".".join(map(str, problem["loc"]))
    no_object = problem["type"] in ("model_type", "dict_type")
    words = "it must be an object" if no_object else problem["msg"].removeprefix("Value error, ")
    if problem["type"] not in ("missing", "value_error"):  # there is no value, or the message names it
        words += f", got {reprlib.repr(problem['input'])}"
    return " ".join((f"{where}: {words}" if where else words).split())


def digest(model: BaseModel, only: Iterable[str] | None = None) -> str:
    """Eight hexadecimal digits that change with any of the model's values, or with any of those named ``only``.

    Values at their defaults do not count, so that a field added later changes no digest.
    """
    chosen = model.model_dump(mode="json", include=None if only is None else set(only), exclude_defaults=True)
    text = json.dumps(chosen, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:8]


def _describe(problem: Any) -> str:
    words = problem["msg"].removeprefix("Value error, ")
    if not problem["loc"]:  # a conflict of values: the message names them, and the input is everything
        return f"configuration: {words}"
    given = "" if ", got " in words else f", got {problem['input']!r}"
    return f"{'.'.join(map(str, problem['loc']))}: {words}{given}"


@dataclass(frozen=True)
class DescribedField:
    """A field of a request or configuration that users can set.

    Attributes:
        option: name on the command line; ``json_schema_extra={"option": NAME}`` sets one that is not the field's.
        annotation: its type, as annotated.
        default: None if it is required.
        required: whether it has no default.
        description: the help text on the command line.
        least, most: inclusive bounds of a number; None if there is none or it is exclusive.
    """

    name: str
    option: str
    annotation: Any
    default: Any
    required: bool
    description: str
    least: float | None
    most: float | None


def described_fields(kind: type) -> dict[str, DescribedField]:
    """The fields that have a description, of a pydantic model or of a dataclass with ``Annotated`` fields.

    They are in order, but keyword-only fields come last.
    """
    if issubclass(kind, BaseModel):
        infos = kind.model_fields
    else:
        hints = get_type_hints(kind, include_extras=True)
        infos = {}
        fields = dataclasses.fields(kind)  # type: ignore[arg-type]
        for field in sorted(fields, key=lambda one: bool(one.kw_only)):
            hint = hints[field.name]
            if field.default is dataclasses.MISSING:
                infos[field.name] = FieldInfo.from_annotation(hint)
            else:
                infos[field.name] = FieldInfo.from_annotated_attribute(hint, field.default)
    found = {}
    for name, info in infos.items():
        if info.description is None:
            continue
        least: Any = next((one.ge for one in info.metadata if isinstance(one, annotated_types.Ge)), None)
        most: Any = next((one.le for one in info.metadata if isinstance(one, annotated_types.Le)), None)
        extra = info.json_schema_extra if isinstance(info.json_schema_extra, dict) else {}
        found[name] = DescribedField(
            name=name,
            option=str(extra.get("option", name)).replace("_", "-"),
            annotation=info.annotation,
            default=None if info.is_required() else info.default,
            required=info.is_required(),
            description=info.description,
            least=least,
            most=most,
        )
    return found
