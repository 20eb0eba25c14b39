"""Exemplars as a function of the budget, against what memories keep."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from toolkit.memory.capacity import Capacity
from toolkit.memory.disk import fitting, fixed_bytes
from toolkit.memory.store import ExemplarMemory


def random_sizes(mean: int, classes: int, count: int) -> np.ndarray:
    return np.random.default_rng(mean).normal(mean, 0.3 * mean, (classes, count)).clip(1).astype(int)


@pytest.mark.parametrize(
    ("budget", "classes", "mean"),
    [
        (budget, classes, mean)
        for budget in (2**18, 2**20, 2**22)
        for classes in (2, 10, 100)
        for mean in (60, 186, 1_140, 3_000)
        if classes * (mean + 1024) < budget
    ],
)
def test_it_counts_what_a_memory_keeps_from_all_images_or_a_sample(budget: int, classes: int, mean: int) -> None:
    each = int(1.3 * budget / mean / classes) + 2
    sample = random_sizes(mean, classes, 40)
    for known, sizes in (
        (random_sizes(mean, classes, each), random_sizes(mean, classes, each)),
        (sample, np.resize(np.tile(sample, each // 40 + 1), (classes, 40 * (each // 40 + 1)))),
    ):
        kept = sum(fitting(dict(enumerate(sizes)), budget, shared=300).values())
        assert kept < sizes.size
        found = Capacity.of(known, 300, [sizes.shape[1]] * classes).exemplars(budget)
        assert found == pytest.approx(kept, abs=0.01 * kept + classes)
        assert Capacity.of(known, 300).exemplars(budget) == pytest.approx(found)


def test_exemplars_never_decrease_with_the_budget_and_end_at_the_number_of_images() -> None:
    sizes = [random_sizes(mean, 1, count)[0] for mean, count in ((90, 50), (700, 8), (4_000, 30), (40_000, 3))]
    images = [500, 8, 90, 3]
    limited, endless = Capacity.of(sizes, 4, images), Capacity.of(sizes, 4)
    budgets = np.arange(0, 2**20, 200)
    found = [limited.exemplars(budget) for budget in budgets]
    assert found[0] == limited.exemplars(fixed_bytes(4)) == 0
    assert (np.diff(found) >= 0).all()
    assert np.diff(found).max() <= 2 * len(sizes), "no steps beyond what 200 bytes hold"
    assert found[-1] == limited.exemplars(1e15) == sum(images)
    more = [endless.exemplars(budget) for budget in (*budgets, 1e9, 1e12, 1e15)]
    assert (np.diff(more) >= 0).all()
    assert more[-1] > 1000 * more[-3] > 10**6


def test_what_small_classes_cannot_use_goes_to_the_others(tmp_path: Path) -> None:
    sizes = {0: [400] * 3, 1: [400] * 900, 2: [400] * 20, 3: [400] * 900}
    capacity = Capacity.of([np.array(own[:5]) for own in sizes.values()], 0, [len(own) for own in sizes.values()])
    with ExemplarMemory(tmp_path / "m.recall", 2**18, "png:shared=no") as memory:
        memory.add({label: [bytes(size) for size in own] for label, own in sizes.items()})
        counts = memory.class_counts
    assert (counts[0], counts[2]) == (3, 20)
    assert counts[1] + counts[3] > 500
    assert capacity.exemplars(2**18) == pytest.approx(sum(counts.values()), abs=4)


def test_exemplars_in_several_files_are_those_of_as_many_memories() -> None:
    sizes = random_sizes(600, 5, 400)
    budget = 2**18
    each = sum(fitting(dict(enumerate(sizes)), budget, shared=300).values())
    found = Capacity.of(sizes, 300, files=4).exemplars(4 * budget)
    assert found == pytest.approx(4 * each, abs=0.01 * 4 * each + 5)
    assert found < Capacity.of(sizes, 300).exemplars(4 * budget)
    assert Capacity.of(sizes, 300, [410] * 5, files=4).exemplars(1e9) == pytest.approx(5 * 410)
