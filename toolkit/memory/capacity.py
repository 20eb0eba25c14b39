"""How many exemplars any budget holds, from the payload sizes of a sample of each class."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

from toolkit.memory.disk import fixed_bytes, prefix_bytes
from toolkit.memory.packs import PACK_BYTES

_PACKS = 16
"""A sample is repeated until it fills so many packs; beyond, bytes grow evenly with exemplars."""
_MOST_BYTES = 2.0**63


class _Curve(NamedTuple):
    """Bytes of a class on disk, float64 (P,), and the exemplars that they hold, float64 (P,); both ascend from 0."""

    used: np.ndarray
    exemplars: np.ndarray


@dataclass(frozen=True)
class Capacity:
    """Exemplars that memories hold: what :func:`~toolkit.memory.disk.fitting` keeps, for every budget.

    Without steps from one exemplar to the next, so that exemplars never decrease as the budget grows. Build it with
    :meth:`of`.
    """

    curves: tuple[_Curve, ...]
    fixed: int

    @classmethod
    def of(
        cls, sizes: Iterable[np.ndarray], shared: int, images: Sequence[int] | None = None, files: int = 1
    ) -> Capacity:
        """The capacity for classes of which a sample is known.

        Args:
            sizes: int (n,) for each class, payload bytes of some images in selection order, at least one.
            shared: bytes of the codec's shared header.
            images: number of images of each class, which are all exemplars that it can have; None for no limit.
            files: over which the exemplars are spread evenly.
        """
        known = list(sizes)
        limits = [None] * len(known) if images is None else images
        curves = [_curve(own, limit, files) for own, limit in zip(known, limits, strict=True)]
        return cls(tuple(curves), fixed_bytes(shared, files))

    def exemplars(self, budget: float) -> float:
        """Exemplars of all classes within ``budget`` bytes on disk.

        Classes have equal shares; what a class cannot use goes to the others.
        """
        available = max(0.0, budget - self.fixed)
        fulls = np.sort([curve.used[-1] for curve in self.curves])
        share = np.inf
        for done, full in enumerate(fulls):
            if full * (len(fulls) - done) >= available:
                share = available / (len(fulls) - done)
                break
            available -= full
        return float(sum(np.interp(share, *curve) for curve in self.curves))


def _curve(sizes: np.ndarray, limit: int | None, files: int) -> _Curve:
    mean = max(1.0, float(np.mean(sizes)))
    count = max(len(sizes), 4 * _PACKS, int(_PACKS * PACK_BYTES / mean))
    if limit is not None:
        count = min(count, -(-limit // files))
    used = prefix_bytes(np.resize(sizes, count))
    most = np.inf if limit is None else float(limit)
    curve = _Curve(np.array([0.0, *used]) * files, np.minimum(np.arange(count + 1.0) * files, most))
    more = most - curve.exemplars[-1]
    if more <= 0:
        return curve
    half = count // 2
    each = float(used[-1] - used[half - 1]) / (count - half) if half else float(used[-1])
    more = min(more, _MOST_BYTES / each)
    return _Curve(
        np.append(curve.used, curve.used[-1] + more * each), np.append(curve.exemplars, curve.exemplars[-1] + more)
    )
