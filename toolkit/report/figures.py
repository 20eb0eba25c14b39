"""Plotly figures as pure functions of the result JSON.

Backgrounds and text are left to the theme of whoever shows them. Marks keep one mid-tone colour a codec family,
readable on light and on dark ground.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import Any

import plotly.graph_objects as go

from toolkit.codecs.spec import codec_family, parse_codec, short_spec
from toolkit.foundation.sizes import format_size

FAMILY_COLOURS = {
    "raw": "#7d8891",
    "png": "#a9744f",
    "webp": "#3b8ed6",
    "webp lossless": "#6aa9a9",
    "jpeg": "#e0662f",
    "avif": "#c25fa5",
    "jxl": "#2fa37c",
    "jpeg2000": "#c9981f",
    "downscale | jpeg": "#8f6fd1",
    "downscale | webp": "#5570c9",
}
_SPARE_COLOURS = ("#b0574f", "#4f9db0", "#7f9d3a", "#9a6b8f", "#d1799a", "#6c7fa8")
_ALIGN_SYMBOLS = {"none": "circle", "train": "square", "both": "diamond"}
_RULE_COLOUR = "#8a949b"
_MARGIN = {"l": 10, "r": 10, "t": 30, "b": 10}

DISTORTIONS = {
    "fmse_relative": ("FMSE, relative", "lower is better"),
    "psnr": ("PSNR in dB", "higher is better"),
    "ssim": ("SSIM", "higher is better"),
    "cosine_distance": ("cosine distance of features", "lower is better"),
}
"""What a probe's settings can be judged by: axis title and which way is better."""

ACCURACIES = {
    "last_accuracy": "accuracy after the last stage",
    "average_incremental_accuracy": "average incremental accuracy",
    "forgetting": "forgetting",
    "accuracy_on_original": "last accuracy on original test images",
    "accuracy_on_coded": "last accuracy on coded test images",
}
STORAGES = {
    "exemplars_per_class": "exemplars a class",
    "memory_bytes": "memory used, bytes",
    "budget_bytes": "budget, bytes",
}


def family_colours(families: Sequence[str]) -> dict[str, str]:
    """A colour each; families without one of their own take spare colours in order."""
    unknown = [family for family in dict.fromkeys(families) if family not in FAMILY_COLOURS]
    spare = {family: _SPARE_COLOURS[n % len(_SPARE_COLOURS)] for n, family in enumerate(unknown)}
    return {family: FAMILY_COLOURS.get(family) or spare[family] for family in families}


def class_histogram(rows: Sequence[dict[str, Any]]) -> go.Figure:
    """Training and test images of each class.

    Args:
        rows: as :func:`toolkit.data.summary.class_rows` gives them.
    """
    names = [row["class"] for row in rows]
    figure = go.Figure()
    for split, title, colour in (("train", "training", "#2fa37c"), ("test", "test", "#c9981f")):
        counts = [row[split] for row in rows]
        figure.add_bar(x=names, y=counts, name=title, marker_color=colour, hovertemplate="%{x}<br>%{y} images")
    figure.update_layout(barmode="group", margin=_MARGIN, height=320, legend=_legend(), bargap=0.25)
    figure.update_xaxes(type="category", tickangle=-35 if len(names) > 6 else 0)
    figure.update_yaxes(title="images", rangemode="tozero")
    return figure


def distortion_figure(
    settings: Sequence[dict[str, Any]],
    metric: str = "fmse_relative",
    *,
    basis: str = "stored_bytes",
    original_bytes: float | None = None,
    picks: Sequence[dict[str, Any]] = (),
    recommended: str | None = None,
) -> go.Figure:
    """Distortion against bytes an image on a logarithmic axis, a line a codec family; lossless settings are stars.

    Args:
        settings: of the ``probe`` JSON.
        metric: a key of :data:`DISTORTIONS`.
        basis: ``stored_bytes`` or ``file_bytes``.
        original_bytes: mean size of the original files, marked by a dotted line where given.
        picks: ``rules`` of the ``advise`` JSON; each setting that some rule picks gets a ring with their names.
        recommended: the setting whose ring is filled.
    """
    title, direction = DISTORTIONS[metric]
    families = [codec_family(setting["codec"]) for setting in settings]
    colours = family_colours(families)
    figure = go.Figure()
    for family in dict.fromkeys(families):
        chosen = [setting for setting, other in zip(settings, families, strict=True) if other == family]
        chosen.sort(key=lambda setting: setting[basis])
        lossless = [parse_codec(setting["codec"]).lossless for setting in chosen]
        figure.add_scatter(
            x=[setting[basis] for setting in chosen],
            y=[setting[metric] for setting in chosen],
            customdata=[
                [short_spec(one["codec"]), one["exemplars_per_class"], one["ratio_raw"]] for one in chosen
            ],
            name=family,
            mode="lines+markers",
            cliponaxis=False,
            line={"color": colours[family], "width": 2},
            marker={"size": [14 if exact else 10 for exact in lossless],
                    "symbol": ["star" if exact else "circle" for exact in lossless]},
            hovertemplate="<b>%{customdata[0]}</b><br>%{x:.1f} bytes an image (%{customdata[2]:.1f} x smaller than raw)"
            "<br>" + title + " %{y:.4g}<br>%{customdata[1]:.0f} exemplars a class<extra></extra>",
        )  # fmt: skip
    if original_bytes is not None and settings:
        figure.add_shape(
            type="line", x0=original_bytes, x1=original_bytes, y0=0, y1=1, yref="y domain",
            line={"dash": "dot", "width": 1.5, "color": _RULE_COLOUR},
        )  # fmt: skip
        figure.add_annotation(  # on a logarithmic axis annotations, unlike shapes, are placed by the logarithm
            text="original file", x=math.log10(original_bytes), y=1, yref="y domain", xanchor="right", yanchor="top",
            showarrow=False, font={"color": _RULE_COLOUR},
        )  # fmt: skip
    _mark_picks(figure, settings, picks, recommended, metric, basis)
    what = {"stored_bytes": "stored bytes an image", "file_bytes": "bytes an ordinary file"}[basis]
    figure.update_layout(margin=_MARGIN, height=420, legend=_legend(), hovermode="closest")
    _logarithmic(figure, [setting[basis] for setting in settings] + [original_bytes or 0])
    figure.update_xaxes(title=what + " (logarithmic)")
    figure.update_yaxes(title=f"{title} ({direction})", rangemode="tozero" if metric != "ssim" else "normal")
    return figure


def _mark_picks(
    figure: go.Figure,
    settings: Sequence[dict[str, Any]],
    picks: Sequence[dict[str, Any]],
    recommended: str | None,
    metric: str,
    basis: str,
) -> None:
    """Rings round the settings that rules pick, a heavy one round the recommended one."""
    by_codec: dict[str, list[str]] = {}
    for row in picks:
        by_codec.setdefault(row["codec"], []).append(row["rule"])
    for chosen, name in ((True, "recommended"), (False, "picked by a rule")):
        ringed = [one for one in settings if one["codec"] in by_codec and (one["codec"] == recommended) == chosen]
        if ringed:
            figure.add_scatter(
                x=[one[basis] for one in ringed],
                y=[one[metric] for one in ringed],
                customdata=[[short_spec(one["codec"]), "<br>".join(by_codec[one["codec"]])] for one in ringed],
                name=name,
                mode="markers",
                cliponaxis=False,
                marker={"size": 24 if chosen else 20, "symbol": "circle-open", "color": _RULE_COLOUR,
                        "line": {"width": 4 if chosen else 1.5}},
                hovertemplate="<b>%{customdata[0]}</b> is picked by<br>%{customdata[1]}<extra></extra>",
            )  # fmt: skip


def budget_figure(curve: Sequence[dict[str, Any]], budget: int, ceiling: float) -> go.Figure:
    """Expected gain against the budget on a logarithmic axis: the best choice, and raw pixels.

    Args:
        curve: of the ``advise`` JSON's ``budgets``.
        budget: that was asked for, marked by a dotted line.
        ceiling: the expected gain of keeping every image raw, marked by a dotted line.
    """
    figure = go.Figure()
    figure.add_scatter(
        x=[row["budget_bytes"] for row in curve],
        y=[row["expected_gain"] for row in curve],
        customdata=[
            [short_spec(row["codec"]), row["align"], row["exemplars_per_class"], format_size(row["budget_bytes"])]
            for row in curve
        ],
        name="best choice",
        mode="lines+markers",
        line={"color": "#2fa37c", "width": 2},
        hovertemplate="%{customdata[3]}: <b>%{customdata[0]}</b>, align %{customdata[1]}<br>%{y:+.1f} points<br>"
        "%{customdata[2]:.1f} exemplars a class<extra></extra>",
    )
    raw = [row for row in curve if row["raw_gain"] is not None]
    figure.add_scatter(
        x=[row["budget_bytes"] for row in raw],
        y=[row["raw_gain"] for row in raw],
        name="raw",
        mode="lines+markers",
        line={"color": FAMILY_COLOURS["raw"], "width": 2},
        hovertemplate="raw: %{y:+.1f} points<extra></extra>",
    )
    dotted = {"dash": "dot", "width": 1.5, "color": _RULE_COLOUR}
    figure.add_shape(type="line", x0=budget, x1=budget, y0=0, y1=1, yref="y domain", line=dotted)
    figure.add_hline(y=ceiling, line=dotted, annotation_text="all images raw", annotation_font_color=_RULE_COLOUR)
    figure.update_layout(margin=_MARGIN, height=360, legend=_legend(), hovermode="closest")
    _logarithmic(figure, [row["budget_bytes"] for row in curve])
    figure.update_xaxes(title="bytes of the memory (logarithmic)")
    figure.update_yaxes(title="expected gain in points", ticksuffix="")
    return figure


def sensitivity_figure(rows: Sequence[dict[str, Any]], saved: float, most: int = 8) -> go.Figure:
    """What is saved when one input is halved or doubled: a bar each way from what is saved now, the widest on top.

    Args:
        rows: of :func:`toolkit.report.cost.sensitivity`.
        saved: now.
        most: bars drawn.
    """
    shown = list(rows[:most])[::-1]
    names = [row["input"].replace("_", " ") for row in shown]
    figure = go.Figure()
    for key, name, colour in (("low", "halved", "#c9981f"), ("high", "doubled", "#2fa37c")):
        figure.add_bar(
            y=names,
            x=[row[key] - saved for row in shown],
            base=saved,
            customdata=[row[key] for row in shown],
            name=name,
            orientation="h",
            marker_color=colour,
            hovertemplate="%{y} " + name + ": %{customdata:,.2f} saved<extra></extra>",
        )
    figure.add_vline(x=saved, line={"dash": "dot", "width": 1.5, "color": _RULE_COLOUR})
    figure.update_layout(margin=_MARGIN, height=120 + 34 * len(shown), legend=_legend(), barmode="overlay", bargap=0.3)
    figure.update_xaxes(title="saved in a year", tickformat=",.6~g")
    return figure


def accuracy_figure(
    pilots: Sequence[dict[str, Any]], metric: str = "last_accuracy", storage: str = "exemplars_per_class"
) -> go.Figure:
    """Accuracy against storage: a mark a configuration, a line a setting, bars for 95 % intervals over seeds.

    Args:
        pilots: ``pilot`` JSONs.
        metric: a key of :data:`ACCURACIES`.
        storage: a key of :data:`STORAGES`.
    """
    colours = family_colours([codec_family(pilot["codec"]) for pilot in pilots])
    several_methods = len({pilot["method"] for pilot in pilots}) > 1
    series: dict[str, list[dict[str, Any]]] = {}
    for pilot in pilots:
        codec = short_spec(pilot["codec"])
        name = codec if parse_codec(pilot["codec"]).lossless else f"{codec}, align {pilot['align']}"
        series.setdefault(name + (f", {pilot['method']}" if several_methods else ""), []).append(pilot)
    figure = go.Figure()
    for name, members in series.items():
        members = sorted(members, key=lambda pilot: _storage(pilot, storage))
        errors = [pilot["ci95"][metric] for pilot in members]
        figure.add_scatter(
            x=[_storage(pilot, storage) for pilot in members],
            y=[pilot["mean"][metric] for pilot in members],
            error_y={"type": "data", "array": [error or 0 for error in errors], "visible": any(errors)},
            customdata=[
                [short_spec(pilot["codec"]), pilot["align"], len(pilot["runs"]), pilot["mean"]["exemplars_per_class"],
                 format_size(pilot["mean"]["memory_bytes"]), format_size(pilot["budget_bytes"])]
                for pilot in members
            ],
            name=name,
            mode="lines+markers",
            line={"color": colours[codec_family(members[0]["codec"])], "width": 1.5},
            marker={"size": 12, "symbol": _ALIGN_SYMBOLS[members[0]["align"]]},
            hovertemplate="<b>%{customdata[0]}</b>, align %{customdata[1]}<br>" + ACCURACIES[metric] + " %{y:.1%}"
            "<br>%{customdata[3]:.1f} exemplars a class<br>%{customdata[4]} of %{customdata[5]} used"
            "<br>seeds: %{customdata[2]}<extra></extra>",
        )  # fmt: skip
    figure.update_layout(margin=_MARGIN, height=420, legend=_legend(), hovermode="closest", showlegend=True)
    spread = [_storage(pilot, storage) for pilot in pilots]
    wide = bool(spread) and min(spread) > 0 and max(spread) > 4 * min(spread)
    figure.update_xaxes(title=STORAGES[storage] + (" (logarithmic)" if wide else ""))
    if wide:
        _logarithmic(figure, spread)
    figure.update_yaxes(title=ACCURACIES[metric], tickformat=".0%")
    return figure


def accuracy_matrix_figure(matrix: Sequence[Sequence[float]], stage_classes: Sequence[int]) -> go.Figure:
    """The accuracy matrix as a heat map: a row for after each stage, a column for each stage's classes.

    Args:
        matrix: ``matrix[t][k]``, k <= t: accuracy on stage k's classes after stage t.
        stage_classes: number of classes of each stage.
    """
    stages = len(matrix)
    rows = [[*row, *([None] * (stages - len(row)))] for row in matrix]
    text = [["" if value is None else f"{value:.0%}" for value in row] for row in rows]
    figure = go.Figure(
        go.Heatmap(
            z=rows,
            x=[f"stage {k + 1}<br>{count} classes" for k, count in enumerate(stage_classes)],
            y=[f"after stage {t + 1}" for t in range(stages)],
            text=text,
            texttemplate="%{text}" if stages <= 12 else None,
            colorscale="Viridis",
            zmin=0,
            zmax=1,
            hoverongaps=False,
            xgap=2,
            ygap=2,
            colorbar={"tickformat": ".0%", "thickness": 12, "title": "accuracy"},
            hovertemplate="%{y}<br>on the classes of %{x}: %{z:.1%}<extra></extra>",
        )
    )
    figure.update_layout(margin=_MARGIN, height=max(220, 90 + 46 * stages))
    figure.update_xaxes(side="top", showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def _storage(pilot: dict[str, Any], storage: str) -> float:
    return float(pilot["budget_bytes"] if storage == "budget_bytes" else pilot["mean"][storage])


def _logarithmic(figure: go.Figure, values: Sequence[float]) -> None:
    """Make the x axis logarithmic with ticks at 1, 2 and 5, wide enough for ``values`` (those above 0)."""
    positive = [value for value in values if value > 0] or [1.0]
    low, high = math.log10(min(positive)), math.log10(max(positive))
    margin = max(0.08, 0.04 * (high - low))
    decades = range(math.floor(low) - 1, math.ceil(high) + 2)
    ticks = [first * 10.0**decade for decade in decades for first in (1, 2, 5)]
    figure.update_xaxes(
        type="log", range=[low - margin, high + margin], tickvals=ticks, ticktext=[f"{tick:,.10g}" for tick in ticks]
    )


def _legend() -> dict[str, Any]:
    return {"orientation": "h", "yanchor": "bottom", "y": 1.02, "xanchor": "left", "x": 0, "title": None}
