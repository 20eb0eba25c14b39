"""Decode many exemplars even if some of them cannot be decoded."""

from __future__ import annotations

import warnings
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from toolkit.codecs.base import Codec, Size, image_size
from toolkit.codecs.features import stores_features
from toolkit.foundation.errors import WorkError, one_line
from toolkit.memory.rows import DamagedExemplar, Stored


def warned(
    path: Path, label: int, read: tuple[list[Stored], list[DamagedExemplar]]
) -> tuple[list[Stored], list[DamagedExemplar]]:
    """Pass on the exemplars read from a class, and warn the memory's caller about damaged ones."""
    if read[1]:
        warnings.warn(f"{path}: {len(read[1])} damaged exemplars of class {label} are left out", stacklevel=3)
    return read


def decode_all(
    codec: Codec, exemplars: Sequence[tuple[int, Stored]], size: Size | None
) -> tuple[np.ndarray, np.ndarray, list[DamagedExemplar]]:
    """Decode exemplars given with their labels; warns if any cannot be decoded.

    Returns:
        Images uint8 (N, H, W, 3), their labels int64 (N,), and the exemplars that cannot be decoded.
    """
    images, failed = decode_each(codec, [one.payload for _, one in exemplars], size)
    labels = np.array([label for index, (label, _) in enumerate(exemplars) if index not in failed], np.int64)
    damaged = [
        DamagedExemplar(exemplars[index][0], exemplars[index][1].rank, reason) for index, reason in failed.items()
    ]
    if damaged:
        warnings.warn(f"{len(damaged)} exemplars cannot be decoded and are left out", stacklevel=3)
    return images, labels, damaged


def decode_each(codec: Codec, payloads: Sequence[bytes], size: Size | None) -> tuple[np.ndarray, dict[int, str]]:
    """Decode all payloads that can be decoded.

    Payloads are decoded together; failures are found by bisection, so that one in ten thousand costs little.

    Args:
        codec: fitted or loaded.
        payloads: of images of one size.
        size: their (height, width); None takes the size of the first payload that can be decoded.

    Returns:
        The images, uint8 (N, H, W, 3), or the features, float32 (N, ...), of a codec that stores those, and the reason
        of each failure by payload index.
    """
    if size is None and not stores_features(codec):
        size = next((found for found in (_size(codec, payload) for payload in payloads) if found is not None), None)
    failed: dict[int, str] = {}
    decoded = _bisect(codec, payloads, size, 0, failed)
    if len(decoded) == 1:  # the usual case, without a second copy
        return decoded[0], failed
    return (np.concatenate(decoded) if decoded else np.empty((0, *(size or (0, 0)), 3), np.uint8)), failed


def _size(codec: Codec, payload: bytes) -> Size | None:
    try:
        return image_size(codec.decode([payload]))
    except WorkError:
        return None


def _bisect(
    codec: Codec, payloads: Sequence[bytes], size: Size | None, first: int, failed: dict[int, str]
) -> list[np.ndarray]:
    if not payloads:
        return []
    try:
        return [codec.decode(payloads, size)]
    except WorkError as error:
        if len(payloads) == 1:
            failed[first] = one_line(error)
            return []
    middle = len(payloads) // 2
    left = _bisect(codec, payloads[:middle], size, first, failed)
    return left + _bisect(codec, payloads[middle:], size, first + middle, failed)
