"""The figure of a monitor's history."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from toolkit.language.catalogue import ENGLISH, Language
from toolkit.production.facts import HistoryEntry
from toolkit.report.figures.style import RULE, SERIES_COLOURS, style_figure


def monitor_figure(calls: Sequence[HistoryEntry], say: Language = ENGLISH) -> go.Figure:
    """Each chart over the images of the stream, as a fraction of its threshold: alarms are above the line at 1.

    Args:
        calls: from :func:`toolkit.production.history.history`; a restarted stream begins a new line.
    """
    figure = go.Figure()
    names = list(calls[0]["course"])[1:] if calls else []
    for colour, name in zip(SERIES_COLOURS, names, strict=False):
        x: list[float | None] = []
        y: list[float | None] = []
        for call in calls:
            if x and x[-1] is not None and call["course"]["seen"][0] <= x[-1]:
                x.append(None)
                y.append(None)
            x += call["course"]["seen"]
            y += call["course"][name]
        title = say(f"chart.{name}")
        figure.add_scatter(
            x=x,
            y=y,
            name=title,
            mode="lines",
            line={"width": 2, "color": colour},
            hovertemplate=f"<b>{title}</b><br>"
            + say("figure.monitor_hover", image="%{x:,}", height="%{y:.2f}")
            + "<extra></extra>",
        )
    figure.add_hline(y=1, line={"width": 2, "color": RULE}, annotation_text=say("figure.alarm_above"))
    style_figure(figure, 420)
    figure.update_xaxes(title=say("figure.images_seen"), rangemode="tozero")
    figure.update_yaxes(title=say("figure.monitor_height"), rangemode="tozero")
    return figure
