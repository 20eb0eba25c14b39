"""Names are printed as plain text whatever they contain, and spreadsheets treat CSV cells as text."""

from __future__ import annotations

import csv
import io
import json
from pathlib import Path

import pytest
from cli_samples import call
from hostile_names import FOLDER, NAMES, hostile_dataset

from toolkit.cli import console
from toolkit.report.tables import csv_text

AS_PRINTED = {"\x1b[31mred": "\\x1b[31mred", "x\u202ey": "x\\u202ey"}


@pytest.fixture(autouse=True)
def wide(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("COLUMNS", "400")


def test_tables_titles_headers_and_sentences_are_text(capsys: pytest.CaptureFixture[str]) -> None:
    console.table(str(FOLDER), [{"name": name, name: 1} for name in NAMES[:1]], to_stderr=False)
    console.table("cells", [{"name": name} for name in NAMES], to_stderr=True)
    console.lines([*NAMES, str(FOLDER)], to_stderr=False)
    console.stderr.print(str(FOLDER), markup=True, soft_wrap=True)
    said = capsys.readouterr()
    assert said.out.count(str(FOLDER)) == 2
    assert str(FOLDER) in said.err
    for name in NAMES:
        printed = AS_PRINTED.get(name, name)
        assert printed in said.out.splitlines()
        assert any(line.strip("│┃ ") == printed for line in said.err.splitlines()), name
    assert "\x1b" not in said.out + said.err
    assert any(line.split() == ["┃", "name", "┃", NAMES[0], "┃"] for line in said.out.splitlines())


def test_a_progress_bar_shows_names_unchanged(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(console, "stderr", console.PlainConsole(stderr=True, force_terminal=True, width=200))
    with console.progress_bar() as show:
        show(f"opening {FOLDER} {NAMES[0]}", 1, 2)
    assert f"opening {FOLDER} [large]" in capsys.readouterr().err


def test_commands_on_a_hostile_dataset(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    root = hostile_dataset(tmp_path)
    status, out, err = call(capsys, "data", root, "--size", 16, "--json", tmp_path / "facts.json")
    assert status == 0, err
    assert str(FOLDER) in out
    facts = json.loads((tmp_path / "facts.json").read_text())
    assert {row["class"] for row in facts["classes"]} == {AS_PRINTED.get(name, name) for name in NAMES}
    cells = {line.split("│")[1].strip() for line in out.splitlines() if line.startswith("│")}
    assert cells == {AS_PRINTED.get(name, name) for name in NAMES}
    assert "[large]/:dog: [i]torn.png: not an image" in err


def test_an_error_shows_a_path_unchanged(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, _, err = call(capsys, "data", tmp_path / "no" / FOLDER / "\x1b]0;title\x07")
    assert status == 2
    assert str(FOLDER) in err
    assert "\\x1b]0;title\\x07" in err
    assert "\x1b" not in err


@pytest.mark.parametrize(
    ("value", "cell"),
    [
        ("=1+1", "'=1+1"),
        ("+1-1", "'+1-1"),
        ("-2+3", "'-2+3"),
        ("@SUM(A1)", "'@SUM(A1)"),
        ("\t=1", "'\t=1"),
        ("\r=1", "'\r=1"),
        ("＝1", "'＝1"),
        ("-inf", "'-inf"),
        (-0.5, "-0.5"),
        (-3, "-3"),
        ("-0.5", "-0.5"),
        ("+1e-3", "+1e-3"),
        (None, ""),
        (True, "True"),
        ("a=b", "a=b"),
        (Path("-x"), "'-x"),
    ],
)
def test_a_cell_is_never_a_formula_and_numbers_stay_numbers(value: object, cell: str) -> None:
    header, row = csv.reader(io.StringIO(csv_text([{"=name": "x", "value": value}]), newline=""))
    assert header == ["'=name", "value"]
    assert row == ["x", cell]


def test_every_name_in_a_commands_csv_is_text(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, err = call(capsys, "data", hostile_dataset(tmp_path), "--size", 16, "--csv", "-")
    assert status == 0, err
    cells = [row["class"] for row in csv.DictReader(io.StringIO(out, newline=""))]
    assert {cell.removeprefix("'") for cell in cells} == {AS_PRINTED.get(name, name) for name in NAMES}
    assert not [cell for cell in cells if cell[0] in "=+-@"]
    assert {cell for cell in cells if cell.startswith("'")} == {"'=1+1", "'-2+3", "'@SUM(A1)"}
