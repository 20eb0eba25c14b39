"""Read JSON and YAML from people and other processes, with limits on size and nesting that are checked first.

Python's parsers follow any nesting until the stack overflows, a pipe in place of a file blocks its reader forever, and
a few lines of YAML with aliases can expand to more than fits in memory.
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
"""Maximum bytes; the manifest of a hundred million exemplars has fewer."""
LARGEST_YAML = 2**18
"""Maximum bytes of a file written by hand."""
DEEPEST = 64
"""Maximum nesting of lists and objects."""
MOST_NODES = 20_000
"""Maximum number of values in a YAML document; values repeated by an alias count each time."""
_PARTS = re.compile(r'"[^"\\]*+(?:\\.[^"\\]*+)*+"?|[\[{]|[\]}]', re.DOTALL)
"""Strings (the last one may be unterminated) and brackets outside strings."""


class Unfit(ValueError):
    """The content is not a valid document; the message says why."""


def open_file(path: Path, *, follow: bool = True) -> IO[bytes]:
    """Open a regular file for reading, without ever waiting for another process.

    Args:
        path: the file.
        follow: whether it may be a symbolic link.

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
    raise Unfit("it is not a regular file")


def read_file(path: Path, most: int = LARGEST_JSON, *, follow: bool = True) -> bytes:
    """The bytes of a regular file; see :func:`open_file`.

    Raises:
        Unfit: it is not a regular file, or has more than ``most`` bytes.
        OSError: it cannot be read.
    """
    with open_file(path, follow=follow) as file:
        if os.fstat(file.fileno()).st_size > most:
            raise Unfit(f"it has more than {most:,} bytes")
        return file.read()


def read_tail(path: Path, last_bytes: int) -> bytes:
    """The end of a regular file; empty if there is none."""
    try:
        with open_file(path, follow=False) as file:
            file.seek(max(0, file.seek(0, os.SEEK_END) - last_bytes))
            return file.read(last_bytes)
    except (OSError, Unfit):
        return b""


def read_stream(file: IO[bytes], most: int) -> bytes:
    """The rest of an open file, which may be a pipe.

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
    """The value of a JSON document in UTF-8.

    Args:
        content: at most :data:`LARGEST_JSON` bytes.
        nonfinite: how NaN and infinities, which are not valid JSON, are read; ``none`` reads them as None.
        printable: whether to refuse lone surrogates, which can be neither printed nor stored.

    Raises:
        Unfit: it is not valid JSON, is nested deeper than :data:`DEEPEST`, or has a number that is not finite.
    """
    if len(content) > LARGEST_JSON:
        raise Unfit(f"it has more than {LARGEST_JSON:,} bytes")

    def number(word: str) -> float | None:
        value = float(word)
        if math.isfinite(value) or nonfinite == "kept":
            return value
        if nonfinite == "refused":
            raise Unfit(f"{word[:24]} is not a finite number")
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
        raise Unfit("it is not UTF-8 text") from None
    except ValueError as error:  # JSONDecodeError, or an integer of thousands of digits
        raise Unfit(f"not valid JSON: {error}") from None
    return value


def is_beginning(text: str) -> bool:
    """Whether a text that is not valid JSON can be the beginning of a JSON object."""
    return text.startswith("{") and _nesting(text)[1] > 0


def _nesting(text: str) -> tuple[int, int]:
    """The maximum number of lists and objects open at once, and the minimum from the first one on."""
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
    """The nodes of a YAML document in UTF-8, not yet converted to values; None if it is empty.

    Raises:
        Unfit: it is larger than :data:`LARGEST_YAML` or not UTF-8 text.
        yaml.YAMLError: it is not YAML, or exceeds :data:`DEEPEST` levels or :data:`MOST_NODES` values.
    """
    if len(content) > LARGEST_YAML:
        raise Unfit(f"it has more than {LARGEST_YAML:,} bytes")
    try:
        text = content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise Unfit("it is not a UTF-8 text file") from None
    _require_bounded(text)
    return yaml.compose(text, Loader=yaml.SafeLoader)


def _require_bounded(text: str) -> None:
    """Refuse an excessive YAML text by its parser events, which take no memory for expanding aliases."""
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
                raise _beyond(f"*{event.anchor} contains itself", event)
        elif isinstance(event, yaml.ScalarEvent):
            part = _Open(event.anchor, levels=0)
        else:
            continue
        if part is not None:
            around[-1].take(part)
            if part.anchor is not None:
                known[part.anchor] = part
        if len(around) + around[-1].levels > DEEPEST + 2:  # one each for the document and the last items
            raise _beyond(f"nested deeper than {DEEPEST} levels", event)
        if around[-1].values > MOST_NODES:
            raise _beyond(f"more than {MOST_NODES:,} values, counting those repeated by aliases", event)


def _beyond(problem: str, event: yaml.Event) -> yaml.MarkedYAMLError:
    return yaml.MarkedYAMLError(problem=problem, problem_mark=event.start_mark)


@dataclass
class _Open:
    """A value of a YAML document: its anchor, and its number of values and levels, itself included."""

    anchor: str | None
    values: int = 1
    levels: int = 1

    def take(self, part: _Open) -> None:
        self.values += part.values
        self.levels = max(self.levels, part.levels + 1)
