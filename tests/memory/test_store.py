"""The memory keeps its budget and its guarantees, whatever is added and however the process ends."""

from __future__ import annotations

import os
import signal
import sqlite3
import subprocess
import sys
import textwrap
from importlib import metadata
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_samples import SIZE, pictures

from toolkit.codecs.spec import parse_codec
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.memory import store
from toolkit.memory.budget import LABEL_BYTES, budget_bytes
from toolkit.memory.disk import fixed_bytes, prefix_bytes
from toolkit.memory.store import BudgetTooSmall, ExemplarMemory


def stored_bytes(path: Path) -> int:
    """Contents of the file, counted by SQL alone."""
    with sqlite3.connect(path) as connection:
        (payloads,) = connection.execute("SELECT coalesce(sum(length(data)), 0) FROM packs").fetchone()
        (count,) = connection.execute("SELECT coalesce(sum(exemplars), 0) FROM classes").fetchone()
        shared = connection.execute("SELECT length(value) FROM meta WHERE key = 'shared'").fetchone()[0]
    return payloads + LABEL_BYTES * count + shared


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(
    codec=st.sampled_from(["raw", "png", "jpeg:quality=30", "webp:quality=40", "downscale:factor=2|jpeg:quality=60"]),
    budget=st.integers(7_000, 70_000),
    stages=st.lists(st.lists(st.integers(1, 12), min_size=1, max_size=4), min_size=1, max_size=4),
)
def test_bytes_never_exceed_the_budget_at_any_commit(
    tmp_path_factory: pytest.TempPathFactory, codec: str, budget: int, stages: list[list[int]]
) -> None:
    path = tmp_path_factory.mktemp("memory") / "m.recall"
    with ExemplarMemory(path, budget, codec) as memory:
        label = 0
        for stage in stages:
            before = memory.class_counts
            new = {label + k: pictures(count, seed=label + k) for k, count in enumerate(stage)}
            label += len(stage)
            try:
                memory.add_images(new)
            except BudgetTooSmall as error:
                assert error.smallest > budget  # noqa: PT017 - the refusal is optional
                assert memory.class_counts == before, "a refused commit changed the memory"
                break
            assert memory.nbytes == path.stat().st_size <= budget
            assert memory.content_bytes == stored_bytes(path)
            assert all(memory.class_counts[old] <= count for old, count in before.items())
            assert set(memory.class_counts) == set(range(label))


def test_old_classes_shrink_from_the_end_of_their_order(tmp_path: Path) -> None:
    images = {label: pictures(6, seed=label) for label in range(3)}
    _, two, three, *_ = prefix_bytes([3 * SIZE * SIZE] * 6).tolist()
    budget = fixed_bytes(shared=4) + three + three + two
    with ExemplarMemory(tmp_path / "m.recall", budget, "raw") as memory:
        memory.add_images({0: images[0], 1: images[1]})
        assert memory.class_counts == {0: 4, 1: 4}
        memory.add_images({2: images[2]})
        assert memory.class_counts == {0: 3, 1: 3, 2: 2}
        for label, count in memory.class_counts.items():
            np.testing.assert_array_equal(memory.decode(label), images[label][:count])


@pytest.mark.parametrize(
    ("images", "classes", "size"), [(5, 3, SIZE), (1, 10, 32), (2, 100, 32), (20, 10, 32), (20, 10, 224)]
)
def test_a_budget_in_images_is_the_file_of_exactly_that_many_raw_ones(
    tmp_path: Path, images: int, classes: int, size: int
) -> None:
    budget = budget_bytes(f"{images}img", classes, 3 * size * size)
    some = pictures(images + 3, size=size)
    with ExemplarMemory(tmp_path / "m.recall", budget, "raw") as memory:
        memory.add_images(dict.fromkeys(range(classes), some))
        assert memory.class_counts == dict.fromkeys(range(classes), images)
        assert 0.98 * budget - 3_000 < memory.nbytes <= budget


def test_a_reopened_memory_decodes_the_same_without_fitting_again(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    with ExemplarMemory(path, 20_000, "jpeg:quality=50") as memory:
        memory.add_images({4: pictures(5), 9: pictures(5, seed=1)})
        expected = memory.decode_all()
    with ExemplarMemory(path) as memory:
        images, labels, damaged = memory.decode_all()
        assert str(memory.codec) == "jpeg:quality=50"
    np.testing.assert_array_equal(images, expected[0])
    assert labels.tolist() == [4] * 5 + [9] * 5
    assert damaged == []
    codec = parse_codec("jpeg:quality=50")
    np.testing.assert_array_equal(images[:5], codec.decode(codec.encode(pictures(5))))


def test_another_codec_or_budget_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    ExemplarMemory(path, 9_000, "png").close()
    with pytest.raises(UsageError, match=r"made with png, not with jpeg:quality=50"):
        ExemplarMemory(path, 9_000, "jpeg:quality=50")
    with pytest.raises(UsageError, match="9000 bytes, not for 9001"):
        ExemplarMemory(path, 9_001)


def test_a_new_memory_needs_a_budget_and_a_codec(tmp_path: Path) -> None:
    with pytest.raises(UsageError, match="a new memory needs a budget and a codec"):
        ExemplarMemory(tmp_path / "none.recall")
    assert not (tmp_path / "none.recall").exists()


def flip_a_payload_byte(path: Path, payload: bytes) -> None:
    data = bytearray(path.read_bytes())
    at = data.index(payload)
    data[at + len(payload) // 2] ^= 0xFF
    path.write_bytes(data)


def test_damage_to_what_exemplars_share_is_found_before_anything_is_decoded(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    with ExemplarMemory(path, 10**5, "jpeg:quality=50") as memory:
        memory.add_images({0: pictures(3)})
    with sqlite3.connect(path) as connection:
        (shared,) = connection.execute("SELECT value FROM meta WHERE key = 'shared'").fetchone()
        for at in range(len(shared)):
            changed = bytes([*shared[:at], shared[at] ^ 1, *shared[at + 1 :]])
            connection.execute("UPDATE meta SET value = ? WHERE key = 'shared'", (changed,))
            connection.commit()
            with pytest.raises(WorkError, match="checksum of its facts and classes"):
                ExemplarMemory(path)
        connection.execute("UPDATE meta SET value = ? WHERE key = 'shared'", (shared,))
    with ExemplarMemory(path) as memory:
        assert memory.verify() == []


def test_a_damaged_exemplar_is_named_and_the_others_are_read(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    with ExemplarMemory(path, 30_000, "jpeg:quality=60") as memory:
        memory.add_images({0: pictures(6), 1: pictures(6, seed=1)})
        intact, payload = memory.decode(1), memory.payload(1, 2)
    flip_a_payload_byte(path, payload)
    with ExemplarMemory(path) as memory:
        assert [(item.label, item.rank) for item in memory.verify()] == [(1, 2)]
        with pytest.warns(UserWarning, match="1 damaged exemplars of class 1"):
            images, labels, damaged = memory.decode_all()
        assert [(item.label, item.rank) for item in damaged] == [(1, 2)]
        assert labels.tolist() == [0] * 6 + [1] * 5
        np.testing.assert_array_equal(images[6:], np.delete(intact, 2, axis=0))
        with pytest.raises(WorkError, match="exemplar 2 of class 1 is damaged"):
            memory.payload(1, 2)


def test_a_newer_schema_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    ExemplarMemory(path, 9_000, "png").close()
    with sqlite3.connect(path) as connection:
        connection.execute("UPDATE meta SET value = CAST('5' AS BLOB) WHERE key = 'schema'")
    with pytest.raises(WorkError, match="newer version of Recall Rate"):
        ExemplarMemory(path)


@pytest.mark.parametrize("content", [b"not a database at all" * 50, b"SQLite format 3\0" + b"\xff" * 5000])
def test_a_file_that_is_not_a_memory_is_refused(tmp_path: Path, content: bytes) -> None:
    path = tmp_path / "m.recall"
    path.write_bytes(content)
    with pytest.raises(WorkError):
        ExemplarMemory(path)
    assert path.read_bytes() == content


def test_another_kind_of_database_is_left_alone(tmp_path: Path) -> None:
    path = tmp_path / "other.sqlite"
    with sqlite3.connect(path) as connection:
        connection.execute("CREATE TABLE mine (x)")
    with pytest.raises(WorkError, match="another kind"):
        ExemplarMemory(path, 5_000, "png")


def test_a_failed_write_leaves_the_last_commit(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    with ExemplarMemory(path, 200_000, "raw") as memory:
        memory.add_images({0: pictures(5)})
        pages = memory._database._connection.execute("PRAGMA page_count").fetchone()[0]
        memory._database._connection.execute(f"PRAGMA max_page_count = {pages + 1}")  # SQLite's own "disk is full"
        with pytest.raises(WorkError, match="full"):
            memory.add_images({1: pictures(40, seed=1)})
        assert memory.class_counts == {0: 5}
    with ExemplarMemory(path) as memory:
        assert memory.class_counts == {0: 5}
        assert memory.verify() == []


WRITER = """
    import sys
    import numpy as np
    from toolkit.memory.store import ExemplarMemory
    rng = np.random.default_rng(0)
    with ExemplarMemory(sys.argv[1], 3_000_000, "raw") as memory:
        for label in range(10_000):
            memory.add({label: [rng.bytes(700) for _ in range(300)]})
            print(memory.commits, flush=True)
"""


@pytest.mark.parametrize("after", [1, 4, 9])
def test_a_killed_process_loses_nothing_committed(tmp_path: Path, after: int) -> None:
    path = tmp_path / "m.recall"
    writer = subprocess.Popen(
        [sys.executable, "-c", textwrap.dedent(WRITER), str(path)], stdout=subprocess.PIPE, text=True
    )
    assert writer.stdout is not None
    committed = 0
    while committed < after:
        committed = int(writer.stdout.readline())
    os.kill(writer.pid, signal.SIGKILL)  # somewhere inside the next transaction
    printed = [int(line) for line in writer.stdout.read().split()]
    writer.wait()
    with ExemplarMemory(path) as memory:
        assert memory.commits >= max([committed, *printed])
        assert len(memory.class_counts) == memory.commits
        assert path.stat().st_size == memory.nbytes <= memory.budget
        assert stored_bytes(path) == memory.content_bytes
        assert all(len(memory.payload(label, 0)) == 700 for label in memory.class_counts)


def test_a_class_without_candidates_is_refused(tmp_path: Path) -> None:
    with ExemplarMemory(tmp_path / "m.recall", 5_000, "raw") as memory, pytest.raises(UsageError, match=r"\[3\]"):
        memory.add({3: []})


def test_the_encoders_of_all_exemplars_are_recorded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A new version may write other bytes at the same setting: a memory says which ones have encoded it."""
    libraries = f"imagecodecs {metadata.version('imagecodecs')}, pillow {metadata.version('pillow')}"
    now = f"{libraries}, context model 1"
    with ExemplarMemory(tmp_path / "m.recall", 60_000, "png") as memory:
        assert memory.summary()["encoders"] == []
        memory.add_images({0: pictures(2)})
        memory.add_images({1: pictures(2, seed=1)})
        assert memory.summary()["encoders"] == [now]
        monkeypatch.setattr(store, "encoder_versions", lambda: "imagecodecs 3000.1.1, pillow 99.0.0")
        memory.add_images({2: pictures(2, seed=2)})
    with ExemplarMemory(tmp_path / "m.recall") as memory:
        assert memory.summary()["encoders"] == [now, "imagecodecs 3000.1.1, pillow 99.0.0"]
        assert memory.verify() == []
