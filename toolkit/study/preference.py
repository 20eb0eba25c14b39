"""What decides between arms that cannot be told apart."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from typing import NamedTuple

from toolkit.codecs.spec import codec_family, is_lossless
from toolkit.foundation.errors import UsageError
from toolkit.study.line_up import Arm

ACCURACY = "accuracy"
_ORDINARY = ("raw", "original", "jpeg", "png", "webp", "webp lossless")
"""Families that any image library reads."""
_MODERN = ("avif", "jxl", "jxl lossless", "jpeg2000")


class _Candidate(NamedTuple):
    arm: Arm
    file_bytes: float


def _codec(one: _Candidate) -> float:
    families = [part.strip() for part in codec_family(one.arm.codec).split("|")]
    if all(family in (*_ORDINARY, "store") for family in families):
        return 0.0
    return 1.0 if families[-1] in _MODERN else 2.0


def _inference(one: _Candidate) -> float:
    """Whether incoming images are coded."""
    return float(one.arm.align == "both" and not is_lossless(one.arm.codec))


_VALUES: Mapping[str, Callable[[_Candidate], float]] = {
    "codec": _codec,
    "inference": _inference,
    "bytes": lambda one: one.file_bytes,
}
EASE = ",".join(_VALUES)
"""An ordinary codec, no coding at inference, fewer bytes per exemplar; in this order."""


def parse_preference(text: str) -> list[str]:
    """``codec,bytes`` to a list; empty for ``accuracy``.

    Raises:
        UsageError: an unknown word.
    """
    words = [word.strip() for word in text.split(",") if word.strip()]
    if words == [ACCURACY]:
        return []
    if not words or (unknown := [word for word in words if word not in _VALUES]):
        named = unknown[0] if words else text
        raise UsageError(f"prefer takes {ACCURACY}, or some of {', '.join(_VALUES)}, got {named!r}")
    return words


def preferred(
    arms: Sequence[int],
    every: Sequence[Arm],
    file_bytes: Sequence[float],
    expected: Sequence[float],
    prefer: str,
    eps: float,
) -> int:
    """Of arms that cannot be told apart, the leader first, the one to take.

    Only those within a quarter of ``eps`` of the leader's expected accuracy are looked at: in simulated races that
    costs nothing, and all within ``eps`` cost 0.2 points.

    Args:
        arms: their indices.
        every: all arms.
        file_bytes: bytes per exemplar of every arm.
        expected: accuracy of every arm, in points.
        prefer: see :func:`parse_preference`.
        eps: points of accuracy that do not matter.
    """
    words = parse_preference(prefer)
    close = [arm for arm in arms if expected[arm] >= expected[arms[0]] - eps / 4]
    found = {arm: _Candidate(every[arm], file_bytes[arm]) for arm in close}
    return min(close, key=lambda arm: tuple(_VALUES[word](found[arm]) for word in words))
