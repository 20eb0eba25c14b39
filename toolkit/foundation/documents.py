"""JSON and YAML that a person or another process wrote, read within bounds: size and nesting are looked at first.

Python's parsers follow any nesting until the stack ends, a pipe in a file's place keeps a reader waiting for ever, and
a few lines of YAML with aliases can stand for more than any memory holds.
"""

from __future__ import annotations

import errno
import json
import math
import os
import re
import stat
from dataclasses import dataclass
from pathlib import Path
from typing import IO, Any, Literal

import yaml

LARGEST_JSON = 2**28
"""Bytes; the manifest of a hundred million exemplars has fewer."""
LARGEST_YAML = 2**18
"""Bytes of what is written by hand."""
DEEPEST = 64
"""Lists and objects inside one another."""
MOST_NODES = 20_000
"""Values of a YAML document, those that an alias repeats counted each time."""
_PARTS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
"""Strings, the last one perhaps without its end, and brackets outside of them."""


class Unfit(ValueError):
    """What was read is not such a document; the message says why."""


def open_file(path: Path, *, follow: bool = True) -> IO[bytes]:
    """Open a regular file to read, never waiting for another process.

    Args:
        path: the file.
        follow: whether it may be a link.

    Raises:
        Unfit: it is a link, a pipe or a device.
        OSError: it cannot be opened.
    """
    if not follow and os.path.islink(path):
        raise Unfit("it is a link")
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    descriptor = os.open(path, flags | (0 if follow else getattr(os, "O_NOFOLLOW", 0)))
    kind = os.fstat(descriptor).st_mode
    if stat.S_ISREG(kind):
        return os.fdopen(descriptor, "rb")
    os.close(descriptor)
    if stat.S_ISDIR(kind):
        raise IsADirectoryError(errno.EISDIR, os.strerror(errno.EISDIR))
    raise Unfit("it is no regular file")


def read_file(path: Path, most: int = LARGEST_JSON, *, follow: bool = True) -> bytes:
    """A regular file's bytes; see :func:`open_file`.

    Raises:
        Unfit: it is no regular file, or has more than ``most`` bytes.
        OSError: it cannot be read.
    """
    with open_file(path, follow=follow) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise Unfit(f"it has more than {most:,} bytes")
        return file.read()


def read_tail(path: Path, last_bytes: int) -> bytes:
    """The end of a regular file; nothing where there is none."""
    try:
        with open_file(path, follow=False) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - last_bytes))
            return file.read(last_bytes)
    except (OSError, Unfit):
        return b""


def read_stream(file: IO[bytes], most: int) -> bytes:
    """What is left of an open file, which may be a pipe.

    Raises:
        Unfit: it is more than ``most`` bytes.
    """
    content = file.read(most + 1)
    if len(content) > most:
        raise Unfit(f"it has more than {most:,} bytes")
    return content


def parse_json(
    content: bytes | str, *, nonfinite: Literal["refused", "none", "kept"] = "refused", printable: bool = False
) -> Any:
    """The value of a JSON text in UTF-8.

    Args:
        content: of at most :data:`LARGEST_JSON` bytes.
        nonfinite: what becomes of NaN and infinities, which JSON does not have; ``none`` reads them as None.
        printable: whether halves of surrogate pairs, which can be neither printed nor stored, are refused.

    Raises:
        Unfit: it is none, is nested deeper than :data:`DEEPEST`, or has a number that is none.
    """
    if len(content) > LARGEST_JSON:
        raise Unfit(f"it has more than {LARGEST_JSON:,} bytes")

    def number(word: str) -> float | None:
        value = float(word)
        if math.isfinite(value) or nonfinite == "kept":
            return value
        if nonfinite == "refused":
            raise Unfit(f"{word[:24]} is no number")
        return None

    try:
        text = content.decode("utf-8-sig") if isinstance(content, bytes) else content
        if _nesting(text)[0] > DEEPEST:
            raise Unfit(f"it is nested deeper than {DEEPEST} levels")
        value = json.loads(text, parse_constant=number, parse_float=number)
        if printable and "\\ud" in text.lower():
            json.dumps(value, ensure_ascii=False).encode()
    except Unfit:
        raise
    except UnicodeError:
        raise Unfit("it is not text in UTF-8") from None
    except ValueError as error:  # json's own, and an integer of thousands of digits
        raise Unfit(f"not valid JSON: {error}") from None
    return value


def is_beginning(text: str) -> bool:
    """Whether a text that is no JSON can be the beginning of a JSON object."""
    return text.startswith("{") and _nesting(text)[1] > 0


def _nesting(text: str) -> tuple[int, int]:
    """The most lists and objects that are open at once, and the fewest from the first one on."""
    depth = deepest = 0
    least = DEEPEST
    for part in _PARTS.finditer(text):
        if part[0][0] == '"':
            continue
        depth += 1 if part[0] in "[{" else -1
        deepest, least = max(deepest, depth), min(least, depth)
        if deepest > DEEPEST:
            break
    return deepest, least


def compose_yaml(content: bytes) -> yaml.Node | None:
    """The nodes of a YAML document in UTF-8, not yet made into values; None where there is nothing.

    Raises:
        Unfit: it is larger than :data:`LARGEST_YAML` or no text in UTF-8.
        yaml.YAMLError: it is no YAML, nested deeper than :data:`DEEPEST`, or has more than :data:`MOST_NODES` values.
    """
    if len(content) > LARGEST_YAML:
        raise Unfit(f"it has more than {LARGEST_YAML:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unfit("it is not a text file in UTF-8") from None
    _require_bounded(text)
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _require_bounded(text: str) -> None:
    """Refuse a YAML text by its parser's events, which take no memory for what aliases stand for."""
    around: list[_Open] = [_Open(None)]
    known: dict[str, _Open] = {}
    for event in yaml.parse(text, Loader=yaml.SafeLoader):
        if isinstance(event, yaml.CollectionStartEvent):
            around.append(_Open(event.anchor))
            part = None
        elif isinstance(event, yaml.CollectionEndEvent):
            part = around.pop()
        elif isinstance(event, yaml.AliasEvent):
            part = known.get(event.anchor, _Open(None))
            if any(one.anchor == event.anchor for one in around):
                raise _beyond(f"*{event.anchor} holds itself", event)
        elif isinstance(event, yaml.ScalarEvent):
            part = _Open(event.anchor, levels=0)
        else:
            continue
        if part is not None:
            around[-1].take(part)
            if part.anchor is not None:
                known[part.anchor] = part
        if len(around) + around[-1].levels > DEEPEST + 2:  # a level for the document, one for what is in the last list
            raise _beyond(f"nested deeper than {DEEPEST} levels", event)
        if around[-1].values > MOST_NODES:
            raise _beyond(f"more than {MOST_NODES:,} values, those that aliases repeat counted each time", event)


def _beyond(problem: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


@dataclass
class _Open:
    """A value of a YAML document: its anchor, and how many values and levels it has, itself included."""

    anchor: str | None
    values: int = 1
    levels: int = 1

    def take(self, part: _Open) -> None:
        self.values += part.values
        self.levels = max(self.levels, part.levels + 1)
