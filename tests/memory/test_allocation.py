"""Shares, leftovers and the budget, on sizes small enough to count by hand."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from toolkit.memory.allocation import BudgetTooSmall, allocate

sizes_by_class = st.dictionaries(
    st.integers(0, 30), st.lists(st.integers(0, 400), min_size=1, max_size=25), min_size=1, max_size=12
)


def totals(sizes: Mapping[int, list[int]]) -> dict[int, np.ndarray]:
    """Bytes of the first candidate, the first two, and so on."""
    return {label: np.cumsum(candidates) for label, candidates in sizes.items()}


def test_equal_classes_get_equal_prefixes() -> None:
    assert allocate(totals({0: [10] * 9, 1: [10] * 9}), budget=80, fixed=0) == {0: 4, 1: 4}


def test_fixed_bytes_are_charged_once_before_the_shares() -> None:
    assert allocate(totals({0: [10] * 9, 1: [10] * 9}), budget=80, fixed=20) == {0: 3, 1: 3}


def test_left_over_bytes_go_to_the_class_that_uses_least() -> None:
    # share 25: class 0 keeps 10 + 10, class 1 keeps 7 + 7 + 7; 9 bytes are left, class 0 (20 bytes) cannot use them
    assert allocate(totals({0: [10] * 9, 1: [7] * 9}), budget=50, fixed=0) == {0: 2, 1: 4}


def test_bytes_a_small_class_cannot_use_go_to_the_others() -> None:
    assert allocate(totals({0: [10], 1: [10] * 20}), budget=100, fixed=0) == {0: 1, 1: 9}


def test_a_class_with_one_huge_exemplar_keeps_just_that_one() -> None:
    assert allocate(totals({0: [70, 70], 1: [10] * 9, 2: [10] * 9}), budget=110, fixed=0) == {0: 1, 1: 2, 2: 2}


def test_a_budget_below_one_exemplar_per_class_names_the_smallest_that_works() -> None:
    candidates = {0: [30, 5], 1: [12], 2: [8, 8]}
    with pytest.raises(BudgetTooSmall, match="60") as caught:
        allocate(totals(candidates), budget=59, fixed=10)
    assert caught.value.smallest == 60
    assert allocate(totals(candidates), budget=60, fixed=10) == {0: 1, 1: 1, 2: 1}


@settings(max_examples=300, deadline=None)
@given(sizes_by_class, st.integers(0, 20_000), st.integers(0, 700))
def test_every_class_keeps_a_non_empty_prefix_within_the_budget(
    sizes: dict[int, list[int]], budget: int, fixed: int
) -> None:
    smallest = fixed + sum(candidates[0] for candidates in sizes.values())
    if budget < smallest:
        with pytest.raises(BudgetTooSmall):
            allocate(totals(sizes), budget, fixed)
        return
    kept = allocate(totals(sizes), budget, fixed)
    used = fixed + sum(sum(sizes[label][:count]) for label, count in kept.items())
    assert used <= budget
    assert all(1 <= kept[label] <= len(sizes[label]) for label in sizes)
    left = budget - used
    assert all(kept[label] == len(sizes[label]) or sizes[label][kept[label]] > left for label in sizes), "bytes wasted"
    share = (budget - fixed) // len(sizes)
    if all(candidates[0] <= share for candidates in sizes.values()):
        for label, candidates in sizes.items():
            fits = sum(1 for n in range(1, len(candidates) + 1) if sum(candidates[:n]) <= share)
            assert kept[label] >= fits, "a class got less than fits its share"
