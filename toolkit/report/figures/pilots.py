"""Figures of pilots."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import plotly.graph_objects as go

from toolkit.codecs.spec import codec_family, is_raw, short_spec
from toolkit.foundation.sizes import format_size
from toolkit.language.catalogue import ENGLISH, Language
from toolkit.pilots.contents import PilotSummary
from toolkit.pilots.results import keeps_exemplars, lossless_references, setting_name, stands_for_raw, storage_of
from toolkit.report.figures.style import (
    ALIGN_SYMBOLS,
    DOTTED,
    OTHER,
    RULE,
    SEQUENTIAL,
    SERIES_COLOURS,
    as_text,
    family_colours,
    logarithmic,
    style_figure,
)
from toolkit.report.pareto import frontier

ACCURACIES = (
    "last_accuracy",
    "average_incremental_accuracy",
    "forgetting",
    "accuracy_on_original",
    "accuracy_on_coded",
)
STORAGES = ("memory_bytes", "exemplar_bytes", "exemplars_per_class")
CURVES = ("all_classes", "first_classes", "forgetting")


def accuracy_figure(
    pilots: Sequence[PilotSummary],
    metric: str = "last_accuracy",
    storage: str = "memory_bytes",
    say: Language = ENGLISH,
) -> go.Figure:
    """Accuracy against storage: one mark per configuration, one line per setting, bars for 95 % intervals over seeds.

    Dotted lines: the frontier where less storage is better, each budget, and if there is only one, raw pixels and the
    other lossless references.
    ``customdata`` begins with the pilot's index in ``pilots``.

    Args:
        pilots: ``pilot`` JSONs.
        metric: one of :data:`ACCURACIES`.
        storage: one of :data:`STORAGES`.
    """
    families = [_family(pilot, say) for pilot in pilots]
    colours = family_colours(families) | {say("figure.no_exemplars"): OTHER}
    several_methods = len({pilot["method"] for pilot in pilots}) > 1
    series: dict[str, list[int]] = {}
    for n, pilot in enumerate(pilots):
        name = setting_name(pilot["codec"], pilot["align"]) + (f", {pilot['method']}" if several_methods else "")
        series.setdefault(name if keeps_exemplars(pilot) else pilot["method"], []).append(n)
    figure = go.Figure()
    for name, members in series.items():
        members = sorted(members, key=lambda n: storage_of(pilots[n], storage))
        errors = [pilots[n]["ci95"][metric] for n in members]
        figure.add_scatter(
            x=[storage_of(pilots[n], storage) for n in members],
            y=[pilots[n]["mean"][metric] for n in members],
            error_y={
                "type": "data",
                "array": [error or 0 for error in errors],
                "visible": any(errors),
                "thickness": 1.5,
                "width": 4,
            },
            customdata=[_facts(n, pilots[n]) for n in members],
            name=as_text(name),
            legendgroup=families[members[0]],
            showlegend=False,  # one entry per family: dozens of settings would crowd out the chart
            mode="lines+markers",
            line={"color": colours[families[members[0]]], "width": 1.5},
            marker={
                "size": 12,
                "symbol": ALIGN_SYMBOLS[pilots[members[0]]["align"]] if keeps_exemplars(pilots[members[0]]) else "x",
            },
            hovertemplate=f"<b>{as_text(name)}</b><br>"
            + say(f"metric.{metric}")
            + " %{y:.1%}<br>"
            + say("figure.hover_exemplars", count="%{customdata[1]:.1f}")
            + "<br>"
            + say("figure.hover_used", used="%{customdata[2]}", budget="%{customdata[3]}")
            + "<br>"
            + say("figure.hover_seeds", count="%{customdata[4]}")
            + "<extra></extra>",
        )
    for family in dict.fromkeys(families):
        figure.add_scatter(
            x=[None],
            y=[None],
            name=as_text(family),
            legendgroup=family,
            mode="markers",
            marker={"size": 12, "color": colours[family]},
        )
    _guide(figure, pilots, metric, storage, say)
    style_figure(figure, 460, showlegend=True)
    spread = [storage_of(pilot, storage) for pilot in pilots]
    if storage == "memory_bytes":
        spread = [value for value in spread if value > 0]  # nothing kept is a line: a log axis has no zero
    wide = bool(spread) and min(spread) > 0 and max(spread) > 4 * min(spread)
    figure.update_xaxes(title=say(f"storage.{storage}"))
    if wide:
        logarithmic(figure, spread)
    elif spread and max(spread) < 1.05 * min(spread):  # one budget: the tiny spread would be stretched
        figure.update_xaxes(range=[0.9 * min(spread), 1.1 * max(spread)])
    figure.update_yaxes(title=say(f"metric.{metric}"), tickformat=".0%")
    return figure


def _family(pilot: PilotSummary, say: Language) -> str:
    """The codec's family; methods without exemplars use no codec and form a family of their own."""
    return codec_family(pilot["codec"]) if keeps_exemplars(pilot) else say("figure.no_exemplars")


def _facts(number: int, pilot: PilotSummary) -> list[object]:
    mean = pilot["mean"]
    used, budget = format_size(mean["memory_bytes"]), format_size(pilot["budget_bytes"])
    return [number, mean["exemplars_per_class"], used, budget, len(pilot["runs"])]


def _guide(figure: go.Figure, pilots: Sequence[PilotSummary], metric: str, storage: str, say: Language) -> None:
    """Reference lines."""
    budgets = sorted({pilot["budget_bytes"] for pilot in pilots})
    better = -1 if metric == "forgetting" else 1
    if storage != "exemplars_per_class":
        values = [better * pilot["mean"][metric] for pilot in pilots]
        best = frontier([storage_of(pilot, storage) for pilot in pilots], values)
        if len(best) > 1:
            figure.add_scatter(
                x=[storage_of(pilots[n], storage) for n in best],
                y=[pilots[n]["mean"][metric] for n in best],
                name=say("figure.frontier"),
                mode="lines",
                line=DOTTED,
                hoverinfo="skip",
            )
    if storage == "memory_bytes":
        for budget in budgets:
            figure.add_shape(type="line", x0=budget, x1=budget, y0=0, y1=1, yref="y domain", line=DOTTED)
        for pilot in pilots:
            if not storage_of(pilot, storage):
                figure.add_hline(
                    y=pilot["mean"][metric],
                    line=DOTTED,
                    annotation_text=as_text(say("figure.nothing_kept", method=pilot["method"])),
                    annotation_font_color=RULE,
                    annotation_position="bottom right",
                )
    if len(budgets) == 1:
        references = lossless_references(pilots)
        for pilot in pilots:
            if stands_for_raw(pilot, pilots) or pilot in references:
                figure.add_hline(
                    y=pilot["mean"][metric],
                    line=DOTTED,
                    annotation_text=as_text(short_spec(pilot["codec"])),
                    annotation_font_color=RULE,
                    annotation_position="bottom left" if is_raw(pilot["codec"]) else "top right",
                )


def accuracy_matrix_figure(
    matrix: Sequence[Sequence[float]], stage_classes: Sequence[int], say: Language = ENGLISH
) -> go.Figure:
    """The accuracy matrix as a heat map: rows are times after each stage, columns the classes of each stage.

    Args:
        matrix: ``matrix[t][k]``, k <= t: accuracy on stage k's classes after stage t.
        stage_classes: number of classes in each stage.
    """
    stages = len(matrix)
    rows = [[*row, *([None] * (stages - len(row)))] for row in matrix]
    text = [["" if value is None else f"{value:.0%}" for value in row] for row in rows]
    figure = go.Figure(
        go.Heatmap(
            z=rows,
            x=[
                say("figure.stage", number=k + 1) + "<br>" + say("figure.classes", count=count)
                for k, count in enumerate(stage_classes)
            ],
            y=[say("figure.after_stage", number=t + 1) for t in range(stages)],
            text=text,
            texttemplate="%{text}" if stages <= 12 else None,
            textfont={"color": "#ffffff"},
            colorscale=SEQUENTIAL,
            zmin=0,
            zmax=1,
            hoverongaps=False,
            xgap=2,
            ygap=2,
            colorbar={"tickformat": ".0%", "thickness": 12},
            hovertemplate="%{y}<br>%{x}: %{z:.1%}<extra></extra>",
        )
    )
    style_figure(figure, max(220, 90 + 46 * stages))
    figure.update_xaxes(side="top", showgrid=False)
    figure.update_yaxes(autorange="reversed", showgrid=False)
    return figure


def stage_figure(
    series: Mapping[str, Sequence[float]], curve: str = "all_classes", say: Language = ENGLISH
) -> go.Figure:
    """Values after each stage, one line per run.

    Args:
        series: from :func:`stage_values`, by name of the run.
        curve: kind of values, one of :data:`CURVES`.
    """
    figure = go.Figure()
    for n, (name, values) in enumerate(series.items()):
        figure.add_scatter(
            x=list(range(1, len(values) + 1)),
            y=values,
            name=as_text(name),
            mode="lines+markers",
            line={"color": SERIES_COLOURS[n % len(SERIES_COLOURS)], "width": 2},
            hovertemplate=f"<b>{as_text(name)}</b><br>"
            + say("figure.after_stage", number="%{x}")
            + ": %{y:.1%}<extra></extra>",
        )
    style_figure(figure, 380)
    figure.update_xaxes(title=say("figure.stages_done"), dtick=1)
    figure.update_yaxes(title=say(f"curve.{curve}"), tickformat=".0%", rangemode="tozero")
    return figure


def loss_figure(losses: Mapping[str, Sequence[tuple[int, float]]], say: Language = ENGLISH) -> go.Figure:
    """Training loss against steps done, one line per run.

    Args:
        losses: (steps, loss) in order, by name of the run.
    """
    figure = go.Figure()
    for n, (name, points) in enumerate(losses.items()):
        figure.add_scatter(
            x=[steps for steps, _ in points],
            y=[loss for _, loss in points],
            name=as_text(name),
            mode="lines",
            line={"color": SERIES_COLOURS[n % len(SERIES_COLOURS)], "width": 1.5},
            hovertemplate=f"<b>{as_text(name)}</b><br>%{{x:,}}: %{{y:.3f}}<extra></extra>",
        )
    style_figure(figure, 300)
    figure.update_xaxes(title=say("figure.steps_done"), tickformat=",")
    figure.update_yaxes(title=say("figure.loss"), rangemode="tozero")
    return figure
