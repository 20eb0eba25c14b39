"""Yearly savings of compression: pure arithmetic on bytes, images, prices and a measured change in accuracy.

A gigabyte is 10^9 bytes, a year has 365 days, a month is a twelfth of a year, and money has the currency of the prices.
Storage is counted in the steady state, when as many images expire as arrive.
"""

from __future__ import annotations

import math
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields, replace
from typing import Annotated, Any, TypedDict, cast

from pydantic import Field

from toolkit.foundation.errors import UsageError
from toolkit.foundation.validation import described_fields

GIGABYTE = 1e9
DAYS = 365
MONTHS = 12


@dataclass(frozen=True)
class Fleet:
    """The devices that keep images, and how many they keep.

    Raises:
        UsageError: a number is negative or not finite.
    """

    devices: Annotated[float, Field(description="number of devices that take images")] = 1.0
    images_a_day: Annotated[float, Field(description="images kept per device and day")] = 1000.0
    retention_days: Annotated[float, Field(description="days until an image is deleted")] = 365.0
    copies: Annotated[float, Field(description="copies of each image in storage, including backups")] = 1.0
    inferences_a_day: Annotated[float, Field(description="images classified per device and day, kept or not")] = 1000.0

    def __post_init__(self) -> None:
        _require_amounts(self)

    @property
    def images_kept(self) -> float:
        """Images in storage in the steady state, counting every copy."""
        return self.devices * self.images_a_day * self.retention_days * self.copies

    @property
    def images_a_year(self) -> float:
        """Images that arrive per year."""
        return self.devices * self.images_a_day * DAYS

    @property
    def inferences_a_year(self) -> float:
        """Images classified per year."""
        return self.devices * self.inferences_a_day * DAYS


@dataclass(frozen=True)
class Prices:
    """Prices, in any one currency.

    Raises:
        UsageError: a number is negative or not finite.
    """

    storage: Annotated[float, Field(description="price per gigabyte and month")] = 0.023
    transfer: Annotated[float, Field(description="price per gigabyte moved from a device to storage")] = 0.05
    core_hour: Annotated[float, Field(description="price per hour of a processor core")] = 0.04
    error: Annotated[float, Field(description="price of one wrong classification")] = 0.0

    def __post_init__(self) -> None:
        _require_amounts(self)


@dataclass(frozen=True)
class Coding:
    """One codec setting, compared with storage without it.

    Raises:
        UsageError: a size or time is negative, or a number is not finite.
    """

    before_bytes: Annotated[
        float,
        Field(
            description="bytes per image without the codec: raw pixels or the original file",
            json_schema_extra={"option": "before"},
        ),
    ]
    after_bytes: Annotated[
        float,
        Field(
            description="bytes per image with the codec, as the probe shows",
            json_schema_extra={"option": "after"},
        ),
    ]
    encode_us: Annotated[float, Field(description="microseconds to encode an image on one core")] = 0.0
    decode_us: Annotated[float, Field(description="microseconds to decode an image on one core")] = 0.0
    at_inference: Annotated[bool, Field(description="code incoming images too, as with --align both")] = False
    accuracy_change: Annotated[float, Field(description="change in accuracy in points; positive if better")] = 0.0

    def __post_init__(self) -> None:
        _require_amounts(self, signed=("accuracy_change",))


@dataclass(frozen=True)
class Year:
    """Yearly effect of a setting; money saved is positive.

    Attributes:
        stored_before, stored_after: bytes in storage, steady state.
        sent_before, sent_after: bytes moved in the year.
        storage_saved, transfer_saved: money.
        coding_cost: money for encoding the kept images, and for coding the classified ones with ``at_inference``.
        accuracy_value: money that the change in accuracy is worth; negative if it costs.
        saved: total of these.
        break_even_error: price of a wrong classification at which savings reach zero; None if there is no such price.
        break_even_points: loss of accuracy in points at which savings reach zero; None if errors cost nothing.
    """

    stored_before: float
    stored_after: float
    sent_before: float
    sent_after: float
    storage_saved: float
    transfer_saved: float
    coding_cost: float
    accuracy_value: float
    saved: float
    break_even_error: float | None
    break_even_points: float | None


class FleetContents(TypedDict):
    """A :class:`Fleet` as JSON."""

    devices: float
    images_a_day: float
    retention_days: float
    copies: float
    inferences_a_day: float


class PricesContents(TypedDict):
    """:class:`Prices` as JSON."""

    storage: float
    transfer: float
    core_hour: float
    error: float


class CodingContents(TypedDict):
    """A :class:`Coding` as JSON."""

    before_bytes: float
    after_bytes: float
    encode_us: float
    decode_us: float
    at_inference: bool
    accuracy_change: float


class SensitivityRow(TypedDict):
    """Yearly savings with one input divided (``low``) and multiplied (``high``) by the factor."""

    input: str
    low: float
    high: float


class CostResult(TypedDict):
    """The ``cost`` JSON: a :class:`Year`, its inputs, and their influence."""

    stored_before: float
    stored_after: float
    sent_before: float
    sent_after: float
    storage_saved: float
    transfer_saved: float
    coding_cost: float
    accuracy_value: float
    saved: float
    break_even_error: float | None
    break_even_points: float | None
    fleet: FleetContents
    prices: PricesContents
    coding: CodingContents
    sensitivity: list[SensitivityRow]


def cost_result(fleet: Fleet, prices: Prices, coding: Coding) -> CostResult:
    """The year of a setting, with the influence of each input."""
    parts = {"fleet": asdict(fleet), "prices": asdict(prices), "coding": asdict(coding)}
    year = asdict(yearly(fleet, prices, coding))
    return cast(CostResult, {**year, **parts, "sensitivity": cost_sensitivity(fleet, prices, coding)})


def cost_command(fleet: Fleet, prices: Prices, coding: Coding) -> str:
    """The equivalent ``recallrate cost`` command."""
    words = ["recallrate", "cost"]
    for part in (coding, fleet, prices):
        for field in described_fields(type(part)).values():
            value = getattr(part, field.name)
            if isinstance(value, bool):
                words += [f"--{field.option}"] * value
            else:
                words += [f"--{field.option}", f"{value:g}"]
    return shlex.join(words)


def yearly(fleet: Fleet, prices: Prices, coding: Coding) -> Year:
    """Compare a year with the setting to a year without it."""
    stored_before, stored_after = (fleet.images_kept * size for size in (coding.before_bytes, coding.after_bytes))
    sent_before, sent_after = (fleet.images_a_year * size for size in (coding.before_bytes, coding.after_bytes))
    storage_saved = (stored_before - stored_after) / GIGABYTE * prices.storage * MONTHS
    transfer_saved = (sent_before - sent_after) / GIGABYTE * prices.transfer
    microseconds = fleet.images_a_year * coding.encode_us
    if coding.at_inference:
        microseconds += fleet.inferences_a_year * (coding.encode_us + coding.decode_us)
    coding_cost = microseconds / 3.6e9 * prices.core_hour
    bytes_saved = storage_saved + transfer_saved - coding_cost
    a_point = fleet.inferences_a_year / 100 * prices.error
    accuracy_value = coding.accuracy_change * a_point
    return Year(
        stored_before,
        stored_after,
        sent_before,
        sent_after,
        storage_saved,
        transfer_saved,
        coding_cost,
        accuracy_value,
        bytes_saved + accuracy_value,
        _break_even_error(fleet, coding, bytes_saved),
        bytes_saved / a_point if a_point > 0 else None,
    )


def _break_even_error(fleet: Fleet, coding: Coding, bytes_saved: float) -> float | None:
    """Error price at which the value of bytes and of errors cancel; None unless one is a gain and the other a loss."""
    errors = -coding.accuracy_change / 100 * fleet.inferences_a_year  # more of them if accuracy falls
    if errors == 0 or (price := bytes_saved / errors) < 0:
        return None
    return price


def cost_sensitivity(fleet: Fleet, prices: Prices, coding: Coding, factor: float = 2.0) -> list[SensitivityRow]:
    """Savings when each input alone is divided and multiplied by a factor, the most influential input first.

    Raises:
        UsageError: the factor is not above 1.
    """
    if not (math.isfinite(factor) and factor > 1):
        raise UsageError(f"the factor must be above 1, got {factor:g}")
    rows: list[SensitivityRow] = []
    for part in (fleet, prices, coding):
        for field in fields(part):
            value = getattr(part, field.name)
            if isinstance(value, bool) or value == 0:
                continue
            low, high = (saved_with(fleet, prices, coding, {field.name: by}) for by in (1 / factor, factor))
            row: SensitivityRow = {"input": field.name, "low": low, "high": high}
            rows.append(row)
    return sorted(rows, key=lambda row: -abs(row["high"] - row["low"]))


def saved_with(fleet: Fleet, prices: Prices, coding: Coding, factors: Mapping[str, float]) -> float:
    """Yearly savings with some inputs multiplied.

    Args:
        fleet, prices, coding: the inputs.
        factors: by the name of the input, which is unique among the three.

    Raises:
        UsageError: a product is negative or not finite.
    """
    changed: list[Any] = [
        replace(
            part,
            **{
                field.name: getattr(part, field.name) * factors[field.name]
                for field in fields(part)
                if field.name in factors
            },
        )
        for part in (fleet, prices, coding)
    ]
    return yearly(*changed).saved


def _require_amounts(part: Fleet | Prices | Coding, signed: tuple[str, ...] = ()) -> None:
    for field in fields(part):
        value = getattr(part, field.name)
        if isinstance(value, bool):
            continue
        if not math.isfinite(value) or (value < 0 and field.name not in signed):
            what = "finite" if field.name in signed else "a finite number of at least 0"
            raise UsageError(f"{field.name.replace('_', ' ')} must be {what}, got {value:g}")
