"""Figures of a dataset and of single images."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from toolkit.data.summary import ClassFacts
from toolkit.language.catalogue import ENGLISH, Language
from toolkit.probe.contents import ImagesResult
from toolkit.report.figures.style import GOOD, OTHER, RULE, SERIES_COLOURS, as_text, style_figure


def class_histogram(rows: Sequence[ClassFacts], say: Language = ENGLISH) -> go.Figure:
    """Training and test images per class.

    Args:
        rows: from :func:`toolkit.data.summary.class_rows`.
    """
    names = [as_text(row["class"]) for row in rows]
    figure = go.Figure()
    counts = {"train": [row["train"] for row in rows], "test": [row["test"] for row in rows]}
    for split, colour in (("train", GOOD), ("test", OTHER)):
        figure.add_bar(
            x=names,
            y=counts[split],
            name=say(f"figure.{split}"),
            marker_color=colour,
            hovertemplate="%{x}<br>" + say("figure.count_of_images", count="%{y}") + "<extra></extra>",
        )
    style_figure(figure, 320, barmode="group", bargap=0.25)
    figure.update_xaxes(type="category", tickangle=-35 if len(names) > 6 else 0)
    figure.update_yaxes(title=say("figure.images"), rangemode="tozero")
    return figure


def feature_figure(result: ImagesResult, chosen: int | None = None, say: Language = ENGLISH) -> go.Figure:
    """Images in the plane of the originals' first two principal components, each joined to its decoded version.

    Args:
        result: the ``images`` JSON.
        chosen: index of the image to mark.
    """
    rows = result["images"]
    figure = go.Figure()
    x = [place for row in rows for place in (row["x"], row["decoded_x"], None)]
    y = [place for row in rows for place in (row["y"], row["decoded_y"], None)]
    figure.add_scattergl(
        x=x, y=y, mode="lines", line={"width": 1, "color": RULE}, opacity=0.5, hoverinfo="skip", showlegend=False
    )
    originals = [(row["x"], row["y"]) for row in rows]
    decoded = [(row["decoded_x"], row["decoded_y"]) for row in rows]
    for name, places, colour, symbol in (
        ("figure.originals", originals, GOOD, "circle"),
        ("figure.decoded", decoded, OTHER, "circle-open"),
    ):
        figure.add_scattergl(
            x=[place[0] for place in places],
            y=[place[1] for place in places],
            customdata=[[row["index"], as_text(row["class"]), row["fmse_relative"]] for row in rows],
            name=say(name),
            mode="markers",
            marker={"size": 7, "color": colour, "symbol": symbol},
            hovertemplate="<b>%{customdata[1]}</b> #%{customdata[0]}<br>"
            + say("metric.fmse_relative")
            + " %{customdata[2]:.4g}<extra></extra>",
        )
    if chosen is not None and (marked := [row for row in rows if row["index"] == chosen]):
        row = marked[0]
        figure.add_scatter(
            x=[row["x"], row["decoded_x"]],
            y=[row["y"], row["decoded_y"]],
            mode="lines+markers",
            name=say("figure.chosen"),
            line={"width": 3, "color": SERIES_COLOURS[0]},
            marker={"size": 12},
            hoverinfo="skip",
        )
    style_figure(figure, 440)
    first, second = result["explained"][0], (*result["explained"], 0.0)[1]
    figure.update_xaxes(title=say("figure.component", number=1, share=f"{first:.0%}"), zeroline=False)
    figure.update_yaxes(title=say("figure.component", number=2, share=f"{second:.0%}"), zeroline=False)
    return figure
