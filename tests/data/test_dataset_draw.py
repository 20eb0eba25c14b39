"""The stratified draw from a training split."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.data.dataset import ImageDataset, Split


def _dataset(sizes: list[int]) -> ImageDataset:
    labels = np.repeat(np.arange(len(sizes)), sizes)
    np.random.default_rng(0).shuffle(labels)
    empty = np.zeros((len(labels), 8, 8, 3), np.uint8)
    split = Split(empty, labels, np.zeros(len(labels), np.int64))
    return ImageDataset("x", 8, tuple(map(str, range(len(sizes)))), split, split, (), (), "00")


@pytest.mark.parametrize(
    ("sizes", "count", "expected"),
    [
        ([50, 50, 50], 30, [10, 10, 10]),
        ([50, 2, 50], 30, [14, 2, 14]),
        ([3, 4, 5], 100, [3, 4, 5]),
        ([9, 9, 9], 4, [2, 1, 1]),
        ([9, 9], 0, [0, 0]),
    ],
)
def test_classes_share_the_draw_as_equally_as_they_can(sizes: list[int], count: int, expected: list[int]) -> None:
    dataset = _dataset(sizes)
    drawn = dataset.stratified_train_indices(count, seed=3)
    # which classes get the remainder is random, too
    assert sorted(np.bincount(dataset.train.labels[drawn], minlength=len(sizes))) == sorted(expected)
    assert drawn.tolist() == sorted(set(drawn.tolist()))


def test_the_draw_follows_its_seed() -> None:
    dataset = _dataset([100, 100])
    first = dataset.stratified_train_indices(40, seed=1)
    np.testing.assert_array_equal(first, dataset.stratified_train_indices(40, seed=1))
    assert first.tolist() != dataset.stratified_train_indices(40, seed=2).tolist()
