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
    """How far a codec is from what any image library reads; every wrapper takes a step."""
    *wrappers, family = (part.strip() for part in codec_family(one.arm.codec).split("|"))
    rank = 0.0 if family in _ORDINARY else 1.0 if family in _MODERN else 2.0
    return rank + sum(wrapper != "store" for wrapper in wrappers)


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
    costs 0.0 to 0.1 points, and all within ``eps`` would cost 0.3 to 0.6.

    Args:
        arms: their indices.
        every: all arms.
        file_bytes: bytes per exemplar of every arm.
        expected: accuracy of every arm, in points.
        prefer: see :func:`parse_preference`.
        eps: points of accuracy that do not matter.

    Raises:
        UsageError: an unknown preference.
    """
    words = parse_preference(prefer)
    close = [arm for arm in arms if expected[arm] >= expected[arms[0]] - eps / 4]
    found = {arm: _Candidate(every[arm], file_bytes[arm]) for arm in close}
    return min(close, key=lambda arm: tuple(_VALUES[word](found[arm]) for word in words))
