"""Robust accuracy as a plotly figure, a pure function of the report's JSON."""

from __future__ import annotations

from typing import Any

import plotly.graph_objects as go

MODEL_COLOURS = {"plain": "#7d8891", "layered": "#e0662f"}
MODEL_TITLES = {"plain": "plain network", "layered": "JPEG layer in front"}
_SYMBOLS = {
    "fgsm": "circle-open",
    "pgd": "square-open",
    "pgd-20": "diamond-open",
    "bpda": "x-thin-open",
    "transfer": "triangle-up-open",
    "gradient-free": "star-open",
}


def robustness_figure(report: dict[str, Any]) -> go.Figure:
    """Accuracy against eps: for each network a bold line for the worst case and a thin one for each attack.

    All lines start from the clean accuracy at eps 0.

    Args:
        report: as :func:`toolkit.robustness.evaluation.robustness_report` gives it.
    """
    order = sorted(range(len(report["eps"])), key=report["eps"].__getitem__)
    levels = [0.0, *(255 * report["eps"][n] for n in order)]
    figure = go.Figure()
    for model, result in report["models"].items():
        for name, accuracies in [*result["attacks"].items(), ("worst case", result["worst"])]:
            worst = name == "worst case"
            title = f"{MODEL_TITLES[model]}, {name}"
            figure.add_scatter(
                x=levels,
                y=[result["clean"], *(accuracies[n] for n in order)],
                name=title,
                legendgroup=model,
                mode="lines+markers",
                cliponaxis=False,
                opacity=1 if worst else 0.6,
                line={"color": MODEL_COLOURS[model], "width": 4 if worst else 1},
                marker={"size": 9 if worst else 7, "symbol": "circle" if worst else _SYMBOLS.get(name, "circle-open")},
                hovertemplate=f"<b>{MODEL_TITLES[model]}</b>, {name}<br>eps %{{x:.3g}}/255<br>%{{y:.1%}} right"
                f" of {report['images']} images<extra></extra>",
            )
    figure.update_layout(
        margin={"l": 10, "r": 10, "t": 30, "b": 10},
        height=420,
        hovermode="closest",
        legend={"orientation": "v", "yanchor": "top", "y": 1, "xanchor": "left", "x": 1.02, "title": None},
    )
    figure.update_xaxes(title=f"eps in 1/255 (L-infinity), the layer's quantiser {report['mode']}", rangemode="tozero")
    figure.update_yaxes(title="accuracy under attack (higher is better)", tickformat=".0%", rangemode="tozero")
    return figure
