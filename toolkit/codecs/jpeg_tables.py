"""Table files: quantisation tables exported from a training of the JPEG layer and used by ``learned-jpeg``.

JSON, with every 8 x 8 table in natural order (rows of frequencies, not the zigzag order of JPEG files)::

    {"format": "recallrate-jpeg-tables", "version": 1,
     "luma": [[16, 11, ...], ...], "chroma": [[17, 18, ...], ...],
     "dead_zone": null, "alpha": null, "trained": {}}

``dead_zone`` and ``alpha`` are null or ``{"luma": 8 x 8, "chroma": 8 x 8}``; ``trained`` records the origin of the
tables and has no effect.
"""

from __future__ import annotations

import hashlib
import io
import sys
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, TypedDict

import numpy as np
from PIL import Image

from toolkit.foundation.documents import Unfit, parse_json, read_file
from toolkit.foundation.errors import UsageError, describe_os_error, newer, one_line, quoted
from toolkit.foundation.files import json_bytes, write_output

FORMAT = "recallrate-jpeg-tables"
VERSION = 1
LARGEST_STEP = 255
"""Baseline JPEG stores a step in 8 bits."""
SMALLEST_DEAD_ZONE, LARGEST_DEAD_ZONE = 0.5, 2.0
DIGEST_DIGITS = 8
_MOST_BYTES = 2**20
"""Maximum size of a table file; ours have 20 kB."""
_PLANES = ("luma", "chroma")
_KEYS = ("format", "version", *_PLANES, "dead_zone", "alpha", "trained")


class TablePair(TypedDict):
    """An 8 x 8 table per plane."""

    luma: list[list[float]]
    chroma: list[list[float]]


class TableFile(TypedDict):
    """Contents of a table file."""

    format: str
    version: int
    luma: list[list[int]]
    chroma: list[list[int]]
    dead_zone: TablePair | None
    alpha: TablePair | None
    trained: dict[str, Any]


def standard_steps(quality: int) -> np.ndarray:
    """The steps of libjpeg at a quality, taken from a Pillow file; int64 (2, 8, 8), luma and chroma."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8)).save(file, "JPEG", quality=quality)
    with Image.open(file) as image:
        tables = image.quantization  # type: ignore[attr-defined]
    return np.array([tables[0], tables[1]]).reshape(2, 8, 8)


@dataclass(frozen=True, eq=False)
class QuantisationTables:
    """Quantisation tables of a JPEG file. Anything that converts to the arrays is accepted.

    Attributes:
        luma, chroma: steps in natural order, int64 (8, 8), each 1..255.
        dead_zone: thresholds for luma and chroma, float64 (2, 8, 8), each 0.5..2, or None. A coefficient z with step q
            gets index 0 if abs(z) / q is below the threshold, and otherwise its nearest index, but at least 1.
        alpha: sharpness of the rounding for luma and chroma, float64 (2, 8, 8), each above 0, or None. A coefficient z
            with step q gets index i with probability proportional to exp(-alpha (z - i q)^2), among the 5 indices
            nearest to z / q.
        trained: origin of the tables; any JSON object.

    Raises:
        UsageError: a table of the wrong shape, or an invalid value.
    """

    luma: np.ndarray
    chroma: np.ndarray
    dead_zone: np.ndarray | None = None
    alpha: np.ndarray | None = None
    trained: Mapping[str, Any] = field(default_factory=dict)

    def __post_init__(self) -> None:
        for name in _PLANES:
            object.__setattr__(self, name, _table(getattr(self, name), name, _STEP).astype(np.int64))
        for name, accepted in (("dead_zone", _THRESHOLD), ("alpha", _SHARPNESS)):
            value = getattr(self, name)
            if value is not None:
                pair = _planes(value, name)
                tables = [_table(pair[plane], f"{name}.{plane}", accepted) for plane in _PLANES]
                object.__setattr__(self, name, np.stack(tables))

    @property
    def steps(self) -> np.ndarray:
        """Luma and chroma together, int64 (2, 8, 8)."""
        return np.stack([self.luma, self.chroma])

    @property
    def digest(self) -> str:
        """Eight hexadecimal digits that depend on the numbers in the tables only, not on the file name."""
        parts = [self.steps.astype("<i8").tobytes()]
        parts += [b"none" if part is None else part.astype("<f8").tobytes() for part in (self.dead_zone, self.alpha)]
        return hashlib.sha256(b"|".join(parts)).hexdigest()[:DIGEST_DIGITS]


def read_tables(path: str | Path) -> QuantisationTables:
    """Read a table file.

    Raises:
        UsageError: a missing file, not a table file, a newer version, or an invalid value.
    """
    try:
        content = parse_json(read_file(Path(path), _MOST_BYTES), nonfinite="kept")
    except OSError as error:
        raise UsageError(describe_os_error(error, "read the quantisation tables", path)) from error
    except Unfit as error:
        raise UsageError(f"{path} is not a table file: {error}") from error
    if not isinstance(content, dict) or content.get("format") != FORMAT:
        found = content.get("format") if isinstance(content, dict) else type(content).__name__
        raise UsageError(f"{path} is not a table file: its format must be {FORMAT!r}, got {quoted(found)}")
    version = content.get("version")
    if isinstance(version, bool) or not isinstance(version, int) or version < 1:
        raise UsageError(f"{path}: version must be {VERSION}, got {quoted(version)}")
    if version > VERSION:
        raise UsageError(newer(path, "version", quoted(version), VERSION))
    unknown = [key for key in content if key not in _KEYS]
    if unknown:
        raise UsageError(f"{path} has no key {quoted(unknown[0])}: its keys are {', '.join(_KEYS)}")
    trained = content.get("trained", {})
    if not isinstance(trained, dict):
        raise UsageError(f"{path}: trained must be a JSON object, got {type(trained).__name__}")
    arrays: dict[str, Any] = {key: content.get(key) for key in (*_PLANES, "dead_zone", "alpha")}
    try:
        return QuantisationTables(**arrays, trained=trained)
    except UsageError as error:
        raise UsageError(f"{path}: {error}") from None


def write_tables(path: str | Path, tables: QuantisationTables) -> None:
    """Write a table file, atomically.

    Raises:
        UsageError: ``trained`` cannot be written as JSON.
        WorkError: the file cannot be written.
    """
    content: TableFile = {
        "format": FORMAT,
        "version": VERSION,
        "luma": tables.luma.tolist(),
        "chroma": tables.chroma.tolist(),
        "dead_zone": _by_plane(tables.dead_zone),
        "alpha": _by_plane(tables.alpha),
        "trained": dict(tables.trained),
    }
    try:
        text = json_bytes(content)
    except (TypeError, ValueError) as error:
        raise UsageError(f"trained must be JSON: {one_line(error)}") from error
    write_output(Path(path), lambda file: file.write(text))


def integer_tables(steps: Any) -> np.ndarray:
    """Convert trained steps to steps of JPEG files: rounded, and at least 1.

    Args:
        steps: float (2, 8, 8), luma and chroma, above 0 and at most 255.

    Returns:
        int64 (2, 8, 8), each 1..255.

    Raises:
        UsageError: a wrong shape, or a value out of range.
    """
    pair = _planes(steps, "steps")
    tables = [_table(pair[plane], f"steps.{plane}", _TRAINED_STEP) for plane in _PLANES]
    return np.maximum(1, np.rint(np.stack(tables))).astype(np.int64)


@dataclass(frozen=True)
class _Accepted:
    """A condition on a finite number, and its description."""

    words: str
    holds: Callable[[Any], bool]


_STEP = _Accepted(f"a whole number 1..{LARGEST_STEP}", lambda value: value == int(value) and 1 <= value <= LARGEST_STEP)
_TRAINED_STEP = _Accepted(f"above 0 and at most {LARGEST_STEP}", lambda value: 0 < value <= LARGEST_STEP)
_THRESHOLD = _Accepted(
    f"{SMALLEST_DEAD_ZONE:g}..{LARGEST_DEAD_ZONE:g}", lambda value: SMALLEST_DEAD_ZONE <= value <= LARGEST_DEAD_ZONE
)
_SHARPNESS = _Accepted("a finite number above 0", lambda value: value > 0)


def _table(values: Any, name: str, accepted: _Accepted) -> np.ndarray:
    """``values`` as float64 (8, 8), each of them accepted."""
    rows = _objects(values)
    if rows.shape != (8, 8):
        raise UsageError(f"{name} must be an 8 x 8 table of numbers, got {_form(values, rows)}")
    for (row, column), given in np.ndenumerate(rows):
        value = given.item() if isinstance(given, np.generic) else given
        is_number = isinstance(value, int | float) and not isinstance(value, bool)
        # the comparison refuses NaN, infinity, and integers too large for a float
        if not (is_number and abs(value) <= sys.float_info.max and accepted.holds(value)):
            raise UsageError(f"{name}[{row}][{column}] must be {accepted.words}, got {quoted(value)}")
    return rows.astype(np.float64)


def _planes(values: Any, name: str) -> dict[str, Any]:
    """Luma and chroma from a mapping as in the file, or from an array (2, 8, 8)."""
    if isinstance(values, Mapping):
        if set(values) != set(_PLANES):
            raise UsageError(f"{name} must have the keys luma and chroma, got {', '.join(map(str, values)) or 'none'}")
        return dict(values)
    pair = _objects(values)
    if pair.shape != (2, 8, 8):
        raise UsageError(f"{name} must be two 8 x 8 tables, luma and chroma, got {_form(values, pair)}")
    return dict(zip(_PLANES, pair, strict=True))


def _objects(values: Any) -> np.ndarray:
    """An array of Python objects, so that values are checked before any conversion."""
    try:
        return np.array(values, dtype=object)
    except ValueError:  # rows of different depth
        return np.empty(0, dtype=object)


def _form(values: object, array: np.ndarray) -> str:
    return f"shape {array.shape}" if array.shape else "nothing" if values is None else quoted(values)


def _by_plane(pair: np.ndarray | None) -> TablePair | None:
    return None if pair is None else {"luma": pair[0].tolist(), "chroma": pair[1].tolist()}
