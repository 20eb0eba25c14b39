"""One palette and one layout for all figures. Each meaning has one mid-tone colour, readable on light and dark."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

FAMILY_COLOURS = {
    "raw": "#7d8891",
    "png": "#a9744f",
    "webp": "#3b8ed6",
    "webp lossless": "#6aa9a9",
    "jpeg": "#e0662f",
    "avif": "#c25fa5",
    "jxl": "#2fa37c",
    "jxl lossless": "#86b8a3",
    "jpeg2000": "#c9981f",
    "downscale | jpeg": "#8f6fd1",
    "downscale | webp": "#5570c9",
    "learned-jpeg": "#d64550",
}
SPARE_COLOURS = ("#b0574f", "#4f9db0", "#7f9d3a", "#9a6b8f", "#d1799a", "#6c7fa8")
SERIES_COLOURS = ("#e0662f", "#3b8ed6", "#2fa37c", "#c25fa5", "#c9981f", "#8f6fd1")
"""For series without a colour of their own, such as runs."""
GOOD, OTHER, RULE = "#2fa37c", "#c9981f", "#8a949b"
"""For recommended or new values, for values to compare with, and for reference lines."""
ALIGN_SYMBOLS = {"none": "circle", "train": "square", "both": "diamond"}
"""Mark of each alignment."""
SEQUENTIAL = ((0.0, "#2d3047"), (0.5, "#27667b"), (1.0, "#1d9566"))
"""From 0 to 1, dark enough throughout for white text."""
MARGIN = {"l": 10, "r": 10, "t": 30, "b": 10}
DOTTED = {"dash": "dot", "width": 1.5, "color": RULE}


_MARKUP = str.maketrans({one: f"&#{ord(one)};" for one in "&<>${}"})
"""Characters that Plotly reads as tags, entities, formulas and placeholders in hover text."""


def as_text(name: object) -> str:
    """Escape a name so that Plotly shows it unchanged in legends, axes, hover text and templates."""
    return str(name).translate(_MARKUP)


def family_colours(families: Sequence[str]) -> dict[str, str]:
    """One colour per family; families without their own colour take spare colours in order."""
    unknown = [family for family in dict.fromkeys(families) if family not in FAMILY_COLOURS]
    spare = {family: SPARE_COLOURS[n % len(SPARE_COLOURS)] for n, family in enumerate(unknown)}
    return {family: FAMILY_COLOURS.get(family) or spare[family] for family in families}


def style_figure(figure: go.Figure, height: int, **layout: Any) -> None:
    """Set margins and height, and put the legend in a row above the plot."""
    legend = {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0, "title": None}
    figure.update_layout(**({"margin": MARGIN, "height": height, "legend": legend, "hovermode": "closest"} | layout))


def logarithmic(figure: go.Figure, values: Sequence[float]) -> None:
    """Make the x axis logarithmic with ticks at 1, 2 and 5, wide enough for the positive ``values``."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = math.log10(min(positive)), math.log10(max(positive))
    margin = max(0.08, 0.04 * (high - low))
    decades = range(math.floor(low) - 1, math.ceil(high) + 2)
    firsts = (1, 2, 5) if high - low < 2.5 else (1,)  # more would overlap on a narrow screen
    ticks = [first * 10.0**decade for decade in decades for first in firsts]
    figure.update_xaxes(
        type="log", range=[low - margin, high + margin], tickvals=ticks, ticktext=[f"{tick:,.10g}" for tick in ticks]
    )
