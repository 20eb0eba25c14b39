"""Forgotten exemplars disappear from the file's bytes, and the others stay unchanged."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import numpy as np
import pytest

from toolkit.cli import run as recallrate
from toolkit.codecs.shared_header import calibration_images
from toolkit.foundation.errors import UsageError
from toolkit.memory.database import _SCHEMA
from toolkit.memory.forgetting import identity, pieces_in
from toolkit.memory.rows import EXTRA, PAYLOAD, _ranked, delete, insert
from toolkit.memory.store import ExemplarMemory


def pictures(count: int, seed: int) -> np.ndarray:
    rng = np.random.default_rng(seed)
    base = calibration_images(16, 16)[rng.integers(0, 4, count)]
    return np.clip(base + rng.integers(-20, 21, (count, 16, 16, 3)), 0, 255).astype(np.uint8)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    with ExemplarMemory(tmp_path / "m.recall", 60_000, "jpeg:quality=60") as memory:
        payloads = {label: memory.codec.encode(pictures(30, label)) for label in range(4)}
        extras = {label: [bytes([label, n]) * 20 for n in range(30)] for label in range(4)}
        memory.add(payloads, names={0: "cat", 1: "dog", 2: "owl", 3: "7"}, extras=extras)
    return tmp_path / "m.recall"


def everything(memory: ExemplarMemory) -> dict[int, list[bytes]]:
    return {label: memory.payloads(label)[0] for label in memory.class_counts}


def pieces(payload: bytes) -> list[bytes]:
    """Parts of a payload, which the pages of the file may cut anywhere."""
    return [payload[start : start + 16] for start in range(0, len(payload) - 15, 16)]


def test_a_forgotten_class_leaves_no_byte_and_the_others_stay(path: Path) -> None:
    with ExemplarMemory(path) as memory:
        before, used = everything(memory), memory.nbytes
        assert memory.forget(1) == 30
        after = everything(memory)
        assert after == {label: payloads for label, payloads in before.items() if label != 1}
        assert memory.nbytes < used
        assert memory.extras() == [bytes([label, n]) * 20 for label in (0, 2, 3) for n in range(30)]
    data, kept = path.read_bytes(), b"".join(payload for payloads in after.values() for payload in payloads)
    assert not any(piece in data for payload in before[1] for piece in pieces(payload) if piece not in kept)
    assert all(any(piece in data for piece in pieces(payload)) for payload in before[2])
    with ExemplarMemory(path) as memory:
        assert (everything(memory), memory.verify()) == (after, [])
        assert 1 not in memory.class_names


def test_a_forgotten_image_leaves_the_order_of_the_others(path: Path) -> None:
    with ExemplarMemory(path) as memory:
        before = everything(memory)
        gone = before[2][5]
        assert memory.forget(image=identity(gone)[:10]) == 1
        assert everything(memory)[2] == before[2][:5] + before[2][6:]
        assert memory.extras()[60:89] == [bytes([2, n]) * 20 for n in range(30) if n != 5]
        assert memory.verify() == []
    assert gone not in path.read_bytes()


def test_a_picture_stored_twice_is_forgotten_in_both_places(tmp_path: Path) -> None:
    with ExemplarMemory(tmp_path / "m.recall", 60_000, "raw") as memory:
        images = pictures(3, 0)
        memory.add_images({0: images, 1: images[::-1]})
        assert memory.forget(image=memory.identities(0)[0]) == 2
        assert memory.class_counts == {0: 2, 1: 2}


def test_the_last_exemplar_takes_its_class_along(tmp_path: Path) -> None:
    with ExemplarMemory(tmp_path / "m.recall", 60_000, "raw") as memory:
        memory.add_images({0: pictures(1, 0), 1: pictures(2, 1)})
        memory.forget(image=memory.identities(0)[0])
        assert memory.class_counts == {1: 2}
        memory.add_images({0: pictures(2, 2)})  # and the class may come again
        assert memory.class_counts == {0: 2, 1: 2}


def test_freed_bytes_go_to_new_classes(path: Path) -> None:
    with ExemplarMemory(path) as memory:
        memory.forget(0)
        memory.add_images({9: pictures(60, 9)})
        assert memory.class_counts[9] == 60
        assert memory.nbytes <= memory.budget


@pytest.mark.parametrize(
    ("asked", "message"),
    [
        ({}, "either a class or an image"),
        ({"label": 0, "image": "ab"}, "either a class or an image"),
        ({"label": 8}, r"has no class 8; it has 0 \(cat\), 1 \(dog\)"),
        ({"image": "zz"}, "has no exemplar 'zz'"),
        ({"image": ""}, "has no exemplar ''"),
    ],
)
def test_unknown_classes_and_images_cannot_be_forgotten(path: Path, asked: dict, message: str) -> None:
    with ExemplarMemory(path) as memory, pytest.raises(UsageError, match=message):
        memory.forget(**asked)


def test_an_ambiguous_prefix_is_refused(path: Path) -> None:
    with ExemplarMemory(path) as memory, pytest.raises(UsageError, match="give more digits"):
        memory.forget(image=memory.identities(0)[0][:1])


def test_the_command_takes_names_and_labels(path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert recallrate(["memory", "forget", str(path), "--class", "dog"]) == 0
    assert "removed 30 exemplars" in capsys.readouterr().err
    assert recallrate(["memory", "forget", str(path), "--class", "7"]) == 0  # a name before a label
    assert recallrate(["memory", "forget", str(path), "--class", "0"]) == 0
    assert recallrate(["memory", "forget", str(path), "--class", "fox"]) == 2
    assert "no class is named 'fox'; the classes are owl" in capsys.readouterr().err
    assert recallrate(["memory", "inspect", str(path), "--images"]) == 0
    with ExemplarMemory(path) as memory:
        (name, *_) = memory.identities(2)
    assert name in capsys.readouterr().out
    assert recallrate(["memory", "forget", str(path), "--image", name]) == 0
    assert recallrate(["memory", "forget", str(path.parent), "--image", name]) == 2


def test_long_payloads_are_searched_for_piece_by_piece(tmp_path: Path) -> None:
    """Longer than a page of the database, which stores them in parts."""
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (3, 64, 64, 3), dtype=np.uint8)
    with ExemplarMemory(tmp_path / "m.recall", 60_000, "raw") as memory:
        memory.add_images({0: images[:1], 1: images[1:]}, {0: "cat"})
        assert memory.class_names[0] == "cat"
        gone = memory.payloads(0)[0][0]
        assert gone[4000:4024] in (tmp_path / "m.recall").read_bytes()
        memory.forget(0)
        assert gone[4000:4024] not in (tmp_path / "m.recall").read_bytes()


def test_short_and_empty_payloads_are_forgotten_without_a_false_alarm(tmp_path: Path) -> None:
    with ExemplarMemory(tmp_path / "m.recall", 60_000, "jpeg:quality=60") as memory:
        memory.add({0: [b"abc"], 1: [b"xxabcxx", b""]})
        assert memory.forget(0) == 1
        assert memory.forget(image=identity(b"")) == 1
        assert memory.class_counts == {1: 1}


def test_ranks_are_renumbered_in_order_and_extras_stay_with_their_exemplars() -> None:
    rng = np.random.default_rng(0)
    for _ in range(20):
        connection = sqlite3.connect(":memory:")
        for statement in _SCHEMA.split(";"):
            connection.execute(statement)
        rows: dict[int, list[tuple[int, int, bytes]]] = {PAYLOAD: [], EXTRA: []}
        for label in (0, 1):
            for rank in range(12):
                rows[PAYLOAD].append((label, rank, f"exemplar {label} {rank}".encode()))
                if rng.random() < 0.6:
                    rows[EXTRA].append((label, rank, f"extra {label} {rank}".encode()))
        gone = [(0, int(rank)) for rank in rng.permutation(12)[: rng.integers(1, 13)]]
        left = [rank for rank in range(12) if (0, rank) not in gone]
        for kind, stored in rows.items():
            for label, rank, blob in stored:
                insert(connection, kind, label, rank, [blob])
            delete(connection, kind, 0, {rank for _, rank in gone})
            expected = [
                (label, rank if label else left.index(rank), blob)
                for label, rank, blob in stored
                if label or rank in left
            ]
            found = [(label, rank, item.blob) for label in (0, 1) for rank, item in _ranked(connection, kind, label)]
            assert found == expected
        connection.close()


def test_pieces_are_found_at_every_offset_and_nowhere_else() -> None:
    rng = np.random.default_rng(0)
    for size in (3, 24, 100, 2000):
        content = rng.integers(0, 3, size, np.uint8).tobytes()
        inside = {content[start : start + 24] for start in rng.integers(0, max(1, size - 23), 20).tolist()}
        pieces = {piece for piece in inside if len(piece) == 24} | {rng.integers(0, 3, 24, np.uint8).tobytes()}
        assert pieces_in(content, pieces) == {piece for piece in pieces if piece in content}
    assert pieces_in(b"abc", set()) == set()
    across = bytes(2**22 - 10) + bytes(range(24)) + bytes(99)  # where two chunks meet
    assert pieces_in(across, {bytes(range(24)), bytes(range(1, 25))}) == {bytes(range(24))}
