"""Pilots side by side: the ones under way, the chart and table of the finished ones, one accuracy matrix."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import streamlit as st

from toolkit.codecs.spec import parse_codec
from toolkit.foundation.files import default_runs_dir
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.plan import pilot_command
from toolkit.pilots.results import Comparison, result_rows
from toolkit.report.figures import accuracy_figure, accuracy_matrix_figure
from toolkit.ui.components import words
from toolkit.ui.components.choice import choose, forget_unless
from toolkit.ui.components.jobs import watch
from toolkit.ui.components.outputs import command, downloads

_MEASURES = {
    "last_accuracy": "last accuracy",
    "average_incremental_accuracy": "average",
    "forgetting": "forgetting",
    "accuracy_on_original": "on original",
    "accuracy_on_coded": "on coded",
}
_AGAINST = {"exemplars_per_class": "exemplars a class", "memory_bytes": "memory used", "budget_bytes": "budget"}


def show_comparison(found: Sequence[Comparison], runs_dir: Path) -> None:
    """The chosen one of some comparisons, with everything under way in it."""
    by_key = {comparison.key: comparison for comparison in found}
    forget_unless("comparison", by_key)
    if len(found) > 1:
        key = st.selectbox(
            "Pilots of this dataset",
            list(by_key),
            key="comparison",
            format_func=lambda key: f"{by_key[key].label} ({len(by_key[key].runs)} runs)",
            help="Only pilots that share stages, steps and recipe are drawn together; the newest come first.",
        )
        comparison = by_key[key]
    else:
        comparison = found[0]
    _unfinished(comparison, runs_dir)
    pilots = comparison.pilots()
    if pilots:
        _chart(comparison, pilots)
        _matrix(pilots)
    else:
        st.info("The chart appears here as soon as the first run is done.", icon=":material/hourglass_top:")
    _commands(comparison, runs_dir)


def _unfinished(comparison: Comparison, runs_dir: Path) -> None:
    """Live state of the runs, while any of them is not done."""
    members = list(reversed(comparison.runs))
    if all(run.result is not None for run, _, _ in members):
        return
    st.subheader("Under way", anchor=False)
    names = {run.name: f"{_setting(config)}, {config.budget}, seed {seed}" for run, config, seed in members}
    watch([run for run, _, _ in members], runs_dir, names)
    st.caption("Runs go on in the background: reloading or closing this page does not stop them.")


def _setting(config: PilotConfig) -> str:
    return config.codec if parse_codec(config.codec).lossless else f"{config.codec}, align {config.align}"


def _chart(comparison: Comparison, pilots: list[dict[str, Any]]) -> None:
    st.subheader("What the learner still knows", anchor=False, help=words.INTERVAL)
    place = st.container(horizontal=True, gap="large")
    metric = choose(place, "Measured by", _MEASURES, "pilot_metric", words.MEASURES)
    storage = choose(place, "Against", _AGAINST, "pilot_storage", words.EXEMPLARS)
    st.plotly_chart(
        accuracy_figure(pilots, metric, storage), key="pilot_chart", alt="Accuracy against storage, one mark a setting"
    )
    st.caption(
        f"{comparison.label}. {words.INTERVAL} Circles: only exemplars are compressed; squares: training images too; "
        "diamonds: test images as well."
    )
    rows = result_rows(pilots)
    _table(rows)
    downloads("pilots", pilots, rows)


def _table(rows: list[dict[str, Any]]) -> None:
    number = st.column_config.NumberColumn
    percent = {name: number(title, format="percent") for name, title in _MEASURES.items()}
    intervals = {f"{name}_ci95": number("± 95 %", format="percent") for name in ("last_accuracy", "forgetting")}
    order = ["codec", "align", "method", "budget_bytes", "memory_bytes", "exemplars_per_class", "seeds",
             "last_accuracy", "last_accuracy_ci95", "average_incremental_accuracy", "forgetting", "forgetting_ci95",
             "accuracy_on_original", "accuracy_on_coded"]  # fmt: skip
    st.dataframe(
        rows,
        hide_index=True,
        column_order=order,
        column_config=percent | intervals | {
            "codec": st.column_config.TextColumn("setting", pinned=True, width=180),
            "align": st.column_config.TextColumn("align", help=words.ALIGNMENT),
            "budget_bytes": number("budget, bytes", format="localized"),
            "memory_bytes": number("used, bytes", format="localized"),
            "exemplars_per_class": number("exemplars a class", format="%.1f", help=words.EXEMPLARS),
        },
    )  # fmt: skip


def _matrix(pilots: list[dict[str, Any]]) -> None:
    st.subheader("One run, stage by stage", anchor=False)
    runs = {run["run_dir"]: (PilotConfig(**pilot["config"]), run) for pilot in pilots for run in pilot["runs"]}
    forget_unless("matrix_run", runs)
    name = st.selectbox(
        "Run",
        list(runs),
        key="matrix_run",
        format_func=lambda name: f"{_setting(runs[name][0])}, {runs[name][0].budget}, seed {runs[name][1]['seed']}",
    )
    run = runs[name][1]
    st.plotly_chart(
        accuracy_matrix_figure(run["accuracy_matrix"], run["stage_classes"]),
        key="matrix_chart",
        alt="Accuracy on each stage's classes after each stage",
    )
    st.caption(
        f"Each column is a stage's classes, each row a moment: downwards it shows how they are forgotten. Tested on "
        f"{run['tested_on']} images, network {run['network']}, {run['optimizer_steps']:,} steps in "
        f"{words.duration(run['seconds'])}. Folder: `{name}`"
    )


def _commands(comparison: Comparison, runs_dir: Path) -> None:
    seeds: dict[str, tuple[PilotConfig, list[int]]] = {}
    for _, config, seed in reversed(comparison.runs):
        seeds.setdefault(config.digest(), (config, []))[1].append(seed)
    where = None if runs_dir == default_runs_dir() else runs_dir
    with st.expander("The same from the command line"):
        command(*(pilot_command(config, sorted(numbers), where) for config, numbers in seeds.values()))
