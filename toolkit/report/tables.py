"""Rows as text, for downloads."""

from __future__ import annotations

import csv
import io
import json
from collections.abc import Mapping, Sequence
from typing import Any


def csv_text(rows: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> str:
    """Rows as CSV with a header; a row without some column leaves it empty.

    Args:
        rows: cells by column.
        first: columns to begin with, where there are such; the others follow in the rows' order.
    """
    text = io.StringIO()
    found = dict.fromkeys(name for row in rows for name in row)
    names = [*(name for name in first if name in found), *(name for name in found if name not in first)]
    writer = csv.DictWriter(text, names)
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue()


def json_text(value: Any) -> str:
    """Indented JSON."""
    return json.dumps(value, indent=2, allow_nan=False) + "\n"
