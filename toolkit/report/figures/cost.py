"""Figures of the cost model."""

from __future__ import annotations

from collections.abc import Sequence

import plotly.graph_objects as go

from toolkit.language.catalogue import ENGLISH, Language
from toolkit.report.cost import SensitivityRow
from toolkit.report.figures.style import DOTTED, GOOD, OTHER, style_figure


def sensitivity_figure(
    rows: Sequence[SensitivityRow], saved: float, most: int = 8, say: Language = ENGLISH
) -> go.Figure:
    """Savings when one input is halved or doubled: bars in both directions from the current savings, widest on top.

    Args:
        rows: from :func:`toolkit.report.cost.cost_sensitivity`.
        saved: current savings.
        most: maximum number of bars.
    """
    shown = list(rows[:most])[::-1]
    names = [say(f"cost_input.{row['input']}") for row in shown]
    figure = go.Figure()
    low, high = [row["low"] for row in shown], [row["high"] for row in shown]
    for amounts, name, colour in ((low, say("figure.halved"), OTHER), (high, say("figure.doubled"), GOOD)):
        figure.add_bar(
            y=names,
            x=[amount - saved for amount in amounts],
            base=saved,
            customdata=amounts,
            name=name,
            orientation="h",
            marker_color=colour,
            hovertemplate="%{y} " + name + ": %{customdata:,.2f}<extra></extra>",
        )
    figure.add_vline(x=saved, line=DOTTED)
    style_figure(figure, 120 + 34 * len(shown), barmode="overlay", bargap=0.3)
    figure.update_xaxes(title=say("figure.saved_in_a_year"), tickformat=",.6~g")
    return figure
