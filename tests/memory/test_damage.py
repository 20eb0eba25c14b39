"""Memory files with flipped bits, wrong rows or undecodable exemplars are refused or reported."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest
from memory_samples import SIZE, pictures, small_memory

from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory.export import export_files
from toolkit.memory.store import ExemplarMemory


@pytest.mark.parametrize(
    "change",
    [
        "UPDATE meta SET value = CAST('12800' AS BLOB) WHERE key = 'budget'",
        "UPDATE meta SET value = CAST('0' AS BLOB) WHERE key = 'charged'",
        "UPDATE meta SET value = NULL WHERE key = 'budget'",
        "UPDATE meta SET value = 12000 WHERE key = 'budget'",
        "UPDATE meta SET value = x'ff' WHERE key = 'codec'",
        "UPDATE meta SET value = x'' WHERE key = 'schema'",
        "DELETE FROM meta WHERE key = 'seal'",
        "DELETE FROM meta",
        "UPDATE classes SET payload_bytes = payload_bytes - 1",
        "UPDATE classes SET exemplars = 2 WHERE label = 1",
        "UPDATE classes SET name = 'cow' WHERE label = 1",
        "UPDATE classes SET name = CAST(x'e9' AS TEXT)",
        "UPDATE classes SET exemplars = 'three'",
        "DELETE FROM classes WHERE label = 0",
        "DROP TABLE classes",
    ],
)
def test_changed_facts_and_classes_are_refused_in_one_line(tmp_path: Path, change: str) -> None:
    path = small_memory(tmp_path / "m.recall")
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    with pytest.raises(WorkError, match=r"is damaged|cannot be read") as caught:
        ExemplarMemory(path)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("change", "place", "reason"),
    [
        ("DELETE FROM packs WHERE kind = 0 AND label = 1", (1, 1), "missing"),
        ("UPDATE packs SET first = 7 WHERE kind = 0 AND label = 1", (1, 7), "unexpected label or rank"),
        ("UPDATE packs SET first = 7 WHERE kind = 0 AND label = 1", (1, 2), "missing"),
        ("UPDATE packs SET label = 5 WHERE kind = 0 AND label = 1", (5, 0), "unexpected label or rank"),
        ("UPDATE packs SET kind = 1 WHERE kind = 0 AND label = 1", (1, 0), "missing"),
        ("UPDATE packs SET first = 7 WHERE kind = 1 AND label = 1", (1, 0), "bytes, expected"),
        ("UPDATE packs SET label = 0 WHERE kind = 1 AND label = 1", (1, 0), "bytes, expected"),
        ("DELETE FROM packs WHERE kind = 1 AND label = 1", (1, 0), "bytes, expected"),
        ("UPDATE packs SET head = x'00' WHERE kind = 0 AND label = 0", (0, 2), "checksum"),
        ("UPDATE packs SET head = x'' WHERE kind = 1 AND label = 0", (0, 2), "checksum"),
        ("UPDATE packs SET data = substr(data, 1, length(data) - 1) WHERE kind = 0 AND label = 0", (0, 2), "checksum"),
        ("UPDATE packs SET data = CAST(data || x'00' AS BLOB) WHERE kind = 0 AND label = 0", (0, 0), "checksum"),
    ],
)
def test_misplaced_packs_are_named(tmp_path: Path, change: str, place: tuple[int, int], reason: str) -> None:
    path = small_memory(tmp_path / "m.recall")
    with sqlite3.connect(path) as connection:
        connection.execute(change)
    with ExemplarMemory(path) as memory:
        found = {(item.label, item.rank): item.reason for item in memory.verify()}
    assert reason in found[place]


@pytest.mark.parametrize("kind", [0, 1])
@pytest.mark.parametrize("rank", [0, 1, 2])
def test_one_damaged_blob_of_a_pack_leaves_the_others_readable(tmp_path: Path, kind: int, rank: int) -> None:
    path = small_memory(tmp_path / "m.recall")
    with ExemplarMemory(path) as memory:
        blobs = [one.extra if kind else one.payload for one in memory.intact(0)[0]]
        payloads = memory.payloads(0)[0]
    place = sum(map(len, blobs[:rank])) + len(blobs[rank]) // 2
    with sqlite3.connect(path) as connection:
        (data,) = connection.execute("SELECT data FROM packs WHERE kind = ? AND label = 0", (kind,)).fetchone()
        changed = data[:place] + bytes([data[place] ^ 16]) + data[place + 1 :]
        connection.execute("UPDATE packs SET data = ? WHERE kind = ? AND label = 0", (changed, kind))
    with ExemplarMemory(path) as memory:
        assert [(item.label, item.rank) for item in memory.verify()] == [(0, rank)]
        with pytest.warns(UserWarning, match="1 damaged exemplars"):
            assert memory.payloads(0)[0] == [payload for n, payload in enumerate(payloads) if n != rank]
        if not kind:
            with pytest.raises(WorkError, match="is damaged"):
                memory.payload(0, rank)
        assert memory.payload(0, (rank + 1) % 3) == payloads[(rank + 1) % 3]
        memory.add({0: [b"more"]})  # written into the same pack, which stays as damaged as it was
        assert (0, rank) in [(item.label, item.rank) for item in memory.verify()]


@pytest.mark.parametrize("value", ["'text'", "17", "2.5"])
def test_payloads_of_another_type_raise_our_errors(tmp_path: Path, value: str) -> None:
    path = small_memory(tmp_path / "m.recall")
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE packs SET data = {value} WHERE kind = 0 AND label = 0")
    with ExemplarMemory(path) as memory:
        for ask in (memory.decode_all, memory.verify, lambda: memory.payload(0, 1), lambda: memory.forget(image="a")):
            with pytest.raises((WorkError, UsageError)):
                ask()


def test_an_exemplar_that_does_not_decode_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    with ExemplarMemory(tmp_path / "m.recall", 50_000, "png:shared=no") as memory:
        payloads = memory.codec.encode(pictures(9, seed=1))
        payloads[3], payloads[8] = b"no image", b""
        memory.add({0: memory.codec.encode(pictures(9)), 1: payloads}, size=(SIZE, SIZE))
        with pytest.warns(UserWarning, match="2 exemplars cannot be decoded"):
            images, labels, damaged = memory.decode_all()
        assert [(item.label, item.rank) for item in damaged] == [(1, 3), (1, 8)]
        assert labels.tolist() == [0] * 9 + [1] * 7
        np.testing.assert_array_equal(images, np.concatenate([pictures(9), pictures(9, seed=1)[[0, 1, 2, 4, 5, 6, 7]]]))
        with pytest.warns(UserWarning, match="2 exemplars"):
            assert len(memory.decode(1)) == 7
        assert memory.verify() == damaged
        written, left_out = export_files(memory, tmp_path / "out")
        assert (written, left_out) == (16, damaged)
        assert len(list((tmp_path / "out").glob("*/*.png"))) == 16


def test_a_first_image_of_another_size_than_the_memory_s_is_damaged(tmp_path: Path) -> None:
    with ExemplarMemory(tmp_path / "m.recall", 900_000, "png:shared=no") as memory:
        payloads = memory.codec.encode(pictures(9))
        payloads[0] = memory.codec.encode(np.zeros((1, 900, 900, 3), np.uint8))[0]
        memory.add({0: payloads}, size=(SIZE, SIZE))
        with pytest.warns(UserWarning, match="1 exemplars cannot"):
            images, _, damaged = memory.decode_all()
    assert images.shape == (8, SIZE, SIZE, 3)
    assert [(item.label, item.rank) for item in damaged] == [(0, 0)]


@pytest.mark.parametrize("damaged", [0, 1])
def test_a_class_can_be_forgotten_although_a_pack_is_broken(tmp_path: Path, damaged: int) -> None:
    path = small_memory(tmp_path / "m.recall")
    with sqlite3.connect(path) as connection:
        connection.execute(f"UPDATE packs SET head = x'00' WHERE kind = 0 AND label = {damaged}")
        (data,) = connection.execute("SELECT data FROM packs WHERE kind = 0 AND label = 1").fetchone()
    with ExemplarMemory(path) as memory:
        assert memory.forget(1) == 3
        assert list(memory.class_counts) == [0]
        assert len(memory.verify()) == (3 if damaged == 0 else 0)
        if damaged == 0:
            with pytest.raises(WorkError, match="table of a pack"):
                memory.add({2: [b"new"]})
    content = path.read_bytes()
    assert not any(data[start : start + 16] in content for start in range(0, len(data) - 15, 16))
