"""Sequential halving over seeds: which pilots run next."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.study.decision import Accuracies
from toolkit.study.race import EFFORTS, Standing, Wanted, standing


def nothing(arms: int, seeds: int = 4) -> Accuracies:
    return Accuracies(np.full((arms, seeds), np.nan), np.zeros(arms, int), np.zeros(arms))


def finish(
    found: Accuracies, truth: np.ndarray, order: list[int], references: list[int], arms: tuple[int, ...]
) -> Standing:
    """Run what is wanted, one run at a time, until nothing is."""
    while wanted := standing(found, order, references, arms).wanted:
        arm, seed = wanted[0]
        assert np.isnan(found.by_seed[arm, seed])
        found.by_seed[arm, seed] = truth[arm] + 10 * seed
    return standing(found, order, references, arms)


@pytest.mark.parametrize(("effort", "pilots"), [("quick", 6), ("usual", 11), ("thorough", 16)])
def test_a_race_takes_the_pilots_of_its_effort(effort: str, pilots: int) -> None:
    found, truth = nothing(10), np.arange(10.0) * 3
    over = finish(found, truth, list(range(10))[::-1], [], EFFORTS[effort])
    assert int(np.isfinite(found.by_seed).sum()) == pilots
    assert [len(arms) for arms in over.rounds] == list(EFFORTS[effort])
    assert over.wanted == []
    assert over.rounds[-1][0] == 9
    # every round has one seed more of the arms that are left
    for number, arms in enumerate(over.rounds):
        assert np.isfinite(found.by_seed[arms, : number + 1]).all()


def test_the_better_part_stays_and_references_run_to_the_end() -> None:
    found, truth = nothing(7), np.array([1, 9, 5, 7, 3, 0, 2.0])
    over = finish(found, truth, [0, 1, 2, 3, 4], [5, 6], (4, 2))
    assert over.rounds[0] == [0, 1, 2, 3, 5, 6]
    assert over.rounds[1] == [1, 3, 5, 6]
    assert over.dropped_after == [1, None, 1, None, None, None, None]
    assert np.isfinite(found.by_seed[[5, 6], :2]).all()
    assert np.isnan(found.by_seed[4]).all()


def test_what_runs_next_depends_on_finished_runs_alone() -> None:
    found, truth = nothing(6), np.array([4, 8, 6, 2, 9, 1.0])
    first = standing(found, [0, 1, 2, 3, 4], [5], (4, 2))
    assert first.wanted == [Wanted(0, 0), Wanted(1, 0), Wanted(2, 0), Wanted(3, 0), Wanted(5, 0)]
    found.by_seed[2, 0] = truth[2]
    again = standing(found, [0, 1, 2, 3, 4], [5], (4, 2))
    assert again.wanted == [one for one in first.wanted if one.arm != 2]
    later = nothing(6)
    later.by_seed[:, :] = truth[:, None]  # runs that exist already, of later seeds too, are used
    assert standing(later, [0, 1, 2, 3, 4], [5], (4, 2)).wanted == []


def test_later_seeds_do_not_change_an_earlier_round() -> None:
    found = nothing(4)
    found.by_seed[:, 0] = [5, 4, 3, 2]
    found.by_seed[2:, 1] = [90, 90]
    assert standing(found, [0, 1, 2, 3], [], (4, 2)).rounds[1] == [0, 1]


def test_an_arm_that_fails_is_out_and_the_next_takes_its_place() -> None:
    found = nothing(6)
    found.by_seed[:5, 0] = [-np.inf, 1, 2, -np.inf, np.nan]
    state = standing(found, [0, 1, 2, 3, 4], [5], (3, 2))
    assert state.rounds == [[1, 2, 4, 5]]
    assert state.wanted == [Wanted(4, 0), Wanted(5, 0)]
    found.by_seed[[4, 5], 0] = [3, -np.inf]
    state = standing(found, [0, 1, 2, 3, 4], [5], (3, 2))
    assert state.rounds[1] == [4, 2]  # without the reference, which failed
    found.by_seed[[4, 2], 1] = [-np.inf, 3]
    state = standing(found, [0, 1, 2, 3, 4], [5], (3, 2, 2))
    assert (state.rounds[2], state.wanted) == ([2], [Wanted(2, 2)])
    assert state.dropped_after == [1, 1, None, 1, 2, 1]


def test_fewer_arms_than_planned_are_all_run_and_none_is_a_race_that_is_over() -> None:
    found = nothing(3)
    found.by_seed[:, 0] = [3, 1, 2]
    assert standing(found, [0, 1, 2], [], (8, 2)).rounds == [[0, 1, 2], [0, 2]]
    assert standing(nothing(1), [0], [], (4, 2)).wanted == [Wanted(0, 0)]
    failed = nothing(2)
    failed.by_seed[:, 0] = -np.inf
    assert standing(failed, [0, 1], [], (4, 2)) == Standing([[], []], [1, 1], [])


def test_a_finished_round_is_decided_for_good() -> None:
    found = nothing(6)
    found.by_seed[:4, 0] = [40, 40, 39.99, 40.01]
    first = standing(found, [0, 1, 2, 3, 4, 5], [], (4, 2)).rounds
    wide = Accuracies(np.pad(found.by_seed, ((0, 0), (0, 3)), constant_values=np.nan), found.group, found.expected)
    wide.by_seed[4:, :3] = 80  # other runs exist already
    wide.by_seed[2, 1:] = 90
    assert standing(wide, [0, 1, 2, 3, 4, 5], [], (4, 2)).rounds == first
    assert set(first[1]) == {3, 0} or set(first[1]) == {3, 1}
