"""Table files: writing, reading, refusals and digests."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from toolkit.codecs.jpeg_tables import QuantisationTables, integer_tables, read_tables, write_tables
from toolkit.foundation.errors import UsageError, WorkError

LUMA = np.arange(64).reshape(8, 8) + 1
CHROMA = 255 - np.arange(64).reshape(8, 8)
PAIR = np.stack([np.arange(64).reshape(8, 8) / 64 + 0.5, np.full((8, 8), 0.75)])


def content(**changes: Any) -> dict[str, Any]:
    """A table file's JSON."""
    return {
        "format": "recallrate-jpeg-tables",
        "version": 1,
        "luma": LUMA.tolist(),
        "chroma": CHROMA.tolist(),
        "dead_zone": None,
        "alpha": None,
        "trained": {},
    } | changes


def changed(value: object, row: int = 2, column: int = 3) -> list[list[object]]:
    """The luma table with one value replaced."""
    table: list[list[object]] = LUMA.tolist()
    table[row][column] = value
    return table


def written(folder: Path, value: object) -> Path:
    path = folder / "tables.json"
    path.write_text(json.dumps(value))
    return path


def test_a_file_written_by_hand_is_read_in_natural_order(tmp_path: Path) -> None:
    both = {"luma": PAIR[0].tolist(), "chroma": PAIR[1].tolist()}
    tables = read_tables(written(tmp_path, content(dead_zone=both, alpha=both, trained={"run": "r1"})))
    np.testing.assert_array_equal(tables.luma, LUMA)
    np.testing.assert_array_equal(tables.steps, [LUMA, CHROMA])
    assert tables.luma.dtype == tables.chroma.dtype == tables.steps.dtype == np.int64
    for pair in (tables.dead_zone, tables.alpha):
        assert pair is not None
        assert pair.dtype == np.float64
        np.testing.assert_array_equal(pair, PAIR)
    assert tables.trained == {"run": "r1"}


def test_writing_gives_the_documented_json_and_reads_back_exactly(tmp_path: Path) -> None:
    path = tmp_path / "new folder" / "tables.json"
    alpha = np.random.default_rng(0).uniform(1e-9, 1e9, (2, 8, 8))
    tables = QuantisationTables(LUMA, CHROMA, PAIR, alpha, {"epochs": 3, "loss": [1.5]})
    write_tables(path, tables)
    as_pair = [{"luma": pair[0].tolist(), "chroma": pair[1].tolist()} for pair in (PAIR, alpha)]
    assert json.loads(path.read_text()) == content(
        dead_zone=as_pair[0], alpha=as_pair[1], trained={"epochs": 3, "loss": [1.5]}
    )
    again = read_tables(path)
    assert again.digest == tables.digest
    np.testing.assert_array_equal(again.alpha, alpha)
    write_tables(path, QuantisationTables(LUMA, CHROMA))
    assert json.loads(path.read_text()) == content()


def test_the_optional_keys_may_be_left_out(tmp_path: Path) -> None:
    short = {key: value for key, value in content().items() if key not in ("dead_zone", "alpha", "trained")}
    tables = read_tables(written(tmp_path, short))
    assert (tables.dead_zone, tables.alpha, tables.trained) == (None, None, {})


@pytest.mark.parametrize(
    ("luma", "told"),
    [
        (changed(0), [r"luma[2][3] must be a whole number 1..255, got 0"]),
        (changed(-4), ["luma[2][3]", "got -4"]),
        (changed(256), ["1..255", "got 256"]),
        (changed(10**400), ["1..255", "got 1000000"]),
        (changed(3.5), ["a whole number", "got 3.5"]),
        (changed(float("nan")), ["1..255", "got nan"]),
        (changed(float("inf")), ["1..255", "got inf"]),
        (changed("16"), ["1..255", "got '16'"]),
        (changed(True), ["1..255", "got True"]),
        (changed(None), ["1..255", "got None"]),
        (changed([1, 2]), ["luma"]),
        (LUMA.tolist()[:7], ["8 x 8", "shape (7, 8)"]),
        (LUMA.ravel().tolist(), ["8 x 8", "shape (64,)"]),
        ([*LUMA.tolist()[:7], [1]], ["8 x 8"]),
        ([LUMA.tolist()], ["8 x 8", "shape (1, 8, 8)"]),
        (None, ["8 x 8", "got nothing"]),
        (16, ["8 x 8", "got 16"]),
        ({"a": 1}, ["8 x 8", "got {'a': 1}"]),
    ],
)
def test_an_invalid_table_is_refused_with_what_is_accepted(tmp_path: Path, luma: object, told: list[str]) -> None:
    path = written(tmp_path, content(luma=luma))
    with pytest.raises(UsageError) as refusal:
        read_tables(path)
    for words in [str(path), *told]:
        assert words in str(refusal.value)
    assert "\n" not in str(refusal.value)
    with pytest.raises(UsageError, match="luma"):
        QuantisationTables(luma, CHROMA)  # type: ignore[arg-type]
    with pytest.raises(UsageError, match="chroma"):
        QuantisationTables(LUMA, luma)  # type: ignore[arg-type]


@pytest.mark.parametrize("luma", [LUMA.astype(np.uint8), LUMA.astype(np.float32), changed(3.0), LUMA.tolist()])
def test_whole_numbers_of_any_type_are_steps(luma: Any) -> None:
    assert QuantisationTables(luma, CHROMA).luma.dtype == np.int64
    assert QuantisationTables(luma, CHROMA).luma[2, 3] in (3, 20)


@pytest.mark.parametrize(
    ("key", "value", "told"),
    [
        ("dead_zone", 0.49, "dead_zone.chroma[1][6] must be 0.5..2, got 0.49"),
        ("dead_zone", 2.01, "0.5..2, got 2.01"),
        ("dead_zone", float("nan"), "0.5..2, got nan"),
        ("dead_zone", "1", "0.5..2, got '1'"),
        ("alpha", 0, "alpha.chroma[1][6] must be a finite number above 0, got 0"),
        ("alpha", -1.5, "above 0, got -1.5"),
        ("alpha", float("inf"), "finite number above 0, got inf"),
        ("alpha", float("nan"), "got nan"),
        ("alpha", 10**400, "got 1000000"),
        ("alpha", False, "got False"),
    ],
)
def test_a_threshold_or_a_sharpness_out_of_range_is_refused(tmp_path: Path, key: str, value: Any, told: str) -> None:
    chroma: list[list[Any]] = PAIR[1].tolist()
    chroma[1][6] = value
    with pytest.raises(UsageError) as refusal:
        read_tables(written(tmp_path, content(**{key: {"luma": PAIR[0].tolist(), "chroma": chroma}})))
    assert told in str(refusal.value)


@pytest.mark.parametrize("key", ["dead_zone", "alpha"])
@pytest.mark.parametrize(
    "value",
    [
        1,
        [],
        PAIR[0].tolist(),
        {"luma": PAIR[0].tolist()},
        {},
        {"luma": [], "chroma": []},
        {"luma": PAIR[0].tolist(), "chroma": PAIR[1].tolist(), "alpha": 1},
    ],
)
def test_a_pair_of_another_form_is_refused(tmp_path: Path, key: str, value: Any) -> None:
    with pytest.raises(UsageError, match=rf"{key}.*(8 x 8|keys luma and chroma)"):
        read_tables(written(tmp_path, content(**{key: value})))


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (content(format="other"), "format must be 'recallrate-jpeg-tables', got 'other'"),
        ({"luma": LUMA.tolist()}, "got None"),
        ([1, 2], "got 'list'"),
        (content(version=2), "newer version of Recall Rate (version 2, this version reads up to 1)"),
        (content(version=0), "version must be 1, got 0"),
        (content(version="1"), "version must be 1, got '1'"),
        (content(version=None), "version must be 1, got None"),
        (content(deadzone=None), "no key 'deadzone': its keys are format, version, luma"),
        (content(trained=[1]), "trained must be a JSON object, got list"),
    ],
)
def test_a_file_of_another_format_or_version_is_refused(tmp_path: Path, value: object, told: str) -> None:
    path = written(tmp_path, value)
    with pytest.raises(UsageError) as refusal:
        read_tables(path)
    assert told in str(refusal.value)
    assert str(path) in str(refusal.value)


@pytest.mark.parametrize("data", [b"", b"{", b"\xff\xd8\xff\xe0", b"[" * 100_000], ids=["empty", "cut", "jpeg", "deep"])
def test_a_file_that_is_not_json_is_refused(tmp_path: Path, data: bytes) -> None:
    path = tmp_path / "tables.json"
    path.write_bytes(data)
    with pytest.raises(UsageError, match=r"tables\.json is not a table file"):
        read_tables(path)


def test_a_missing_file_or_a_folder_is_refused_by_name(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match=r"cannot read the quantisation tables .*none\.json: No such file"):
        read_tables(tmp_path / "none.json")
    with pytest.raises(UsageError, match="cannot read the quantisation tables"):
        read_tables(tmp_path)


@pytest.mark.parametrize("trained", [{"loss": float("nan")}, {"path": Path()}])
def test_values_outside_json_are_refused_and_the_old_file_stays(tmp_path: Path, trained: dict[str, object]) -> None:
    path = written(tmp_path, content())
    with pytest.raises(UsageError, match="trained must be JSON"):
        write_tables(path, QuantisationTables(LUMA, CHROMA, trained=trained))
    assert json.loads(path.read_text()) == content()


def test_a_file_that_cannot_be_written_is_a_work_error(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(WorkError, match="cannot write"):
        write_tables(tmp_path / "file" / "tables.json", QuantisationTables(LUMA, CHROMA))


def test_the_digest_changes_with_any_number_and_with_nothing_else() -> None:
    tables = [
        QuantisationTables(LUMA, CHROMA),
        QuantisationTables(CHROMA, LUMA),
        QuantisationTables(LUMA.T, CHROMA),
        QuantisationTables(changed(21), CHROMA),  # type: ignore[arg-type]
        QuantisationTables(LUMA, CHROMA, PAIR),
        QuantisationTables(LUMA, CHROMA, np.nextafter(PAIR, 1)),
        QuantisationTables(LUMA, CHROMA, alpha=PAIR),
        QuantisationTables(LUMA, CHROMA, PAIR, PAIR),
    ]
    assert len({one.digest for one in tables}) == len(tables)
    assert QuantisationTables(LUMA.astype(np.uint8), CHROMA.tolist(), trained={"a": 1}).digest == tables[0].digest


def test_the_digest_equals_that_in_existing_memories_and_runs() -> None:
    assert QuantisationTables(LUMA, CHROMA).digest == "7205d2b4"
    assert QuantisationTables(LUMA, CHROMA, PAIR, PAIR).digest == "9a0c4e34"


def test_trained_steps_are_rounded_and_never_zero() -> None:
    steps = np.full((2, 8, 8), 7.4)
    steps[0, 0, :6] = [1e-6, 0.3, 0.5, 0.51, 254.6, 255.0]
    steps[1, 3, 4] = 7.6
    integers = integer_tables(steps)
    assert integers.dtype == np.int64
    assert integers[0, 0].tolist() == [1, 1, 1, 1, 255, 255, 7, 7]
    assert integers[1, 3, 4] == 8
    assert QuantisationTables(*integers).luma[0, 4] == 255


@pytest.mark.parametrize("value", [0.0, -0.1, 255.1, np.nan, np.inf, -np.inf])
def test_trained_steps_out_of_range_are_refused(value: float) -> None:
    steps = np.full((2, 8, 8), 7.4, np.float32)
    steps[1, 2, 3] = value
    with pytest.raises(UsageError, match=r"steps\.chroma\[2\]\[3\] must be above 0 and at most 255, got "):
        integer_tables(steps)


@pytest.mark.parametrize("shape", [(8, 8), (3, 8, 8), (2, 64), (2, 8, 8, 1)])
def test_trained_steps_of_another_shape_are_refused(shape: tuple[int, ...]) -> None:
    with pytest.raises(UsageError, match=r"steps must be two 8 x 8 tables"):
        integer_tables(np.ones(shape))
