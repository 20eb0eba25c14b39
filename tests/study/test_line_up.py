"""Who starts, and what decides between arms that cannot be told apart."""

from __future__ import annotations

import numpy as np
import pytest

from toolkit.foundation.errors import UsageError
from toolkit.study.line_up import Arm, ladder, references, starters
from toolkit.study.preference import EASE, parse_preference, preferred

ARMS = [
    Arm("raw", "none"),
    Arm("original", "none"),
    Arm("png", "none"),
    Arm("jxl:lossless=yes", "none"),
    Arm("jpeg:quality=10", "both"),
    Arm("jpeg:quality=30", "both"),
    Arm("jpeg:quality=75", "both"),
    Arm("jpeg:quality=90", "both"),
    Arm("jpeg:quality=75", "none"),
    Arm("webp:quality=50", "both"),
    Arm("avif:quality=40", "train"),
]
EQUAL = [50.0] * len(ARMS)


def test_the_ladder_begins_nearest_quality_50_and_goes_up_first() -> None:
    assert [ARMS[arm].codec for arm in ladder(ARMS)] == [f"jpeg:quality={q}" for q in (30, 75, 10, 90)]
    assert ladder(ARMS[:4]) == []
    stored = [Arm("store:side=64|jpeg:quality=50", "both")]
    assert ladder(stored) == [0], "the side that is kept says nothing about the quality"


def test_references_are_raw_the_source_files_and_the_lossless_codec_with_the_most_exemplars() -> None:
    exemplars = [10, 50, 20, 30, *[99] * 7]
    assert references(ARMS, exemplars) == [0, 1, 3]


def test_starters_take_turns_between_the_rule_and_the_ladder() -> None:
    scores = np.array([9, 9, 9, 9, 0, 1, 2, 3, 4, 6, 5], float)
    order = starters(ARMS, scores, [0, 1, 3])
    named = [(ARMS[arm].codec, ARMS[arm].align) for arm in order]
    assert named == [
        ("jpeg:quality=30", "both"),  # the constant
        ("png", "none"),  # by score: 9
        ("jpeg:quality=75", "both"),  # of the ladder
        ("webp:quality=50", "both"),  # 6
        ("jpeg:quality=10", "both"),
        ("avif:quality=40", "train"),  # 5
        ("jpeg:quality=90", "both"),
        ("jpeg:quality=75", "none"),  # 4: a second alignment, after all settings
    ]
    better = np.array([9, 9, 9, 9, 0, 1, 2, 3, 8, 6, 5], float)
    assert [ARMS[arm] for arm in starters(ARMS, better, [0, 1, 2, 3])][:3] == [
        Arm("jpeg:quality=30", "both"),
        Arm("jpeg:quality=75", "none"),
        Arm("jpeg:quality=75", "both"),  # the ladder's turn
    ]


def test_an_ordinary_codec_comes_before_no_coding_at_inference_before_fewer_bytes() -> None:
    alike = [9, 10, 7, 8, 6]
    sizes = [0, 0, 0, 0, 1, 2, 3, 5, 3, 1, 1]
    assert preferred(alike, ARMS, sizes, EQUAL, EASE, 2.0) == 8, "jpeg without coding at inference"
    assert preferred(alike, ARMS, sizes, EQUAL, "inference,bytes", 2.0) == 10, (
        "avif codes nothing at inference and is smaller"
    )
    assert preferred(alike, ARMS, sizes, EQUAL, "bytes", 2.0) == 9, "equal bytes: the leader's turn comes first"
    assert preferred(alike, ARMS, sizes, EQUAL, "accuracy", 2.0) == 9, "the leader"
    behind = [*EQUAL]
    behind[8] = 49.4
    assert preferred(alike, ARMS, sizes, behind, EASE, 2.0) != 8, "more than a quarter of eps behind"
    assert preferred(alike, ARMS, sizes, behind, EASE, 4.0) == 8


@pytest.mark.parametrize("text", ["", "speed", "accuracy,bytes"])
def test_unknown_preferences_are_refused(text: str) -> None:
    with pytest.raises(UsageError, match="prefer takes accuracy, or some of codec, inference, bytes"):
        parse_preference(text)
