"""Yearly cost against hand calculations."""

from __future__ import annotations

import math
from dataclasses import replace

import pytest

from toolkit.foundation.errors import UsageError
from toolkit.report.cost import Coding, Fleet, Prices, cost_sensitivity, saved_with, yearly

FLEET = Fleet(devices=10, images_a_day=100, retention_days=30, copies=2, inferences_a_day=1000)
PRICES = Prices(storage=0.02, transfer=0.1, core_hour=0.05, error=0.01)
CODING = Coding(before_bytes=1_000_000, after_bytes=100_000, encode_us=300, decode_us=60, accuracy_change=-0.5)


def test_a_year_agrees_with_a_hand_calculation() -> None:
    year = yearly(FLEET, PRICES, CODING)
    assert (year.stored_before, year.stored_after) == (60e9, 6e9)  # 10 x 100 x 30 x 2 = 60,000 images
    assert (year.sent_before, year.sent_after) == (365e9, 36.5e9)
    assert year.storage_saved == pytest.approx(54 * 0.02 * 12)
    assert year.transfer_saved == pytest.approx(328.5 * 0.1)
    assert year.coding_cost == pytest.approx(365_000 * 300e-6 / 3600 * 0.05)
    assert year.accuracy_value == pytest.approx(-0.005 * 3_650_000 * 0.01)
    together = year.storage_saved + year.transfer_saved - year.coding_cost + year.accuracy_value
    assert year.saved == pytest.approx(together)


def test_coding_at_inference_costs_time_for_every_image_classified() -> None:
    alone, both = (yearly(FLEET, PRICES, replace(CODING, at_inference=which)).coding_cost for which in (False, True))
    assert both - alone == pytest.approx(3_650_000 * 360e-6 / 3600 * 0.05)


def test_nothing_is_saved_at_the_break_even_price_of_an_error() -> None:
    price = yearly(FLEET, PRICES, CODING).break_even_error
    assert price is not None
    assert yearly(FLEET, replace(PRICES, error=price), CODING).saved == pytest.approx(0, abs=1e-9)
    assert price == pytest.approx((54 * 0.24 + 32.85 - 365_000 * 300e-6 / 3600 * 0.05) / 18_250)


def test_there_is_no_break_even_if_both_improve() -> None:
    assert yearly(FLEET, PRICES, replace(CODING, accuracy_change=2.0)).break_even_error is None
    assert yearly(FLEET, PRICES, replace(CODING, accuracy_change=0.0)).break_even_error is None


def test_a_setting_that_costs_bytes_but_gains_accuracy_breaks_even_too() -> None:
    larger = replace(CODING, after_bytes=2_000_000, accuracy_change=1.0)
    price = yearly(FLEET, PRICES, larger).break_even_error
    assert price is not None
    assert yearly(FLEET, replace(PRICES, error=price), larger).saved == pytest.approx(0, abs=1e-9)


def test_break_even_points_of_accuracy() -> None:
    points = yearly(FLEET, PRICES, CODING).break_even_points
    assert points is not None
    assert yearly(FLEET, PRICES, replace(CODING, accuracy_change=-points)).saved == pytest.approx(0, abs=1e-9)
    assert yearly(FLEET, replace(PRICES, error=0), CODING).break_even_points is None


def test_nothing_changes_without_images() -> None:
    year = yearly(replace(FLEET, devices=0), PRICES, CODING)
    assert year.saved == 0
    assert year.break_even_error is None


def test_sensitivity_is_a_year_with_one_input_changed() -> None:
    rows = {row["input"]: row for row in cost_sensitivity(FLEET, PRICES, CODING, factor=3.0)}
    assert rows["storage"]["high"] == pytest.approx(yearly(FLEET, replace(PRICES, storage=0.06), CODING).saved)
    assert rows["after_bytes"]["low"] == pytest.approx(
        yearly(FLEET, PRICES, replace(CODING, after_bytes=100_000 / 3)).saved
    )
    spans = [abs(row["high"] - row["low"]) for row in cost_sensitivity(FLEET, PRICES, CODING)]
    assert spans == sorted(spans, reverse=True)
    assert "at_inference" not in rows


def test_inputs_can_be_multiplied_together() -> None:
    changed = saved_with(FLEET, PRICES, CODING, {"storage": 2.0, "images_a_day": 0.5, "after_bytes": 3.0})
    expected = yearly(
        replace(FLEET, images_a_day=FLEET.images_a_day / 2),
        replace(PRICES, storage=2 * PRICES.storage),
        replace(CODING, after_bytes=3 * CODING.after_bytes),
    )
    assert changed == pytest.approx(expected.saved)
    assert saved_with(FLEET, PRICES, CODING, {}) == yearly(FLEET, PRICES, CODING).saved


@pytest.mark.parametrize(
    ("make", "message"),
    [
        (lambda: Fleet(devices=-1), "devices must be a finite number of at least 0, got -1"),
        (lambda: Prices(storage=math.nan), "storage must be a finite number of at least 0, got nan"),
        (lambda: Coding(1, math.inf), "after bytes must be a finite number of at least 0, got inf"),
        (lambda: Coding(1, 1, accuracy_change=math.nan), "accuracy change must be finite, got nan"),
        (lambda: cost_sensitivity(FLEET, PRICES, CODING, 1.0), "the factor must be above 1, got 1"),
    ],
)
def test_impossible_amounts_are_refused(make: object, message: str) -> None:
    with pytest.raises(UsageError, match=message):
        make()  # type: ignore[operator]
