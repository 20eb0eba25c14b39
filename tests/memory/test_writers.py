"""Several processes open one memory: each change starts from the current contents of the file."""

from __future__ import annotations

import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from memory_samples import SIZE, pictures

from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory import database
from toolkit.memory.disk import fixed_bytes, prefix_bytes
from toolkit.memory.store import ExemplarMemory

BUDGET = 20_000
RAW = 3 * SIZE * SIZE


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "m.recall"


@pytest.fixture
def pair(path: Path) -> Iterator[tuple[ExemplarMemory, ExemplarMemory]]:
    """Two objects on one file with class 0, as in two processes."""
    with ExemplarMemory(path, BUDGET, "raw") as first:
        first.add_images({0: pictures(4)}, {0: "cat"})
        with ExemplarMemory(path) as second:
            yield first, second


def test_what_another_process_added_stays_and_keeps_its_name(
    pair: tuple[ExemplarMemory, ExemplarMemory], path: Path
) -> None:
    first, second = pair
    second.add_images({1: pictures(4, seed=1)}, {1: "dog"})
    first.add_images({2: pictures(4, seed=2)}, {2: "owl"})
    with ExemplarMemory(path) as memory:
        assert memory.class_names == {0: "cat", 1: "dog", 2: "owl"}
        for label in range(3):
            np.testing.assert_array_equal(memory.decode(label), pictures(4, seed=label))
        assert memory.commits == 3
        assert memory.verify() == []


def test_forgetting_leaves_what_another_process_added(pair: tuple[ExemplarMemory, ExemplarMemory], path: Path) -> None:
    first, second = pair
    second.add_images({1: pictures(4, seed=1)}, {1: "dog"})
    assert first.forget(0) == 4
    for memory in (first, second):
        assert memory.class_names == {1: "dog"}
        np.testing.assert_array_equal(memory.decode(1), pictures(4, seed=1))
    with pytest.raises(UsageError, match="has no class 0"):
        second.forget(0)


def test_a_charge_of_another_process_is_kept_and_counts(
    pair: tuple[ExemplarMemory, ExemplarMemory], path: Path
) -> None:
    first, second = pair
    one, two = prefix_bytes([RAW, RAW]).tolist()
    charge = BUDGET - (fixed_bytes(shared=4) + two + one + two)  # four bytes of shape
    second.add({1: [pictures(1, seed=1)[0].tobytes()]}, charged=charge)
    first.add_images({2: pictures(8, seed=2)})
    assert first.charged == second.charged == charge
    assert first.class_counts == {0: 2, 1: 1, 2: 2}
    assert first.nbytes == path.stat().st_size + charge <= BUDGET


def test_an_open_memory_reports_what_another_process_committed(pair: tuple[ExemplarMemory, ExemplarMemory]) -> None:
    first, second = pair
    before = first.nbytes
    second.add_images({1: pictures(2, seed=1)})
    assert (len(first), first.class_counts, first.commits) == (6, {0: 4, 1: 2}, 2)
    assert first.nbytes == second.nbytes > before
    assert first.summary() == second.summary()
    assert len(first.decode_all()[0]) == 6


@pytest.mark.parametrize("codec", ["raw", "jpeg:quality=60", "downscale:factor=2|jpeg:quality=60"])
def test_images_of_another_size_are_refused_and_the_others_still_decode(path: Path, codec: str) -> None:
    with ExemplarMemory(path, 90_000, codec) as first, ExemplarMemory(path, 90_000, codec) as second:
        second.add_images({0: pictures(4, size=32)})
        expected = second.decode(0)
        with pytest.raises(UsageError, match=r"\(16, 16\)"):
            first.add_images({1: pictures(4)})
        assert first.class_counts == {0: 4}
    with ExemplarMemory(path) as memory:
        assert memory.size == (32, 32)
        np.testing.assert_array_equal(memory.decode(0), expected)


def test_payloads_coded_with_another_shared_header_are_refused(path: Path) -> None:
    with ExemplarMemory(path, 90_000, "raw") as first, ExemplarMemory(path, 90_000, "raw") as second:
        payloads = first.codec.encode(pictures(2))
        second.add_images({0: pictures(2, size=32)})
        with pytest.raises(UsageError, match="another shared header"):
            first.add({1: payloads})
        with pytest.raises(UsageError, match="open it again"):
            first.class_counts  # noqa: B018
    with ExemplarMemory(path) as memory:
        assert (memory.class_counts, memory.verify()) == ({0: 2}, [])


def test_a_new_writer_takes_the_shared_header_of_the_first(path: Path) -> None:
    with ExemplarMemory(path, 90_000, "jpeg:quality=60") as first, ExemplarMemory(path) as second:
        first.add_images({0: pictures(3)})
        second.add_images({1: pictures(3, seed=1)})
        assert first.verify() == second.verify() == []


def test_a_writer_that_waits_too_long_gets_an_error(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(database, "PATIENCE_SECONDS", 0.0)
    with ExemplarMemory(path, BUDGET, "raw") as memory:
        memory.add_images({0: pictures(2)})
        other = sqlite3.connect(path, isolation_level=None)
        other.execute("BEGIN IMMEDIATE")
        with pytest.raises(WorkError, match="could not be written: database is locked"):
            memory.add_images({1: pictures(2, seed=1)})
        assert len(memory.decode(0)) == 2, "reading goes on meanwhile"
        other.execute("ROLLBACK")
        other.close()
        memory.add_images({1: pictures(2, seed=1)})
        assert memory.class_counts == {0: 2, 1: 2}


def test_a_memory_that_was_emptied_takes_images_of_another_size(path: Path) -> None:
    with ExemplarMemory(path, 90_000, "raw") as memory:
        memory.add_images({0: pictures(2)})
        memory.forget(0)
    with ExemplarMemory(path) as memory:
        memory.add_images({0: pictures(2, size=32)})
        assert memory.size == (32, 32)
        np.testing.assert_array_equal(memory.decode(0), pictures(2, size=32))


@pytest.mark.parametrize(
    ("given", "message"),
    [
        ({"charged": -5000}, "charged must be a whole number of at least 0, got -5000"),
        ({"charged": 1.5}, "charged must be a whole number of at least 0, got 1.5"),
        ({"candidates": {-1: [b"x"]}}, "a label must be a whole number of at least 0, got -1"),
        ({"candidates": {"cat": [b"x"]}}, "a label must be a whole number of at least 0, got 'cat'"),
        ({"candidates": {1: ["text"]}}, "payloads of class 1 must be bytes, got str"),
        ({"extras": {1: [None]}}, "extras of class 1 must be bytes, got NoneType"),
        ({"names": {1: "caf\udce9"}}, r"the name of class 1 must be Unicode text, got 'caf\\udce9'"),
        ({"names": {1: 7}}, "the name of class 1 must be Unicode text, got 7"),
        ({"size": (0, 16)}, "the height must be a whole number of at least 1, got 0"),
    ],
)
def test_what_a_memory_cannot_hold_is_refused_before_anything_is_written(
    path: Path, given: dict[str, Any], message: str
) -> None:
    with ExemplarMemory(path, BUDGET, "raw") as memory:
        memory.add_images({0: pictures(2)})
        before = path.read_bytes()
        with pytest.raises(UsageError, match=message):
            memory.add(**{"candidates": {1: [bytes(RAW)]}, **given})
        assert path.read_bytes() == before
        memory.add({np.int64(1): [bytes(RAW)]}, charged=np.int32(0))  # numpy's integers are whole numbers
        assert memory.class_counts == {0: 2, 1: 1}


@pytest.mark.parametrize("budget", [1.5, 0, -3, "9000", float("nan"), 2**63])
def test_an_invalid_budget_leaves_no_file(path: Path, budget: Any) -> None:
    with pytest.raises(UsageError, match="the budget in bytes must be a whole number of at least 1, got"):
        ExemplarMemory(path, budget, "png")
    assert not path.exists()


def test_an_empty_file_without_a_budget_stays_empty_and_can_still_become_a_memory(path: Path) -> None:
    path.touch()
    for codec in (None, "png"):
        with pytest.raises(UsageError, match="a new memory needs a budget and a codec"):
            ExemplarMemory(path, codec=codec)
    assert path.read_bytes() == b""
    with ExemplarMemory(path, BUDGET, "png") as memory:
        memory.add_images({0: pictures(2)})
    with ExemplarMemory(path) as memory:
        assert memory.class_counts == {0: 2}
