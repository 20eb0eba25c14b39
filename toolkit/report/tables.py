"""Rows as text, for downloads."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence

from toolkit.advice.contents import RulePick
from toolkit.probe.contents import Setting

_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""Beginnings of cells that a spreadsheet would calculate, full-width forms included; it skips tabs and line ends."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def columns(row: Mapping[str, object], names: Sequence[str]) -> dict[str, object]:
    """Some columns of a row; None for a column that a row from before it was measured lacks."""
    return {name: row.get(name) for name in names}


def csv_cell(value: object) -> object:
    """A cell that spreadsheets show but never calculate: an apostrophe goes before text that would begin a formula.

    Numbers stay numbers, also as text such as ``-0.5``.
    """
    if value is None or isinstance(value, (int, float)):
        return value
    text = str(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def csv_text(rows: Sequence[Mapping[str, object]], first: Sequence[str] = ()) -> str:
    """Rows as CSV with a header and cells from :func:`csv_cell`; missing columns of a row are empty.

    Args:
        rows: cells by column.
        first: columns to put first if they exist; the others follow in the order of the rows.
    """
    text = io.StringIO()
    found = dict.fromkeys(name for row in rows for name in row)
    names = [*(name for name in first if name in found), *(name for name in found if name not in first)]
    writer = csv.writer(text)
    writer.writerow([csv_cell(name) for name in names])
    writer.writerows([csv_cell(row.get(name, "")) for name in names] for row in rows)
    return text.getvalue()


def json_text(value: object) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


class ProbeRow(Setting):
    """A setting with two more columns.

    ``header_tax`` is the share of an ordinary file that need not be stored per image. ``probe_accuracy`` is the score
    of that rule at the best alignment, None without advice.
    """

    header_tax: float
    probe_accuracy: float | None


def probe_rows(settings: Sequence[Setting], rules: Sequence[RulePick] = ()) -> list[ProbeRow]:
    """The settings of a ``probe`` or ``advise`` JSON as rows of a table; ``rules`` are those of advice."""
    accuracy: dict[str, float] = {}
    for rule in rules:
        for one in rule["scores"] if rule["rule"] == "probe-accuracy" else ():
            if one["score"] is not None:
                accuracy[one["codec"]] = max(one["score"], accuracy.get(one["codec"], one["score"]))
    return [
        {
            **setting,
            "header_tax": max(0.0, 1 - setting["stored_bytes"] / setting["file_bytes"]),
            "probe_accuracy": accuracy.get(setting["codec"]),
        }
        for setting in settings
    ]
