"""Figures of the JPEG layer: tables, frequency response, accuracy of the variants, robustness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import numpy as np
import plotly.graph_objects as go

from toolkit.jpeg_dl.contents import AttackResult, VariantSummary, networks
from toolkit.language.catalogue import ENGLISH, Language
from toolkit.report.figures.style import DOTTED, SERIES_COLOURS, as_text, style_figure

MODEL_COLOURS = {"plain": "#7d8891", "layered": "#e0662f"}
TABLES = ("luma", "chroma")
TABLE_SCALE = ((0.0, "#5b9a8b"), (0.4, "#27667b"), (1.0, "#2d3047"))
"""Coarser steps are darker."""
_SYMBOLS = {
    "fgsm": "circle-open",
    "pgd": "square-open",
    "pgd-20": "diamond-open",
    "bpda": "x-thin-open",
    "transfer": "triangle-up-open",
    "gradient-free": "star-open",
}


def table_figure(steps: Sequence[Sequence[float]], highest: float, say: Language = ENGLISH) -> go.Figure:
    """A quantisation table as a heat map of its steps, low frequencies at the top left.

    Args:
        steps: (8, 8).
        highest: the step shown in the darkest colour, so that tables side by side are comparable.
    """
    values = np.asarray(steps, float)
    figure = go.Figure(
        go.Heatmap(
            z=values,
            text=[
                [f"{value:.0f}" if value >= 10 else f"{value:.1f}".removesuffix(".0") for value in row]
                for row in values
            ],
            texttemplate="%{text}",
            textfont={"color": "#ffffff"},
            colorscale=TABLE_SCALE,
            zmin=0,
            zmax=highest,
            xgap=1,
            ygap=1,
            showscale=False,
            hovertemplate=say("figure.frequency", across="%{x}", down="%{y}") + ": %{z:.2f}<extra></extra>",
        )
    )
    style_figure(figure, 300)
    figure.update_xaxes(side="top", showgrid=False, dtick=1, constrain="domain")
    figure.update_yaxes(autorange="reversed", showgrid=False, dtick=1, scaleanchor="x", constrain="domain")
    return figure


def response_figure(responses: Mapping[str, Sequence[Sequence[float]]], say: Language = ENGLISH) -> go.Figure:
    """Share of each frequency's energy that remains after quantisation, against the distance from DC.

    Frequencies (u, v) with the same u + v are averaged. 1 is all of the energy; rounding up can give more.

    Args:
        responses: (8, 8) each, by name.
    """
    down, across = np.indices((8, 8))
    figure = go.Figure()
    for n, (name, response) in enumerate(responses.items()):
        values = np.asarray(response, float)
        curve = [float(values[down + across == distance].mean()) for distance in range(15)]
        figure.add_scatter(
            x=list(range(15)),
            y=curve,
            name=as_text(name),
            mode="lines+markers",
            line={"color": SERIES_COLOURS[n % len(SERIES_COLOURS)], "width": 2},
            hovertemplate=f"<b>{as_text(name)}</b><br>%{{x}}: %{{y:.1%}}<extra></extra>",
        )
    figure.add_hline(y=1, line=DOTTED)
    style_figure(figure, 340)
    figure.update_xaxes(title=say("figure.frequency_distance"), dtick=2)
    figure.update_yaxes(title=say("figure.energy_passed"), tickformat=".0%", rangemode="tozero")
    return figure


def variants_figure(variants: Mapping[str, VariantSummary], say: Language = ENGLISH) -> go.Figure:
    """Accuracy of each network with its 95 % interval over seeds; a dotted line marks the plain network.

    Args:
        variants: from the ``jpeg train`` JSON.
    """
    names = list(variants)[::-1]
    means = [variants[name]["mean"]["accuracy"] for name in names]
    halves = [variants[name]["ci95"]["accuracy"] for name in names]
    figure = go.Figure(
        go.Scatter(
            x=means,
            y=[say(f"variant.{name}") for name in names],
            error_x={"type": "data", "array": [half or 0 for half in halves], "visible": any(halves)},
            mode="markers",
            marker={
                "size": 12,
                "color": [
                    "#7d8891" if name == "plain" else "#e0662f" if name == "jpeg" else "#3b8ed6" for name in names
                ],
            },
            hovertemplate="<b>%{y}</b>: %{x:.1%}<extra></extra>",
        )
    )
    if "plain" in variants:
        figure.add_vline(x=variants["plain"]["mean"]["accuracy"], line=DOTTED)
    style_figure(figure, 110 + 34 * len(names))
    figure.update_xaxes(title=say("figure.accuracy"), tickformat=".1%", nticks=8)
    return figure


def robustness_figure(
    report: AttackResult, say: Language = ENGLISH, others: Mapping[str, AttackResult] | None = None
) -> go.Figure:
    """Accuracy against eps: per network a bold line for the worst case and a thin line for each attack.

    All lines start from the clean accuracy at eps 0.

    Args:
        report: from :func:`toolkit.robustness.evaluation.robustness_report`.
        others: reports of other networks of the training on the same images, by variant; adds their worst cases.
    """
    order, levels = _levels(report)
    figure = go.Figure()
    for model, result in networks(report).items():
        title = say(f"figure.{model}_network")
        for name, accuracies in [*result["attacks"].items(), ("", result["worst"])]:
            attack = as_text(name) or say("figure.worst_case")
            figure.add_scatter(
                x=levels,
                y=[result["clean"], *(accuracies[n] for n in order)],
                name=f"{title}, {attack}",
                legendgroup=model,
                showlegend=not name,  # thin lines have hover text instead
                mode="lines+markers",
                cliponaxis=False,
                opacity=0.6 if name else 1,
                line={"color": MODEL_COLOURS[model], "width": 1 if name else 4},
                marker={"size": 7 if name else 9, "symbol": _SYMBOLS.get(name, "circle-open") if name else "circle"},
                hovertemplate=f"<b>{title}</b>, {attack}<br>eps %{{x:.3g}}/255<br>"
                + say("figure.right_of", share="%{y:.1%}", count=report["images"])
                + "<extra></extra>",
            )
    for colour, (variant, other) in zip(SERIES_COLOURS[1:], (others or {}).items(), strict=False):
        order, levels = _levels(other)
        result = other["models"]["layered"]
        title = say(f"variant.{variant}")
        figure.add_scatter(
            x=levels,
            y=[result["clean"], *(result["worst"][n] for n in order)],
            mode="lines+markers",
            cliponaxis=False,
            name=f"{title}, {say('figure.worst_case')}",
            line={"color": colour, "width": 3, "dash": "dash"},
            hovertemplate=f"<b>{title}</b><br>eps %{{x:.3g}}/255<br>%{{y:.1%}}<extra></extra>",
        )
    style_figure(figure, 460)
    figure.update_xaxes(title=say("figure.eps", mode=as_text(report["mode"])), rangemode="tozero")
    figure.update_yaxes(title=say("figure.robust_accuracy"), tickformat=".0%", rangemode="tozero")
    return figure


def _levels(report: AttackResult) -> tuple[list[int], list[float]]:
    """The order of a report's bounds, and the sorted bounds in units of 1/255 with 0 in front."""
    order = sorted(range(len(report["eps"])), key=report["eps"].__getitem__)
    return order, [0.0, *(255 * report["eps"][n] for n in order)]
