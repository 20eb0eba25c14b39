"""Bytes on disk: the file keeps the budget through all changes, and holds what the price model says."""

from __future__ import annotations

import sqlite3
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from memory_samples import SIZE, pictures

from toolkit.cli import run as recallrate
from toolkit.memory.disk import fitting, fixed_bytes, prefix_bytes, prefix_bytes_in_shards
from toolkit.memory.forgetting import identity
from toolkit.memory.rows import misplaced, uneven
from toolkit.memory.store import BudgetTooSmall, ExemplarMemory

CODEC = "png:shared=no"
PAGE = 1024


def random_sizes(mean: int, classes: int, budget: int, seed: int = 0) -> dict[int, np.ndarray]:
    """Payload sizes of classes that exceed a budget together."""
    each = int(1.3 * budget / mean / classes) + 2
    sizes = np.random.default_rng(seed).normal(mean, 0.3 * mean, (classes, each)).clip(1)
    return dict(enumerate(sizes.astype(int)))


def random_payloads(sizes: dict[int, np.ndarray], seed: int = 0) -> dict[int, list[bytes]]:
    rng = np.random.default_rng(seed)
    return {label: [rng.bytes(int(size)) for size in own] for label, own in sizes.items()}


def stored(memory: ExemplarMemory) -> dict[int, list[bytes]]:
    return {label: memory.payloads(label)[0] for label in memory.class_counts}


# -- any changes ---------------------------------------------------------------------------------------------------


class Changes:
    """Random changes of a memory, and what it must then hold: a prefix of what each class was given."""

    def __init__(self, memory: ExemplarMemory, seed: int) -> None:
        self.memory, self.rng = memory, np.random.default_rng(seed)
        self.mean = float(np.exp(self.rng.uniform(np.log(20), np.log(400_000))))
        self.given: dict[int, list[tuple[bytes, bytes]]] = {}
        self.budget = self.asked = memory.budget
        self.charged = self.next_label = 0

    def make(self) -> None:
        """One change; if it is refused, nothing changes."""
        kinds: list[Callable[[], None]] = [self.add] * 3 + [self.forget_class, self.forget_image, self.resize]
        before, self.asked = self.memory.path.read_bytes(), self.budget
        try:
            kinds[self.rng.integers(len(kinds))]()
        except BudgetTooSmall as error:
            assert error.smallest > self.asked  # noqa: PT017 - the refusal is optional
            assert self.memory.path.read_bytes() == before

    def blobs(self, mean: float, count: int) -> list[bytes]:
        sizes = self.rng.normal(mean, self.rng.choice([0, 0.3]) * mean, count).clip(1, 500_000)
        return [self.rng.bytes(int(size)) for size in sizes]

    def add(self) -> None:
        """One or two classes, of which the first may be stored already, sometimes more than fit."""
        most = min(self.rng.choice([2, 30, 2_000]), 1.5 * self.budget / self.mean)
        payloads, extras = {}, {}
        for number in range(self.rng.integers(1, 3)):
            old = number == 0 and self.given and self.rng.random() < 0.5
            label = int(self.rng.choice(list(self.given))) if old else self.next_label + number
            payloads[label] = self.blobs(self.mean, int(self.rng.integers(1, most + 2)))
            if self.rng.random() < 0.3:
                extras[label] = self.blobs(self.rng.choice([40, 400]), len(payloads[label]))
        charged = int(self.rng.integers(0, self.budget // 3)) if self.rng.random() < 0.2 else None
        self.memory.add(payloads, extras=extras, charged=charged)
        self.charged = self.charged if charged is None else charged
        self.next_label = max(self.next_label, *(label + 1 for label in payloads))
        for label, new in payloads.items():
            self.given.setdefault(label, []).extend(zip(new, extras.get(label, [b""] * len(new)), strict=True))

    def forget_class(self) -> None:
        if self.given:
            label = int(self.rng.choice(list(self.given)))
            self.memory.forget(label)
            del self.given[label]

    def forget_image(self) -> None:
        if self.given:
            label = int(self.rng.choice(list(self.given)))
            gone = self.given[label][self.rng.integers(len(self.given[label]))][0]
            self.memory.forget(image=identity(gone))
            left = {label: [one for one in own if one[0] != gone] for label, own in self.given.items()}
            self.given = {label: own for label, own in left.items() if own}

    def resize(self) -> None:
        self.asked = max(2**14, int(self.budget * self.rng.choice([0.3, 0.7, 0.95, 1.3, 3])))
        self.memory.resize(self.asked)
        self.budget = self.asked

    def require_right(self) -> None:
        memory = self.memory
        assert (memory.budget, memory.charged) == (self.budget, self.charged)
        assert memory.path.stat().st_size + self.charged == memory.nbytes <= self.budget
        assert list(memory.class_counts) == sorted(self.given)
        for label, count in memory.class_counts.items():
            intact, damaged = memory.intact(label)
            assert damaged == []
            assert [one.rank for one in intact] == list(range(count))
            self.given[label] = self.given[label][:count]
            assert [(one.payload, one.extra) for one in intact] == self.given[label]
        with memory._database.readable() as connection:
            classes = memory._database.state().classes
            assert misplaced(connection, classes) == uneven(connection, classes) == []


@settings(max_examples=40, deadline=None, suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(seed=st.integers(0, 2**32), budget=st.integers(2**16, 2**21))
def test_the_file_keeps_the_budget_whatever_changes(
    tmp_path_factory: pytest.TempPathFactory, seed: int, budget: int
) -> None:
    with ExemplarMemory(tmp_path_factory.mktemp("memory") / "m.recall", budget, CODEC) as memory:
        changes = Changes(memory, seed)
        for _ in range(10):
            changes.make()
            changes.require_right()
        assert all("cannot be decoded" in item.reason for item in memory.verify()), "random bytes are no images"


# -- the price model -----------------------------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("budget", "classes", "mean"),
    [
        (budget, classes, mean)
        for budget in (2**16, 2**18, 2**20, 2**22)
        for classes in (2, 10, 100)
        for mean in (20, 186, 400, 1_140, 3_000, 30_000)
        if 1.2 * classes * (mean + PAGE) < budget
    ],
)
def test_a_new_memory_keeps_what_fits_by_the_price_model(tmp_path: Path, budget: int, classes: int, mean: int) -> None:
    sizes = random_sizes(mean, classes, budget)
    expected = fitting(sizes, budget, shared=0)
    with ExemplarMemory(tmp_path / "m.recall", budget, CODEC) as memory:
        memory.add({label: [bytes(size) for size in own] for label, own in sizes.items()})
        assert memory.class_counts == expected
        assert memory.nbytes <= budget
        if budget >= 2**18 and mean <= 3_000:
            assert memory.nbytes >= 0.9 * budget


def test_the_price_model_counts_a_shared_header_and_extras(tmp_path: Path) -> None:
    with ExemplarMemory(tmp_path / "shared.recall", 2**18, "jpeg:quality=50") as memory:
        memory.codec.encode(pictures(1))
        shared = memory.codec.shared_bytes()
        assert shared > 100
        sizes = random_sizes(400, 10, 2**18)
        memory.add({label: [bytes(size) for size in own] for label, own in sizes.items()})
        assert memory.class_counts == fitting(sizes, 2**18, shared)
    sizes = {label: own[:40] for label, own in random_sizes(400, 5, 2**18).items()}
    extras = {label: [bytes(80)] * 40 for label in sizes}
    needed = fixed_bytes(0) + sum(int(prefix_bytes(own, [80] * 40)[-1]) for own in sizes.values())
    with ExemplarMemory(tmp_path / "extras.recall", needed, CODEC) as memory:
        memory.add({label: [bytes(size) for size in own] for label, own in sizes.items()}, extras=extras)
        assert memory.class_counts == dict.fromkeys(range(5), 40)
        assert memory.nbytes > 0.9 * needed
    with ExemplarMemory(tmp_path / "fewer.recall", int(0.9 * needed), CODEC) as memory:
        memory.add({label: [bytes(size) for size in own] for label, own in sizes.items()}, extras=extras)
        assert len(memory) < 5 * 40


def test_exemplars_spread_over_files_cost_what_they_cost_in_each() -> None:
    rng = np.random.default_rng(0)
    sizes, shards = rng.integers(100, 3_000, 60), rng.integers(0, 4, 60)
    for count in (1, 2, 7, 60):
        first, place = sizes[:count], shards[:count]
        each = [int(prefix_bytes(first[place == shard])[-1]) for shard in range(4) if (place == shard).any()]
        assert prefix_bytes_in_shards(sizes, shards)[count - 1] == sum(each)


# -- another budget ------------------------------------------------------------------------------------------------


def test_a_lower_budget_drops_the_last_ranks_of_each_class_and_the_file_shrinks(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    sizes = random_sizes(1_000, 5, 2**20)
    with ExemplarMemory(path, 2**20, CODEC) as memory:
        memory.add(random_payloads(sizes), dict(enumerate("abcde")))
        before, had, commits = stored(memory), len(memory), memory.commits
        dropped = memory.resize(2**16)
        after = stored(memory)
        assert dropped == had - len(memory) > 0.9 * had
        assert (memory.budget, memory.commits) == (2**16, commits)
        assert memory.class_names == dict(enumerate("abcde"))
    assert 0.9 * 2**16 < path.stat().st_size <= 2**16
    for label, payloads in after.items():
        assert payloads == before[label][: len(payloads)]
    assert {label: len(own) for label, own in after.items()} == fitting(sizes, 2**16, shared=0)
    with sqlite3.connect(path) as connection:
        assert connection.execute("PRAGMA freelist_count").fetchone() == (0,)
    with ExemplarMemory(path, 2**16) as memory:
        assert (stored(memory), memory.budget) == (after, 2**16)


def test_a_higher_budget_keeps_everything_and_takes_more(tmp_path: Path) -> None:
    with ExemplarMemory(tmp_path / "m.recall", 2**16, CODEC) as memory:
        memory.add(random_payloads(random_sizes(1_000, 3, 2**16)))
        before, size = stored(memory), memory.nbytes
        assert memory.resize(2**18) == 0
        assert stored(memory) == before
        assert memory.nbytes <= size + PAGE
        memory.add({3: random_payloads(random_sizes(1_000, 1, 2**20))[0]})
        assert {label: stored(memory)[label] for label in range(3)} == before
        assert 2**17 < memory.nbytes <= 2**18


def test_a_budget_that_is_too_low_is_refused_and_changes_nothing(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    with ExemplarMemory(path, 2**17, CODEC) as memory:
        memory.add(random_payloads(random_sizes(3_000, 5, 2**17)), charged=20_000)
        before = path.read_bytes()
        with pytest.raises(BudgetTooSmall, match="one exemplar of each of 5 classes") as refused:
            memory.resize(25_000)
        assert path.read_bytes() == before
        assert memory.budget == 2**17
        memory.resize(refused.value.smallest)
        assert memory.class_counts == dict.fromkeys(range(5), 1)
        assert memory.nbytes <= refused.value.smallest


def test_a_memory_without_exemplars_is_not_made_smaller_than_its_file(tmp_path: Path) -> None:
    with ExemplarMemory(tmp_path / "m.recall", 2**16, CODEC) as memory:
        with pytest.raises(BudgetTooSmall) as refused:
            memory.resize(3_000)
        assert refused.value.smallest == memory.nbytes
        memory.resize(memory.nbytes)
        assert memory.budget == memory.nbytes


def test_an_open_memory_follows_a_budget_set_by_another_process(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    with ExemplarMemory(path, 2**18, CODEC) as first, ExemplarMemory(path) as second:
        first.add(random_payloads(random_sizes(1_000, 3, 2**18)))
        second.resize(2**16)
        assert first.budget == 2**16
        first.add({3: [bytes(1_000)]})
        assert first.nbytes <= 2**16


def test_the_command_sets_another_budget(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "m.recall"
    with ExemplarMemory(path, 2**17, CODEC) as memory:
        memory.add_images({label: pictures(60, seed=label) for label in range(3)})
        had = len(memory)
    assert recallrate(["memory", "resize", str(path), "--budget", "40KiB"]) == 0
    with ExemplarMemory(path) as memory:
        left = len(memory)
        assert memory.budget == 40 * 1024 >= path.stat().st_size
        assert memory.verify() == []
        assert memory.decode(2).shape == (memory.class_counts[2], SIZE, SIZE, 3)
    assert f"dropped {had - left} exemplars from {path}; {left} are left" in " ".join(capsys.readouterr().err.split())
    assert 0 < left < had
    before = path.read_bytes()
    for arguments, said in (
        ([str(path), "--budget", "8000"], "cannot hold one exemplar"),
        ([str(path), "--budget", "much"], "much"),
        ([str(tmp_path), "--budget", "40KiB"], "is a sharded memory"),
        ([str(tmp_path / "none.recall"), "--budget", "40KiB"], "does not exist"),
    ):
        assert recallrate(["memory", "resize", *arguments]) == 2
        assert said in " ".join(capsys.readouterr().err.split())
    assert path.read_bytes() == before


# -- the journal ---------------------------------------------------------------------------------------------------


def test_the_journal_of_the_largest_commit_is_recorded(tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    payloads = random_payloads(random_sizes(1_000, 1, 2**19))[0]
    with ExemplarMemory(path, 2**19, CODEC) as memory:
        memory.add({0: payloads})
        largest, first = path.stat().st_size, memory.summary()["journal_bytes"]
        memory.add({1: payloads, 2: payloads})  # class 0 loses two thirds
        second = memory.summary()["journal_bytes"]
        assert first < second <= largest + 8 * (largest // PAGE) + 8 * 1024
        memory.add({3: [b"x"]})
        assert memory.summary()["journal_bytes"] == second
    with ExemplarMemory(path) as memory:
        assert memory.summary()["journal_bytes"] == second
