"""Figures of probes and advice."""

from __future__ import annotations

import math
from collections.abc import Sequence

import plotly.graph_objects as go

from toolkit.advice.contents import BudgetRow, RulePick
from toolkit.codecs.spec import codec_family, is_lossless, short_spec
from toolkit.foundation.sizes import format_size
from toolkit.language.catalogue import ENGLISH, Language
from toolkit.probe.contents import Setting, figure_of
from toolkit.report.figures.style import (
    DOTTED,
    FAMILY_COLOURS,
    GOOD,
    RULE,
    as_text,
    family_colours,
    logarithmic,
    style_figure,
)
from toolkit.report.pareto import frontier

LOWER_IS_BETTER = {
    "fmse_relative": True,
    "psnr": False,
    "ssim": False,
    "cosine_distance": True,
    "probe_accuracy": False,
}
"""Metrics of a probe's settings; ``probe_accuracy`` only with advice."""


def distortion_figure(
    settings: Sequence[Setting],
    metric: str = "fmse_relative",
    *,
    basis: str = "stored_bytes",
    original_bytes: float | None = None,
    picks: Sequence[RulePick] = (),
    recommended: str | None = None,
    say: Language = ENGLISH,
) -> go.Figure:
    """Distortion against bytes per image on a log axis, one line per codec family; lossless settings are stars.

    A thin line joins the settings on the Pareto frontier. Bars are 95 % intervals for all training images, where the
    result has them.

    Args:
        settings: from the ``probe`` JSON; settings without a value of the metric are left out.
        metric: a key of :data:`LOWER_IS_BETTER`.
        basis: ``stored_bytes`` or ``file_bytes``.
        original_bytes: mean size of the original files, marked by a dotted line if given.
        picks: ``rules`` of the ``advise`` JSON; each picked setting gets a ring with the names of the rules.
        recommended: the setting whose ring is filled.
    """
    title = say(f"metric.{metric}")
    direction = say("figure.lower_is_better" if LOWER_IS_BETTER[metric] else "figure.higher_is_better")
    settings = [setting for setting in settings if figure_of(setting, metric) is not None]
    families = [codec_family(setting["codec"]) for setting in settings]
    colours = family_colours(families)
    figure = go.Figure()
    for family in dict.fromkeys(families):
        chosen = [setting for setting, other in zip(settings, families, strict=True) if other == family]
        chosen.sort(key=lambda setting: figure_of(setting, basis) or 0.0)
        lossless = [is_lossless(setting["codec"]) for setting in chosen]
        figure.add_scatter(
            x=_figures(chosen, basis),
            y=_figures(chosen, metric),
            customdata=[
                [as_text(short_spec(one["codec"])), one["exemplars_per_class"], one["ratio_raw"], one["codec"]]
                for one in chosen
            ],
            name=as_text(family),
            mode="lines+markers",
            cliponaxis=False,
            error_y={
                "type": "data",
                "array": [figure_of(one, f"{metric}_ci95") or 0.0 for one in chosen],
                "visible": any(figure_of(one, f"{metric}_ci95") for one in chosen),
                "thickness": 1.5,
                "width": 3,
            },
            line={"color": colours[family], "width": 2},
            marker={
                "size": [14 if exact else 10 for exact in lossless],
                "symbol": ["star" if exact else "circle" for exact in lossless],
            },
            hovertemplate="<b>%{customdata[0]}</b><br>"
            + say("figure.hover_bytes", bytes="%{x:.1f}", ratio="%{customdata[2]:.1f}")
            + "<br>"
            + title
            + " %{y:.4g}<br>"
            + say("figure.hover_exemplars", count="%{customdata[1]:.0f}")
            + "<extra></extra>",
        )
    if original_bytes is not None and settings:
        figure.add_shape(
            type="line",
            x0=original_bytes,
            x1=original_bytes,
            y0=0,
            y1=1,
            yref="y domain",
            line=DOTTED,
        )
        figure.add_annotation(  # on a log axis, annotations, unlike shapes, take the logarithm
            text=say("figure.original_file"),
            x=math.log10(original_bytes),
            y=1,
            yref="y domain",
            xanchor="right",
            yanchor="top",
            showarrow=False,
            font={"color": RULE},
        )
    _mark_frontier(figure, settings, metric, basis, say)
    _mark_picks(figure, settings, picks, recommended, metric, basis, say)
    style_figure(figure, 440)
    logarithmic(figure, [*_figures(settings, basis), original_bytes or 0])
    figure.update_xaxes(title=say(f"figure.{basis}"))
    figure.update_yaxes(title=f"{title} ({direction})", rangemode="tozero" if metric != "ssim" else "normal")
    return figure


def _figures(settings: Sequence[Setting], name: str) -> list[float]:
    """Values of a field that no setting lacks."""
    return [value for setting in settings if (value := figure_of(setting, name)) is not None]


def _mark_frontier(figure: go.Figure, settings: Sequence[Setting], metric: str, basis: str, say: Language) -> None:
    sign = -1 if LOWER_IS_BETTER[metric] else 1
    sizes, losses = _figures(settings, basis), _figures(settings, metric)
    best = frontier(sizes, [sign * loss for loss in losses])
    if len(best) > 1:
        figure.add_scatter(
            x=[sizes[n] for n in best],
            y=[losses[n] for n in best],
            name=say("figure.frontier"),
            mode="lines",
            line=DOTTED,
            hoverinfo="skip",
        )


def _mark_picks(
    figure: go.Figure,
    settings: Sequence[Setting],
    picks: Sequence[RulePick],
    recommended: str | None,
    metric: str,
    basis: str,
    say: Language,
) -> None:
    """Rings around the settings that rules pick, with a bold one around the recommended setting."""
    by_codec: dict[str, list[str]] = {}
    for row in picks:
        by_codec.setdefault(row["codec"], []).append(as_text(row["rule"]))
    for chosen in (True, False):
        ringed = [one for one in settings if one["codec"] in by_codec and (one["codec"] == recommended) == chosen]
        if ringed:
            figure.add_scatter(
                x=_figures(ringed, basis),
                y=_figures(ringed, metric),
                customdata=[[as_text(short_spec(one["codec"])), "<br>".join(by_codec[one["codec"]])] for one in ringed],
                name=say("figure.recommended" if chosen else "figure.picked"),
                mode="markers",
                cliponaxis=False,
                marker={
                    "size": 24 if chosen else 20,
                    "symbol": "circle-open",
                    "color": RULE,
                    "line": {"width": 4 if chosen else 1.5},
                },
                hovertemplate="<b>%{customdata[0]}</b><br>"
                + say("figure.picked_by")
                + "<br>%{customdata[1]}<extra></extra>",
            )


def budget_figure(curve: Sequence[BudgetRow], budget: int, ceiling: float, say: Language = ENGLISH) -> go.Figure:
    """Expected gain against the budget on a log axis, for the best choice and for raw pixels.

    Args:
        curve: from ``budgets`` of the ``advise`` JSON.
        budget: the requested budget, marked by a dotted line.
        ceiling: the expected gain of keeping every image raw, marked by a dotted line.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=[row["budget_bytes"] for row in curve],
        y=[row["expected_gain"] for row in curve],
        customdata=[
            [as_text(name) for name in (short_spec(row["codec"]), row["align"])]
            + [row["exemplars_per_class"], format_size(row["budget_bytes"])]
            for row in curve
        ],
        name=say("figure.best_choice"),
        mode="lines+markers",
        line={"color": GOOD, "width": 2},
        hovertemplate="%{customdata[3]}: <b>%{customdata[0]}</b>, align %{customdata[1]}<br>"
        + say("figure.hover_points", points="%{y:+.1f}")
        + "<br>"
        + say("figure.hover_exemplars", count="%{customdata[2]:.1f}")
        + "<extra></extra>",
    )
    raw = [row for row in curve if row["raw_gain"] is not None]
    figure.add_scatter(
        x=[row["budget_bytes"] for row in raw],
        y=[row["raw_gain"] for row in raw],
        name="raw",
        mode="lines+markers",
        line={"color": FAMILY_COLOURS["raw"], "width": 2},
        hovertemplate="raw: " + say("figure.hover_points", points="%{y:+.1f}") + "<extra></extra>",
    )
    figure.add_shape(type="line", x0=budget, x1=budget, y0=0, y1=1, yref="y domain", line=DOTTED)
    figure.add_hline(y=ceiling, line=DOTTED, annotation_text=say("figure.all_raw"), annotation_font_color=RULE)
    style_figure(figure, 360)
    logarithmic(figure, [row["budget_bytes"] for row in curve])
    figure.update_xaxes(title=say("figure.memory_budget"))
    figure.update_yaxes(title=say("figure.expected_gain"))
    return figure
