"""A finished probe: chart and table."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from toolkit.advice.contents import is_advice
from toolkit.codecs.spec import stores_exactly
from toolkit.foundation.sizes import format_size
from toolkit.probe.contents import ProbeResult, pixels_left_out
from toolkit.report.figures.probe import LOWER_IS_BETTER, distortion_figure
from toolkit.report.tables import ProbeRow, columns, probe_rows
from toolkit.ui.components import formats
from toolkit.ui.components.advice_result import show_recommendation, show_rules
from toolkit.ui.components.choice import choose
from toolkit.ui.components.figures import draw_figure
from toolkit.ui.components.language import say
from toolkit.ui.components.outputs import downloads, next_page

_BASES = ("stored_bytes", "file_bytes")
_COLUMNS = (
    "codec",
    "stored_bytes",
    "file_bytes",
    "header_tax",
    "pixels",
    "bpp",
    "ratio_raw",
    "ratio_original",
    "exemplars",
    "exemplars_per_class",
    "fmse_relative",
    "fmse_relative_ci95",
    "psnr",
    "ssim",
    "cosine_distance",
    "probe_accuracy",
    "encode_us",
    "decode_us",
)
_FORMATS = {
    "stored_bytes": "%.1f",
    "file_bytes": "%.1f",
    "header_tax": "percent",
    "pixels": "localized",
    "bpp": "%.3f",
    "ratio_raw": "%.1f",
    "ratio_original": "%.1f",
    "exemplars": "localized",
    "exemplars_per_class": "%.1f",
    "fmse_relative": "%.5f",
    "fmse_relative_ci95": "%.5f",
    "psnr": "%.2f",
    "ssim": "%.4f",
    "cosine_distance": "%.5f",
    "probe_accuracy": "percent",
    "encode_us": "%.0f",
    "decode_us": "%.0f",
}


def show_probe(name: str, result: ProbeResult) -> None:
    """A whole result.

    Args:
        name: the name of its run.
        result: the ``probe`` or ``advise`` JSON.
    """
    advice = result if is_advice(result) else None
    if advice is not None:
        show_recommendation(advice)
    rows = probe_rows(result["settings"], advice["rules"] if advice is not None else ())
    st.subheader(say("probe.what_it_costs"), anchor=False)
    place = st.container(horizontal=True, gap="large")
    measures = {one: say(f"metric.{one}") for one in LOWER_IS_BETTER if one != "probe_accuracy" or advice is not None}
    help_ = "\n\n".join(say(f"help.{one}") for one in measures)
    metric = choose(place, say("probe.judged_by"), measures, "probe_metric", help_)
    bases = {one: say(f"probe.{one}") for one in _BASES}
    basis = choose(place, say("probe.bytes_of"), bases, "probe_basis", say("help.header_tax"))
    st.plotly_chart(
        draw_figure(
            distortion_figure,
            rows,
            metric,
            basis=basis,
            original_bytes=result["original_file_bytes"],
            picks=advice["rules"] if advice is not None else (),
            recommended=advice["recommended"]["codec"] if advice is not None else None,
        ),
        key="probe_chart",
        on_select=_select_point,
        selection_mode="points",
        alt=say("probe.chart_alt"),
    )
    st.caption(
        say(
            "probe.chart_caption",
            images=f"{result['images']:,}",
            classes=result["classes"],
            extractor=result["extractor"],
            budget=format_size(result["budget_bytes"]),
            time=formats.duration(result["seconds"]),
        )
    )
    _setting_in_words(rows)
    _table(name, result, rows)
    if advice is not None:
        show_rules(name, advice)


def _select_point() -> None:
    points = st.session_state["probe_chart"]["selection"]["points"]
    facts = points[0].get("customdata", []) if points else []
    if len(facts) > 3:  # rings have fewer
        st.session_state["inspected"] = facts[3]


def _setting_in_words(rows: Sequence[ProbeRow]) -> None:
    """One setting in words with a link to its images: the clicked one, else the middle lossy one."""
    codecs = [row["codec"] for row in rows]
    if st.session_state.get("inspected") not in codecs:
        lossy = [codec for codec in codecs if not stores_exactly(codec)] or codecs
        st.session_state["inspected"] = lossy[len(lossy) // 2]
    with st.container(border=True):
        codec = st.selectbox(say("probe.setting"), codecs, key="inspected", help=say("probe.setting_help"))
        row = rows[codecs.index(codec)]
        st.markdown(
            say(
                "probe.setting_in_words",
                stored=f"{row['stored_bytes']:,.0f}",
                file=f"{row['file_bytes']:,.0f}",
                saved=f"{row['file_bytes'] - row['stored_bytes']:,.0f}",
                tax=f"{row['header_tax']:.0%}",
                exemplars=f"{row['exemplars_per_class']:,.1f}",
                raw=f"{row['ratio_raw']:.1f}",
                original=f"{row['ratio_original']:.1f}",
            )
        )
        next_page("images", say("probe.see_images"), setting=codec)


def show_rows(rows: Sequence[ProbeRow]) -> None:
    """The table of settings, of a finished or a running probe.

    Args:
        rows: from :func:`~toolkit.report.tables.probe_rows`.
    """
    number = st.column_config.NumberColumn
    table = [columns(row, _COLUMNS) for row in rows]
    shown = [column for column in _COLUMNS if any(row[column] is not None for row in table)]
    st.dataframe(
        [columns(row, shown) for row in table],
        hide_index=True,
        column_config={
            "codec": st.column_config.TextColumn(say("column.setting"), pinned=True, width=230),
            **{
                column: number(say(f"column.{column}"), format=format_, help=say(f"help.{column}"))
                for column, format_ in _FORMATS.items()
            },
        },
        alt=say("probe.table_alt"),
    )


def _table(name: str, result: ProbeResult, rows: Sequence[ProbeRow]) -> None:
    show_rows(rows)
    if (times := pixels_left_out(rows)) is not None:
        st.caption(say("probe.pixels_left_out", times=f"{times:.1f}"))
    with st.expander(say("probe.by_ratio")):
        st.markdown(say("probe.by_ratio_text"))
        names = ("codec", "exemplars", "equivalent_exemplars_raw", "equivalent_exemplars_original")
        st.dataframe(
            [columns(setting, names) for setting in result["settings"]],
            hide_index=True,
            column_config={key: say(f"column.{key}") for key in names},
        )
    downloads(name, result, rows, _COLUMNS)
