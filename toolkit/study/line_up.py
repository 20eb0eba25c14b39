"""Who starts in a race: arms from the probe, in order, with the references."""

from __future__ import annotations

import itertools
import re
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from toolkit.advice.contents import AdviceResult
from toolkit.codecs.spec import codec_family, is_lossless, is_raw, stores_exactly, without_store
from toolkit.data.alignment import Align
from toolkit.probe.contents import Setting
from toolkit.study.decision import Group

SCORE = "probe-accuracy"
"""The rule whose order the contenders start in."""
CONSTANT_QUALITY = 50
"""JPEG 4:4:4 nearest this quality with everything coded starts first: no rule is known to be better."""
_JPEG = re.compile(r"jpeg:quality=(\d+)")


class Arm(NamedTuple):
    """A setting with an alignment."""

    codec: str
    align: Align


class LineUp(NamedTuple):
    """All arms of a race.

    Attributes:
        arms: all of them.
        order: contenders, by index, the most promising first; none if everything fits without loss.
        references: arms that run in every round: raw pixels, the source files, the best lossless codec.
        group: int (arms,), see :class:`~toolkit.study.decision.Group`.
        expected: float64 (arms,), scores of the probe with mean 0 and standard deviation 1.
        settings: the probe's row of each arm.
        fitting: lossless arms with which the budget holds every training image.
        beaten: lossless settings that cannot win, since another keeps more exemplars of the same pixels.
    """

    arms: list[Arm]
    order: list[int]
    references: list[int]
    group: np.ndarray
    expected: np.ndarray
    settings: list[Setting]
    fitting: list[int]
    beaten: list[str]


def line_up(advice: AdviceResult, images: int) -> LineUp:
    """The arms that a race can have.

    Args:
        advice: the ``advise`` JSON, whose choices all hold an exemplar of every class.
        images: number of training images.
    """
    rule = next(one for one in advice["rules"] if one["rule"] == SCORE)
    scored = {Arm(one["codec"], one["align"]): one["score"] for one in rule["scores"]}
    rows = {row["codec"]: row for row in advice["settings"]}
    beaten = _beaten([arm.codec for arm in scored], rows)
    scored = {arm: score for arm, score in scored.items() if _takes_part(arm, beaten)}
    arms = list(scored)
    scores = np.array([np.nan if score is None else score for score in scored.values()], float)
    known = np.isfinite(scores)
    filled = np.where(known, scores, scores[known].mean() if known.any() else 0.0)
    expected = (filled - filled.mean()) / (filled.std() or 1.0)
    exact = np.array([stores_exactly(arm.codec) for arm in arms])
    mixed = np.array([arm.align == "none" and not is_lossless(arm.codec) for arm in arms])
    settings = [rows[arm.codec] for arm in arms]
    fitting = [arm for arm in np.flatnonzero(exact).tolist() if settings[arm]["exemplars"] >= images]
    fitting.sort(key=lambda arm: settings[arm]["stored_bytes"])
    kept = references(arms, [one["exemplars"] for one in settings])
    return LineUp(
        arms,
        [] if fitting else starters(arms, filled, kept),
        list(dict.fromkeys([*kept, *fitting[:1]])),
        np.where(exact, Group.LOSSLESS, np.where(mixed, Group.MIXED, Group.ALIKE)),
        expected,
        settings,
        fitting,
        beaten,
    )


def _takes_part(arm: Arm, beaten: Sequence[str]) -> bool:
    """Whether an arm can run: lossless settings once, since no alignment changes a pixel of theirs."""
    return arm.codec not in beaten and (arm.align == "none" or not stores_exactly(arm.codec))


def _beaten(codecs: Sequence[str], rows: Mapping[str, Setting]) -> list[str]:
    """Lossless settings that another beats: of raw pixels the crops stay, else the most exemplars in the fewest bytes.

    Settings are compared if they keep the same pixels: both the source files, or pixels of the same stored side.
    """
    best: dict[object, str] = {}
    exact = [codec for codec in dict.fromkeys(codecs) if stores_exactly(codec)]
    for codec in sorted(
        exact, key=lambda codec: (codec != "raw", -rows[codec]["exemplars"], rows[codec]["stored_bytes"])
    ):
        if is_raw(codec):
            best.setdefault("raw", codec)
        elif codes_nothing(codec):
            best.setdefault("original", codec)
        else:
            best.setdefault(codec.removesuffix(without_store(codec)), codec)  # by the side that is kept
    return [codec for codec in exact if codec not in best.values()]


def codes_nothing(codec: str) -> bool:
    """Whether a lossless setting codes no pixels: raw pixels, or the source files."""
    return is_raw(codec) or codec_family(codec) == "original"


def references(arms: Sequence[Arm], exemplars: Sequence[float]) -> list[int]:
    """Raw pixels, the source files, and of the lossless codecs of pixels the one with the most exemplars."""
    exact = [arm for arm, one in enumerate(arms) if stores_exactly(one.codec)]
    plain = [arm for arm in exact if codes_nothing(arms[arm].codec)]
    others = sorted((arm for arm in exact if arm not in plain), key=lambda arm: -exemplars[arm])
    return plain + others[:1]


def starters(arms: Sequence[Arm], scores: np.ndarray, left_out: Sequence[int]) -> list[int]:
    """Contenders in order: the :func:`ladder`'s first, then by turns the best scored and the ladder's others.

    A setting starts with a second alignment only after every setting has started with one.

    Args:
        arms: all arms.
        scores: float64 (arms,), higher is better.
        left_out: arms that do not contend.
    """
    by_score = sorted((arm for arm in range(len(arms)) if arm not in left_out), key=lambda arm: -scores[arm])
    order, steps = (rungs := ladder(arms))[:1], rungs[1:]
    while left := [arm for arm in by_score if arm not in order]:
        started = {arms[arm].codec for arm in order}
        order.append(next((arm for arm in left if arms[arm].codec not in started), left[0]))
        order += [arm for arm in steps if arm not in order][:1]
    return order


def ladder(arms: Sequence[Arm]) -> list[int]:
    """JPEG 4:4:4 with everything coded: the quality nearest 50, then its neighbours by turns, higher ones first."""
    qualities = {
        arm: int(quality[1])
        for arm, one in enumerate(arms)
        if (quality := _JPEG.fullmatch(without_store(one.codec))) and one.align == "both"
    }
    rungs = sorted(qualities, key=qualities.__getitem__)
    if not rungs:
        return []
    middle = min(range(len(rungs)), key=lambda place: abs(qualities[rungs[place]] - CONSTANT_QUALITY))
    around = itertools.zip_longest(rungs[middle + 1 :], rungs[:middle][::-1])
    return [rungs[middle], *(arm for pair in around for arm in pair if arm is not None)]
