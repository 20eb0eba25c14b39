"""The report's figures show names as plain text."""

from __future__ import annotations

import re

import pytest
from fontTools.ttLib import TTFont

from toolkit.language.catalogue import ENGLISH
from toolkit.report.fonts import REGULAR
from toolkit.report.plots import stages_svg


def outlines(name: str) -> set[str]:
    """The glyphs of the report's font drawn for a line with this name in the legend."""
    drawn = stages_svg({name: [0.5, 0.4]}, ENGLISH).decode()
    return set(re.findall(r'id="NotoSans[\w-]*-([0-9a-f]+)"', drawn))


@pytest.mark.parametrize("name", [r"$\nonsense{$", "$x^2$", "a$b$c"])
def test_dollars_in_a_legend_are_not_a_formula(name: str) -> None:
    font = TTFont(REGULAR)
    dollar = font.getGlyphID(font.getBestCmap()[ord("$")])
    assert f"{dollar:x}" in outlines(name)
    assert f"{dollar:x}" not in outlines("jpeg")
