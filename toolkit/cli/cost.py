"""``cost``."""

from __future__ import annotations

from dataclasses import fields
from typing import Annotated

import typer

from toolkit.cli import console
from toolkit.cli.options import CsvTo, JsonTo
from toolkit.report.cost import Coding, Fleet, Prices, cost_result, yearly


def cost(
    before: Annotated[float, typer.Option(help="bytes per image without the codec")],
    after: Annotated[float, typer.Option(help="bytes per image with the codec, as the probe shows")],
    encode_us: Annotated[float, typer.Option(help="microseconds to encode an image on one core")] = 0.0,
    decode_us: Annotated[float, typer.Option(help="microseconds to decode an image on one core")] = 0.0,
    at_inference: Annotated[bool, typer.Option("--at-inference", help="code incoming images too")] = False,
    accuracy_change: Annotated[float, typer.Option(help="change in accuracy in points; positive if better")] = 0.0,
    devices: Annotated[float, typer.Option(help="number of devices that take images")] = Fleet.devices,
    images_a_day: Annotated[float, typer.Option(help="images kept per device and day")] = Fleet.images_a_day,
    retention_days: Annotated[float, typer.Option(help="days until an image is deleted")] = Fleet.retention_days,
    copies: Annotated[float, typer.Option(help="copies of each image, including backups")] = Fleet.copies,
    inferences_a_day: Annotated[float, typer.Option(help="classified per device and day")] = Fleet.inferences_a_day,
    storage: Annotated[float, typer.Option(help="price per gigabyte and month")] = Prices.storage,
    transfer: Annotated[float, typer.Option(help="price per gigabyte moved")] = Prices.transfer,
    core_hour: Annotated[float, typer.Option(help="price per hour of a processor core")] = Prices.core_hour,
    error: Annotated[float, typer.Option(help="price of one wrong classification")] = Prices.error,
    json: JsonTo = None,
    csv: CsvTo = None,
) -> None:
    """Compute what a codec saves per year against the value of a change in accuracy, with a sensitivity analysis."""
    fleet = Fleet(devices, images_a_day, retention_days, copies, inferences_a_day)
    prices = Prices(storage, transfer, core_hour, error)
    coding = Coding(before, after, encode_us, decode_us, at_inference, accuracy_change)
    year, result = yearly(fleet, prices, coding), cost_result(fleet, prices, coding)
    to_stderr = "-" in (json, csv)
    facts = [{"per year": field.name.replace("_", " "), "amount": getattr(year, field.name)} for field in fields(year)]
    console.table("Bytes and money per year, with and without the codec", facts, to_stderr=to_stderr)
    rows = result["sensitivity"]
    shown = [{"input": row["input"].replace("_", " "), "halved": row["low"], "doubled": row["high"]} for row in rows]
    console.table("Savings if one input is halved or doubled", shown, to_stderr=to_stderr)
    console.emit(result, json, rows, csv)
