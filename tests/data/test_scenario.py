"""Class orders and stages, against published orders and hand-computed counts."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.data.scenario import Scenario, class_order_from_seed
from toolkit.foundation.errors import UsageError


def test_seed_1993_gives_the_order_of_icarl() -> None:
    order = class_order_from_seed(100, 1993)
    assert order[:10] == [68, 56, 78, 8, 23, 84, 90, 65, 74, 76]  # as printed in PODNet's and DER's configurations
    assert sorted(order) == list(range(100))
    assert all(type(label) is int for label in order)


def test_b0_makes_equal_stages() -> None:
    scenario = Scenario(np.arange(100), class_order_from_seed(100, 1993), initial=10, increment=10)
    assert len(scenario) == 10
    assert [len(stage) for stage in scenario.stages] == [10] * 10
    assert scenario.stages[0][:3] == [68, 56, 78]


def test_b50_starts_with_half_of_the_classes() -> None:
    scenario = Scenario(np.arange(100), list(range(100)), initial=50, increment=10)
    assert [len(stage) for stage in scenario.stages] == [50, 10, 10, 10, 10, 10]
    assert scenario.stages[1] == list(range(50, 60))


@pytest.mark.parametrize(
    ("classes", "initial", "increment", "sizes"),
    [
        (17, 5, 5, [5, 5, 5, 2]),
        (10, 4, 3, [4, 3, 3]),
        (10, 10, 1, [10]),
        (10, 9, 50, [9, 1]),
        (3, 1, 1, [1, 1, 1]),
        (250, 100, 60, [100, 60, 60, 30]),
    ],
)
def test_the_last_stage_takes_what_is_left(classes: int, initial: int, increment: int, sizes: list[int]) -> None:
    scenario = Scenario(np.arange(classes), list(range(classes)), initial, increment)
    assert [len(stage) for stage in scenario.stages] == sizes
    assert [label for stage in scenario.stages for label in stage] == list(range(classes))


def test_a_stage_gives_the_indices_of_its_classes_and_nothing_else() -> None:
    labels = np.array([2, 0, 1, 3, 2, 2, 0, 4, 3])
    scenario = Scenario(labels, [3, 2, 0, 4, 1], initial=1, increment=2)
    assert [indices.tolist() for indices in scenario] == [[3, 8], [0, 1, 4, 5, 6], [2, 7]]
    assert scenario[-1].tolist() == [2, 7]
    assert scenario[0].dtype == np.int64
    with pytest.raises(IndexError):
        scenario[3]


def test_every_image_of_many_classes_arrives_exactly_once() -> None:
    labels = np.random.default_rng(0).integers(0, 250, 4000)
    scenario = Scenario(labels, class_order_from_seed(250, 7), initial=40, increment=35)
    arrived = np.concatenate(list(scenario))
    assert sorted(arrived.tolist()) == list(range(4000))


def test_seen_grows_in_the_order_of_arrival() -> None:
    scenario = Scenario(np.arange(5), [3, 2, 0, 4, 1], initial=1, increment=2)
    assert [scenario.seen(stage) for stage in range(3)] == [[3], [3, 2, 0], [3, 2, 0, 4, 1]]
    assert scenario.seen(-1) == [3, 2, 0, 4, 1]
    with pytest.raises(IndexError):
        scenario.seen(3)


@pytest.mark.parametrize(
    ("order", "initial", "increment", "message"),
    [
        ([0, 1, 1], 1, 1, "each of the classes 0..2 once"),
        ([1, 2, 3], 1, 1, "each of the classes 0..2 once"),
        ([0, 1], 1, 1, "labels go up to 2 but the class order has 2"),
        ([], 1, 1, r"initial must be 1\.\.0"),
        ([0, 1, 2], 0, 1, r"initial must be 1\.\.3 .*got 0"),
        ([0, 1, 2], 4, 1, r"initial must be 1\.\.3 .*got 4"),
        ([0, 1, 2], 1, 0, "increment must be at least 1, got 0"),
        ([0, 1, 2], 1, -2, "increment must be at least 1, got -2"),
    ],
)
def test_orders_and_stages_that_do_not_fit_are_refused(
    order: list[int], initial: int, increment: int, message: str
) -> None:
    with pytest.raises(UsageError, match=message):
        Scenario(np.arange(3), order, initial, increment)
