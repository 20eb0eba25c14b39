"""Command-line options made from the fields of requests and configurations, which hold the descriptions."""

from __future__ import annotations

import inspect
import types
from collections.abc import Callable, Mapping, Sequence
from functools import wraps
from typing import Annotated, Any, Literal, TypeVar, Union, get_args, get_origin

import typer
from pydantic import BaseModel

from toolkit.cli.options import TestFolder, TrainFolder
from toolkit.data.spec import with_splits
from toolkit.foundation.image_size import written_size
from toolkit.foundation.validation import DescribedField, described_fields

Command = Callable[..., None]
_Part = TypeVar("_Part")
_SPLITS = {"train_folder": TrainFolder, "test_folder": TestFolder}


def options_of(
    *kinds: type,
    first: str = "dataset",
    short: Mapping[str, str] | None = None,
    omitted: Sequence[str] = (),
    only: Sequence[str] | None = None,
    **defaults: object,
) -> Callable[[Command], Command]:
    """Add the described fields of requests or configurations to a command as options.

    The command receives a dictionary of their values as its first argument, followed by its own parameters. A dataset
    brings the options ``--train`` and ``--test``, which become a part of its spec.

    Args:
        kinds: pydantic models or dataclasses whose fields have descriptions.
        first: the field that becomes a positional argument.
        short: one-letter forms of options, such as ``-o``, by field.
        omitted: fields that the command receives only if they are given, because their defaults depend on others.
        only: the fields of pydantic models that become options; all by default.
        defaults: defaults on the command line that differ from the fields'; ``inspect.Parameter.empty`` for none.
    """
    chosen = [
        field
        for kind in kinds
        for field in described_fields(kind).values()
        if only is None or not issubclass(kind, BaseModel) or field.name in only
    ]
    bounded = not any(issubclass(kind, BaseModel) for kind in kinds)  # a model checks its own ranges
    letters = short or {}
    defaults |= dict.fromkeys(omitted)

    def decorate(command: Command) -> Command:
        @wraps(command)
        def called(**given: Any) -> None:
            values = {one.name: given.pop(one.name) for one in chosen}
            values = {name: value for name, value in values.items() if value is not None or name not in omitted}
            if "size" in values:
                values["size"] = written_size(values["size"])
            if first == "dataset":
                values[first] = with_splits(values[first], *(given.pop(name) for name in _SPLITS))
            command(values, **given)

        own = list(inspect.signature(command, eval_str=True).parameters.values())[1:]
        if first == "dataset":
            own = [*(_optional(name, annotation) for name, annotation in _SPLITS.items()), *own]
        made = [_parameter(one, one.name == first, bounded, defaults, letters.get(one.name)) for one in chosen]
        own = [one.replace(kind=inspect.Parameter.KEYWORD_ONLY) for one in own]  # Typer passes all by name
        called.__signature__ = inspect.Signature([*made, *own])  # type: ignore[attr-defined]
        called.__annotations__ = {one.name: one.annotation for one in (*made, *own)}
        return called

    return decorate


def _optional(name: str, annotation: Any) -> inspect.Parameter:
    return inspect.Parameter(name, inspect.Parameter.KEYWORD_ONLY, default=None, annotation=annotation)


def _parameter(
    field: DescribedField, is_argument: bool, bounded: bool, defaults: Mapping[str, object], letter: str | None
) -> inspect.Parameter:
    default = defaults.get(field.name, inspect.Parameter.empty if field.required else field.default)
    plain = _plain(field.annotation)
    if default is None and type(None) not in get_args(plain):
        plain = plain | None
    if is_argument:
        info: Any = typer.Argument(help=field.description)
    else:
        names = filter(None, (letter, f"--{field.option}"))
        least, most = (field.least, field.most) if bounded else (None, None)
        info = typer.Option(*names, help=field.description, min=least, max=most)
    return inspect.Parameter(
        field.name, inspect.Parameter.KEYWORD_ONLY, default=default, annotation=Annotated[plain, info]
    )


def _plain(annotation: Any) -> Any:
    """The type that the command line parses; the model itself checks a Literal's values."""
    origin = get_origin(annotation)
    if origin is Annotated:
        return _plain(get_args(annotation)[0])
    if origin is Literal:
        return str
    if origin in (Union, types.UnionType):
        inner = {_plain(one) for one in get_args(annotation)} - {type(None)}
        return (str if len(inner) > 1 else inner.pop()) | (None if type(None) in get_args(annotation) else str)
    return annotation


def part_of(kind: type[_Part], values: Mapping[str, Any]) -> _Part:
    """A ``kind`` built from those of a command's values that are its fields."""
    return kind(**{name: values[name] for name in described_fields(kind)})
