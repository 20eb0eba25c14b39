"""``cost`` as used by scripts."""

from __future__ import annotations

import csv
import json
from dataclasses import asdict
from pathlib import Path

import pytest
from cli_samples import call

from toolkit.report.cost import Coding, Fleet, Prices, yearly


def test_cost_prints_a_year_and_writes_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = call(
        capsys,
        "cost",
        "--before",
        12288,
        "--after",
        210,
        "--encode-us",
        100,
        "--at-inference",
        "--accuracy-change",
        -0.5,
        "--devices",
        50,
        "--error",
        0.001,
        "--json",
        tmp_path / "c.json",
        "--csv",
        tmp_path / "c.csv",
    )
    assert status == 0
    assert "break even error" in out
    assert "images a day" in out
    found = json.loads((tmp_path / "c.json").read_text())
    year = yearly(Fleet(devices=50), Prices(error=0.001), Coding(12288, 210, 100, 0, True, -0.5))
    assert {key: found[key] for key in asdict(year)} == asdict(year)
    with open(tmp_path / "c.csv") as file:
        assert [row["input"] for row in csv.DictReader(file)] == [row["input"] for row in found["sensitivity"]]


def test_a_negative_price_is_refused_in_one_line(capsys: pytest.CaptureFixture[str]) -> None:
    status, _, err = call(capsys, "cost", "--before", 10, "--after", 1, "--storage", -1)
    assert status == 2
    assert err.strip().endswith("storage must be a finite number of at least 0, got -1")
