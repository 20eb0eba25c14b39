"""Rows as text, for downloads."""

from __future__ import annotations

import csv
import io
import json
import re
from collections.abc import Mapping, Sequence
from typing import Any

_FORMULA = re.compile(r"[=+\-@\t\r\n\uff1d\uff0b\uff0d\uff20]")
"""What a cell begins with that a spreadsheet would calculate, in full width too; a tab or line end is skipped first."""
_NUMBER = re.compile(r"[+-]?(\d+\.?\d*|\.\d+)([eE][+-]?\d+)?")


def csv_cell(value: Any) -> Any:
    """A cell that spreadsheets show and never calculate: text that would begin a formula gets an apostrophe before it.

    Numbers stay numbers, written ones such as ``-0.5`` as well.
    """
    if value is None or isinstance(value, (int, float)):
        return value
    text = str(value)
    return f"'{text}" if _FORMULA.match(text) and not _NUMBER.fullmatch(text) else text


def csv_text(rows: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> str:
    """Rows as CSV with a header, cells as :func:`csv_cell` gives them; a row without some column leaves it empty.

    Args:
        rows: cells by column.
        first: columns to begin with, where there are such; the others follow in the rows' order.
    """
    text = io.StringIO()
    found = dict.fromkeys(name for row in rows for name in row)
    names = [*(name for name in first if name in found), *(name for name in found if name not in first)]
    writer = csv.writer(text)
    writer.writerow([csv_cell(name) for name in names])
    writer.writerows([csv_cell(row.get(name, "")) for name in names] for row in rows)
    return text.getvalue()


def json_text(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"


def probe_rows(result: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The settings of a ``probe`` or ``advise`` JSON with two more columns.

    ``header_tax`` is the share of an ordinary file that need not be stored for every image. ``probe_accuracy`` is the
    rule's score at the best alignment, None without advice.
    """
    accuracy: dict[str, float] = {}
    for rule in result.get("rules", ()):
        for one in rule["scores"] if rule["rule"] == "probe-accuracy" else ():
            if one["score"] is not None:
                accuracy[one["codec"]] = max(one["score"], accuracy.get(one["codec"], one["score"]))
    return [
        setting
        | {
            "header_tax": 1 - setting["stored_bytes"] / setting["file_bytes"],
            "probe_accuracy": accuracy.get(setting["codec"]),
        }
        for setting in result["settings"]
    ]
