"""Selection from a stream of images in bounded memory: a hash reservoir, and herding over it.

Both can be split into parts: merging the parts, in any order, gives exactly the result of one pass. The selection
therefore depends only on the images, the seed and the number of candidates, not on how the stream was divided.
"""

from __future__ import annotations

import hashlib
import heapq
from collections.abc import Iterator
from typing import NamedTuple

import numpy as np

from toolkit.data.images import DIGEST_BYTES
from toolkit.memory.selection import herding_order, normalised

_FIXED_POINT = 2.0**32
"""Unit-length features are summed as integer multiples of 2**-32: these sums are exact, so their order does not matter,
and 2**31 images fit."""


class Candidate(NamedTuple):
    """An image that may be selected: digest of its content, payload, and feature, float32 (D,)."""

    digest: bytes
    payload: bytes
    feature: np.ndarray


class HashReservoir:
    """A uniform sample of the distinct images of a stream: those with the smallest keyed hashes.

    A repeated image counts once.

    Args:
        capacity: maximum number of images held.
        seed: key of the hash; different seeds draw different samples.
    """

    def __init__(self, capacity: int, seed: int = 0) -> None:
        if capacity < 1:
            raise ValueError(f"capacity must be at least 1, got {capacity}")
        self.capacity = capacity
        self._key = seed.to_bytes(8, "little")
        self._held: dict[int, Candidate] = {}
        self._worst_first: list[int] = []

    def __len__(self) -> int:
        return len(self._held)

    def add(self, candidate: Candidate) -> None:
        """Keep an image if its hash is among the ``capacity`` smallest so far."""
        rank = self._rank(candidate.digest)
        if rank in self._held:
            return
        if len(self._held) < self.capacity:
            heapq.heappush(self._worst_first, -rank)
        elif rank < -self._worst_first[0]:
            del self._held[-heapq.heapreplace(self._worst_first, -rank)]
        else:
            return
        self._held[rank] = candidate

    def __iter__(self) -> Iterator[Candidate]:
        """In hash order, which is random."""
        return (self._held[rank] for rank in sorted(self._held))

    def _rank(self, digest: bytes) -> int:
        return int.from_bytes(hashlib.blake2b(digest, key=self._key, digest_size=DIGEST_BYTES).digest(), "big")


class StreamingHerding:
    """Herding of one class's exemplars in one pass: the exact mean of all images, picks from a bounded sample.

    The mean of the normalised features covers every image of the stream, including repeats. Candidates are a uniform
    sample of the distinct images (:class:`HashReservoir`), from which :func:`herding_order` picks towards that mean.
    Distance between the mean of 20 exemplars and the class mean, relative to herding over all images, measured on
    Tiny-ImageNet with simple features: 8 candidates per exemplar 1.07 and random 2.9 (300 images per class); 16
    candidates 1.29, 8 candidates 1.47 and random 3.5 (6,000 images as one class).

    Args:
        candidates: maximum number of images held.
        seed: of the sample.
    """

    def __init__(self, candidates: int, seed: int = 0) -> None:
        self.pool = HashReservoir(candidates, seed)
        self.images = 0
        self.sums: np.ndarray | None = None

    def __len__(self) -> int:
        """Number of candidates held."""
        return len(self.pool)

    @property
    def mean(self) -> np.ndarray:
        """Mean of the normalised features so far, float64 (D,)."""
        if self.sums is None:
            raise ValueError("the mean needs at least one image")
        return self.sums / (_FIXED_POINT * self.images)

    def update(self, digests: list[bytes], payloads: list[bytes], features: np.ndarray) -> None:
        """Add images: their digests, payloads and features, float (N, D)."""
        fixed = np.rint(normalised(features) * _FIXED_POINT).astype(np.int64).sum(axis=0)
        self._count(len(digests), fixed)
        for digest, payload, feature in zip(digests, payloads, features.astype(np.float32), strict=True):
            self.pool.add(Candidate(digest, payload, feature))

    def merge(self, images: int, sums: np.ndarray, candidates: Iterator[Candidate]) -> None:
        """Add the result for other images of an instance with the same seed and number of candidates."""
        self._count(images, sums)
        for candidate in candidates:
            self.pool.add(candidate)

    def _count(self, images: int, sums: np.ndarray) -> None:
        self.images += images
        self.sums = sums if self.sums is None else self.sums + sums

    def chosen(self, count: int, selection: str) -> list[Candidate]:
        """The first ``count`` candidates in selection order: ``herding``, or ``random``, which is hash order."""
        candidates = list(self.pool)
        if selection == "random":
            return candidates[:count]
        order = herding_order(np.stack([candidate.feature for candidate in candidates]), count, self.mean)
        return [candidates[index] for index in order]


def shard_of(digest: bytes, shards: int) -> int:
    """The shard an image belongs to; it depends only on the content."""
    return int.from_bytes(digest[:8], "big") % shards
