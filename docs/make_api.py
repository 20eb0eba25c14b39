"""Writes ``docs/api.md`` from ``toolkit/__init__.pyi`` and the docstrings: ``python docs/make_api.py``."""

from __future__ import annotations

import ast
import dataclasses
import inspect
import re
import textwrap
from collections.abc import Iterator
from pathlib import Path
from typing import Any, get_args, get_type_hints

from pydantic import BaseModel

import toolkit

STUB = Path(toolkit.__file__).with_suffix(".pyi")
PAGE = Path(__file__).with_name("api.md")
ROOMS = {
    "data": "Data",
    "codecs": "Codecs",
    "probe": "Probe",
    "advice": "Advice",
    "memory": "Memory",
    "features": "Features and distortion",
    "study": "Studies",
    "pilots": "Pilots",
    "training": "Training",
    "jpeg": "JPEG layer",
    "jpeg_dl": "Training with the JPEG layer",
    "runs": "Runs",
    "report": "Report",
    "production": "Production",
}
_WIDE = 100
_INTRODUCTION = """\
# Python API

<!-- Written by docs/make_api.py: change the docstrings, then run it again. -->

`import toolkit` loads nothing heavy. Each name below loads with its first use. `help(toolkit.psnr)` and its like show
every argument with its shape and unit. `UsageError` means that a choice is wrong, `WorkError` that something failed on
the way. Both are in `toolkit.foundation.errors`, and both have messages of one line.
"""


def page() -> str:
    """The text of the page."""
    places = public_names()
    rooms: dict[str, list[str]] = {room: [] for room in ROOMS}
    for name, module in places.items():
        rooms[module.split(".")[1]].append(name)
    parts = [_INTRODUCTION]
    for room, names in rooms.items():
        parts.append(f"## {ROOMS[room]}\n")
        parts += [_entry(name, places[name]) for name in names]
    return "\n".join(parts)


def public_names() -> dict[str, str]:
    """The module of each name that the stub has."""
    imports = [node for node in ast.parse(STUB.read_text()).body if isinstance(node, ast.ImportFrom)]
    return {alias.name: node.module for node in imports for alias in node.names if node.module is not None}


def _entry(name: str, module: str) -> str:
    """A heading, the signature, what the docstring begins with, methods, and what is raised."""
    shown = getattr(toolkit, name)
    lines = [f"### {name}\n", f"```py\n{_signature(name, shown)}\n```\n", f"{_first_paragraph(shown)}\n"]
    if methods := [f"- {line}" for line in _methods(shown)]:
        lines += [*methods, ""]
    lines += [f"Raises {line}\n" for line in _raises(shown)]
    lines.append(f"In `{module}`.\n")
    return "\n".join(lines)


def _signature(name: str, shown: Any) -> str:
    """The signature on one line or, where that is long, with a line for each argument."""
    if inspect.isclass(shown):
        given, back = _of_fields(shown) if _has_fields(shown) else _as_written(shown.__init__)[0], ""
    else:
        given, returned = _as_written(shown)
        back = f" -> {returned}"
    line = f"{name}({', '.join(given)}){back}"
    return line if len(line) <= _WIDE else f"{name}(\n" + "".join(f"    {one},\n" for one in given) + f"){back}"


def _as_written(function: Any) -> tuple[list[str], str]:
    """Arguments without ``self``, and what is returned, as the source has them."""
    source = textwrap.dedent(inspect.getsource(inspect.unwrap(function)))
    (written,) = ast.parse(source).body
    assert isinstance(written, ast.FunctionDef)
    known = written.args
    defaults = [None] * (len(known.args) - len(known.defaults)) + known.defaults
    found = [_argument(argument, default) for argument, default in zip(known.args, defaults, strict=True)]
    if known.kwonlyargs:
        found.append("*")
        found += map(_argument, known.kwonlyargs, known.kw_defaults)
    returned = ast.unparse(written.returns) if written.returns else "None"
    return [one for one in found if one != "self"], returned


def _argument(argument: ast.arg, default: ast.expr | None) -> str:
    equals = " = " if argument.annotation else "="
    return ast.unparse(argument) + (f"{equals}{ast.unparse(default)}" if default else "")


def _has_fields(shown: type) -> bool:
    """Whether the arguments are fields, perhaps inherited, whose types say more than a reader needs."""
    return issubclass(shown, BaseModel) or dataclasses.is_dataclass(shown)


def _of_fields(shown: type) -> list[str]:
    hints = get_type_hints(shown)
    found = []
    for name, field in inspect.signature(shown).parameters.items():
        if field.kind is field.KEYWORD_ONLY and "*" not in found:
            found.append("*")
        default = "" if field.default is field.empty else f" = {field.default!r}"
        found.append(f"{name}: {_type(hints[name])}{default}")
    return found


def _type(hint: Any) -> str:
    """A type without the modules of its parts."""
    named = isinstance(hint, type) and not get_args(hint)
    return hint.__name__ if named else re.sub(r"\b(?:\w+\.)+(?=[A-Z])", "", str(hint)).replace("NoneType", "None")


def _methods(shown: Any) -> Iterator[str]:
    """Public methods of a class of ours, each with its first sentence."""
    if not inspect.isclass(shown):
        return
    for name, method in vars(shown).items():
        function = inspect.unwrap(getattr(method, "__func__", method))
        is_method = inspect.isfunction(function) and not isinstance(method, property)
        if name.startswith("_") or not is_method or not function.__doc__:
            continue
        arguments = list(inspect.signature(function).parameters)[1:]
        yield f"`{name}({', '.join(arguments)})`: {_first_paragraph(function)}"


def _first_paragraph(shown: Any) -> str:
    return _markdown(" ".join((inspect.getdoc(shown) or "").split("\n\n")[0].split()))


def _raises(shown: Any) -> Iterator[str]:
    """What a docstring's ``Raises:`` says, an error each."""
    _, _, block = (inspect.getdoc(shown) or "").partition("Raises:\n")
    for found in re.finditer(r"^ {4}(\w+): (.+(?:\n {8,}.+)*)", block.split("\n\n")[0], re.MULTILINE):
        yield f"`{found[1]}`: {_markdown(' '.join(found[2].split()))}"


def _markdown(text: str) -> str:
    """Docstring text with its roles and code in Markdown."""
    text = re.sub(r":\w+:`~(?:\w+\.)*(\w+)`", r"`\1`", text)
    text = re.sub(r":\w+:`([^`]+)`", r"`\1`", text)
    return text.replace("``", "`")


if __name__ == "__main__":
    PAGE.write_text(page(), encoding="utf-8")
