"""The figure of a study."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from toolkit.codecs.spec import codec_family, is_raw
from toolkit.language.catalogue import ENGLISH, Language
from toolkit.report.figures.style import ALIGN_SYMBOLS, DOTTED, RULE, as_text, family_colours, logarithmic, style_figure
from toolkit.study.contents import ArmResult
from toolkit.study.sentences import name_of

_FADED = 0.35
"""Opacity of an arm that was dropped."""


def study_figure(arms: Sequence[ArmResult], chosen: int | None, say: Language = ENGLISH) -> go.Figure:
    """Accuracy against bytes per exemplar: one mark per arm, faded once it is dropped, a ring around the decision.

    A dotted line is the accuracy of raw pixels. ``customdata`` begins with the arm's index in ``arms``.

    Args:
        arms: rows of a study.
        chosen: index of the decision; None if there is none yet.
    """
    ran = [n for n, arm in enumerate(arms) if arm["last_accuracy"] is not None]
    families = [codec_family(arms[n]["codec"]) for n in ran]
    colours = family_colours(families)
    figure = go.Figure()
    for n, family in zip(ran, families, strict=True):
        arm = arms[n]
        figure.add_scatter(
            x=[arm["file_bytes"]],
            y=[arm["last_accuracy"]],
            customdata=[[n, arm["exemplars_per_class"], arm["seeds"], arm["within_eps"]]],
            name=as_text(family),
            legendgroup=family,
            showlegend=families.index(family) == ran.index(n),
            mode="markers",
            marker={
                "size": 13,
                "color": colours[family],
                "symbol": ALIGN_SYMBOLS[arm["align"]],
                "opacity": 1.0 if arm["dropped_in_round"] is None else _FADED,
            },
            hovertemplate=f"<b>{as_text(name_of(arm))}</b><br>"
            + say("metric.last_accuracy")
            + " %{y:.1%}<br>"
            + say("figure.hover_exemplars", count="%{customdata[1]:.1f}")
            + "<br>"
            + say("figure.hover_seeds", count="%{customdata[2]}")
            + "<br>"
            + say("study.hover_near", share="%{customdata[3]:.0%}")
            + "<extra></extra>",
        )
        if is_raw(arm["codec"]):
            figure.add_hline(
                y=arm["last_accuracy"],
                line=DOTTED,
                annotation_text=as_text(arm["codec"]),
                annotation_font_color=RULE,
                annotation_position="bottom left",
            )
    if chosen is not None and chosen in ran:
        figure.add_scatter(
            x=[arms[chosen]["file_bytes"]],
            y=[arms[chosen]["last_accuracy"]],
            name=say("study.decided"),
            mode="markers",
            marker={"size": 26, "symbol": "circle-open", "color": RULE, "line": {"width": 2}},
            hoverinfo="skip",
        )
    style_figure(figure, 420, showlegend=True)
    figure.update_xaxes(title=say("storage.exemplar_bytes"))
    logarithmic(figure, [arms[n]["file_bytes"] for n in ran])
    figure.update_yaxes(title=say("metric.last_accuracy"), tickformat=".0%")
    return figure
