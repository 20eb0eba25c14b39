"""Finished pilot runs, one by one and side by side."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path

import streamlit as st

from toolkit.codecs.spec import short_spec
from toolkit.foundation.sizes import format_size
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.contents import PilotResult
from toolkit.pilots.request import pilot_command
from toolkit.pilots.results import SHOWN, differences, metric_of, network_of, setting_name, stage_values
from toolkit.report.figures.pilots import CURVES, accuracy_matrix_figure, stage_figure
from toolkit.ui.components.choice import choose
from toolkit.ui.components.figures import draw_figure
from toolkit.ui.components.formats import duration
from toolkit.ui.components.language import say
from toolkit.ui.components.outputs import command, downloads
from toolkit.ui.components.plain import code, plain

MOST_COMPARED = 6
_PERCENT = SHOWN[:5]

Finished = tuple[PilotConfig, PilotResult]
"""A run's configuration and its entry of ``runs``."""


def run_name(config: PilotConfig, seed: int) -> str:
    """The label of a run, shorter than the name of its folder."""
    method = "" if config.method == "replay" else f"{config.method}, "
    return f"{setting_name(config.codec, config.align)}, {method}{config.budget}, seed {seed}"


def folder_name(run: PilotResult) -> str:
    """The name of a run's folder."""
    return Path(run["run_dir"]).name


def show_run(config: PilotConfig, run: PilotResult) -> None:
    """One run by stage, with its command and folder."""
    figures = st.container(horizontal=True)
    for name in _PERCENT[:3]:
        figures.metric(say(f"metric.{name}"), f"{metric_of(run, name):.1%}", help=say("help.measures"))
    figures.metric(say("column.exemplars_per_class"), f"{run['exemplars_per_class']:.1f}", help=say("help.exemplars"))
    figures.metric(say("storage.memory_bytes"), format_size(run["memory_bytes"]))
    st.plotly_chart(
        draw_figure(accuracy_matrix_figure, run["accuracy_matrix"], run["stage_classes"]),
        key="matrix_chart",
        alt=say("tradeoff.matrix_alt"),
    )
    st.caption(
        say(
            "tradeoff.matrix_caption",
            images=say(f"tradeoff.{run['tested_on']}_{'held_out' if config.held_out else 'images'}"),
            network=plain(network_of(run)),
            steps=f"{run['optimizer_steps']:,}",
            time=duration(run["seconds"]),
            folder=code(folder_name(run)),
        )
    )
    with st.expander(say("shell.as_table")):
        st.dataframe(
            [
                {say("column.after_stage"): t + 1, **{str(k + 1): value for k, value in enumerate(row)}}
                for t, row in enumerate(run["accuracy_matrix"])
            ],
            hide_index=True,
        )
    command(pilot_command(config, [run["seed"]]))


def show_comparison(runs: Mapping[str, Finished]) -> None:
    """Two to six runs: their differences, curves, and accuracy matrices side by side.

    Args:
        runs: by folder name.
    """
    if len(runs) < 2:
        st.caption(say("compare.choose"))
        return
    titles = _titles(list(runs.values()))
    rows = [config.model_dump(mode="json") | {"seed": run["seed"]} for config, run in runs.values()]
    varied = differences(rows)
    table = [
        {"what": name.replace("_", " "), **{title: str(values[n]) for n, title in enumerate(titles)}}
        for name, values in varied.items()
    ]
    for name in SHOWN:
        values = [metric_of(run, name) for _, run in runs.values()]
        written = ".1%" if name in _PERCENT else ",.0f" if name == "memory_bytes" else ",.1f"
        shown = [f"{value:{written}}" for value in values]
        table.append({"what": say(f"compare.{name}"), **dict(zip(titles, shown, strict=True))})
    st.dataframe(
        table,
        hide_index=True,
        column_config={"what": st.column_config.TextColumn(say("compare.differs"), pinned=True)},
        alt=say("compare.table_alt"),
    )
    curve = choose(
        st.container(),
        say("compare.curve"),
        {name: say(f"curve.{name}") for name in CURVES},
        "compare_curve",
        say("help.measures"),
    )
    series = {title: stage_values(run, curve) for title, (_, run) in zip(titles, runs.values(), strict=True)}
    st.plotly_chart(draw_figure(stage_figure, series, curve), key="compare_chart", alt=say("compare.chart_alt"))
    columns = st.columns(min(3, len(runs)))
    for n, (title, (_, run)) in enumerate(zip(titles, runs.values(), strict=True)):
        with columns[n % len(columns)]:
            st.caption(plain(title))
            st.plotly_chart(
                draw_figure(accuracy_matrix_figure, run["accuracy_matrix"], run["stage_classes"]),
                key=f"compare_matrix_{n}",
                alt=f"{say('tradeoff.matrix_alt')}: {title}",
            )
    curves = [
        {"run": title, "stage": stage + 1, curve: value}
        for title, values in series.items()
        for stage, value in enumerate(values)
    ]
    downloads("comparison", {name: run for name, (_, run) in runs.items()}, curves)


def _titles(runs: Sequence[Finished]) -> list[str]:
    """Short distinct titles: the setting, with more detail if settings are equal."""
    short = [short_spec(config.codec) for config, _ in runs]
    if len(set(short)) == len(short):
        return short
    long = [run_name(config, run["seed"]) for config, run in runs]
    return long if len(set(long)) == len(long) else [folder_name(run) for _, run in runs]
