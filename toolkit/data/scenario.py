"""A class order split into stages."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence

import numpy as np

from toolkit.foundation.errors import UsageError


def class_order_from_seed(classes: int, seed: int) -> list[int]:
    """NumPy's legacy seeded permutation, as in iCaRL and its successors (seed 1993 of 100 classes: 68, 56, 78, ...)."""
    return np.random.RandomState(seed).permutation(classes).tolist()


def default_initial(classes: int) -> int:
    """Default number of classes in the first stage: a fifth, which gives about five stages, but at least two."""
    return min(classes, max(2, math.ceil(classes / 5)))


class Scenario:
    """Classes arriving in stages; ``scenario[t]`` gives the training indices of stage t.

    Args:
        labels: int array (N,), the training labels.
        order: the class order, with every class once.
        initial: classes in the first stage (B0: equal to ``increment``; B50: 50).
        increment: classes per later stage; the last may have fewer.

    Raises:
        UsageError: ``order`` is not a permutation, or ``initial``/``increment`` do not fit the number of classes.
    """

    def __init__(self, labels: np.ndarray, order: Sequence[int], initial: int, increment: int) -> None:
        classes = len(order)
        if sorted(order) != list(range(classes)):
            raise UsageError(f"class order must contain each of the classes 0..{classes - 1} once, got {list(order)}")
        if classes and int(labels.max(initial=0)) >= classes:
            raise UsageError(f"labels go up to {int(labels.max())} but the class order has {classes} classes")
        if not 1 <= initial <= classes:
            raise UsageError(f"initial must be 1..{classes} (the number of classes), got {initial}")
        if increment < 1:
            raise UsageError(f"increment must be at least 1, got {increment}")
        self.order = list(order)
        starts = [0, *range(initial, classes, increment)]
        self.stages = [self.order[a:b] for a, b in zip(starts, [*starts[1:], classes], strict=True)]
        self._labels = np.asarray(labels)

    def __len__(self) -> int:
        return len(self.stages)

    def __getitem__(self, stage: int) -> np.ndarray:
        """Training indices (int64, sorted) of the classes that arrive in ``stage``."""
        return np.flatnonzero(np.isin(self._labels, self.stages[stage]))

    def __iter__(self) -> Iterator[np.ndarray]:
        return (self[stage] for stage in range(len(self)))

    def seen(self, stage: int) -> list[int]:
        """Classes that have arrived by the end of ``stage``, in order of arrival."""
        stage = range(len(self))[stage]
        return [label for classes in self.stages[: stage + 1] for label in classes]
