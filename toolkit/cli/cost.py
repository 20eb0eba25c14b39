"""``cost``."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from toolkit.cli import console
from toolkit.cli.options import CsvTo, JsonTo
from toolkit.cli.requests import options_of, part_of
from toolkit.report.cost import Coding, Fleet, Prices, cost_result, yearly


@options_of(Coding, Fleet, Prices, first="")
def cost(chosen: dict[str, Any], json: JsonTo = None, csv: CsvTo = None) -> None:
    """Compute what a codec saves per year against the value of a change in accuracy, with a sensitivity analysis."""
    fleet, prices, coding = part_of(Fleet, chosen), part_of(Prices, chosen), part_of(Coding, chosen)
    year, result = yearly(fleet, prices, coding), cost_result(fleet, prices, coding)
    to_stderr = "-" in (json, csv)
    facts = [{"per year": field.name.replace("_", " "), "amount": getattr(year, field.name)} for field in fields(year)]
    console.table("Bytes and money per year, with and without the codec", facts, to_stderr=to_stderr)
    rows = result["sensitivity"]
    shown = [{"input": row["input"].replace("_", " "), "halved": row["low"], "doubled": row["high"]} for row in rows]
    console.table("Savings if one input is halved or doubled", shown, to_stderr=to_stderr)
    console.emit(result, json, rows, csv)
