"""The Trade-off page: accuracy against storage over all finished pilots, and runs side by side."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from toolkit.foundation.files import default_runs_dir
from toolkit.jobs.listing import list_runs
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.contents import PilotSummary
from toolkit.pilots.results import Comparison, comparisons, keeps_exemplars, result_rows, storage_of, with_frozen
from toolkit.report.figures.pilots import ACCURACIES, STORAGES, accuracy_figure
from toolkit.report.verdict import findings
from toolkit.ui.components.choice import choose, choose_addressed, distinct
from toolkit.ui.components.datasets import chosen, open_dataset
from toolkit.ui.components.figures import draw_figure
from toolkit.ui.components.formats import count
from toolkit.ui.components.language import say
from toolkit.ui.components.outputs import command, downloads, next_page
from toolkit.ui.components.plain import plain
from toolkit.ui.components.run_detail import MOST_COMPARED, Finished, folder_name, run_name, show_comparison, show_run

_ORDER = [
    "codec",
    "align",
    "method",
    "budget_bytes",
    "memory_bytes",
    "exemplar_bytes",
    "exemplars_per_class",
    "seeds",
    "last_accuracy",
    "last_accuracy_ci95",
    "average_incremental_accuracy",
    "average_incremental_accuracy_ci95",
    "forgetting",
    "forgetting_ci95",
    "accuracy_on_original",
    "accuracy_on_coded",
]


def page() -> None:
    """Draw the page."""
    st.title(say("shell.tradeoff"), anchor=False)
    st.markdown(say("tradeoff.intro"))
    open_dataset()
    every = with_frozen(comparisons(list_runs(default_runs_dir(), "pilot"), *chosen()))
    results = {one.digest: pilots for one in every if (pilots := one.pilots())}  # read from files once
    found = [one for one in every if one.digest in results]
    if not found:
        st.info(say("tradeoff.none_yet"), icon=":material/arrow_forward:")
        next_page("pilot", say("tradeoff.pilot_first"))
        return
    comparison = _choose(found)
    pilots = results[comparison.digest]
    _verdict(pilots)
    _chart(comparison, pilots)
    runs = _by_name(pilots)
    _run(runs)
    _compare([pilot for pilots in results.values() for pilot in pilots], list(runs))
    with st.expander(say("shell.same_command")):
        command(*comparison.commands())
    next_page("cost", say("tradeoff.next"))


def _by_name(pilots: Sequence[PilotSummary]) -> dict[str, Finished]:
    """The runs of pilots by folder name, since paths differ between machines."""
    return {
        folder_name(run): (PilotConfig.model_validate(pilot["config"]), run)
        for pilot in pilots
        for run in pilot["runs"]
    }


def _choose(found: Sequence[Comparison]) -> Comparison:
    """Choose a comparison: only runs with the same stages, steps and recipe can be drawn together."""
    by_key = {comparison.digest: comparison for comparison in found}
    if len(found) == 1:
        return found[0]
    key = choose_addressed(
        say("tradeoff.comparison"),
        list(by_key),
        "comparison",
        lambda key: f"{by_key[key].label} ({count(len(by_key[key].runs), 'run')})",
        say("tradeoff.comparison_help"),
    )
    return by_key[key]


def _chart(comparison: Comparison, pilots: list[PilotSummary]) -> None:
    st.subheader(say("tradeoff.chart"), anchor=False, help=say("help.interval"))
    place = st.container(horizontal=True, gap="large")
    metric = choose(
        place,
        say("tradeoff.measured_by"),
        {name: say(f"metric.{name}") for name in ACCURACIES},
        "pilot_metric",
        say("help.measures"),
    )
    sizes = [used for pilot in pilots if (used := storage_of(pilot, "memory_bytes"))]
    several = bool(sizes) and max(sizes) > 2 * min(sizes)
    order = STORAGES if several else (*STORAGES[1:], STORAGES[0])  # at one budget, most memories have the same size
    storage = choose(
        place,
        say("tradeoff.against"),
        {name: say(f"storage.{name}") for name in order},
        f"pilot_storage_{'several' if several else 'one'}",
        say("help.exemplars"),
    )
    st.session_state["drawn_runs"] = [list(_by_name([pilot])) for pilot in pilots]
    st.plotly_chart(
        draw_figure(accuracy_figure, pilots, metric, storage),
        key="pilot_chart",
        on_select=_select_point,
        selection_mode="points",
        alt=say("tradeoff.chart_alt"),
    )
    if len(encoders := comparison.encoders()) > 1:
        st.warning(say("tradeoff.encoders", versions="; ".join(encoders)), icon=":material/difference:")
    st.caption(f"{plain(comparison.label)}. {say('help.interval')} {say('tradeoff.symbols')}")
    rows = [
        {
            **row,
            "exemplar_bytes": storage_of(pilot, "exemplar_bytes"),
            "memory_bytes": round(pilot["mean"]["memory_bytes"]),
        }
        for row, pilot in zip(result_rows(pilots), pilots, strict=True)
    ]
    _table(rows)
    downloads("pilots", pilots, rows)


def _verdict(pilots: Sequence[PilotSummary]) -> None:
    """What makes a comparison of codecs pointless, at the budget and with the method of the best pilot."""
    able = list(filter(keeps_exemplars, pilots))
    if able:
        best = max(able, key=lambda pilot: pilot["mean"]["last_accuracy"])
        found = [plain(one.said(say)) for one in findings(best, pilots)]
        if found:
            st.info("  \n".join(found), icon=":material/lightbulb:", title=say("tradeoff.verdict"))


def _select_point() -> None:
    points = st.session_state["pilot_chart"]["selection"]["points"]
    if points and points[0].get("customdata"):
        st.session_state["run"] = st.session_state["drawn_runs"][int(points[0]["customdata"][0])][0]


def _table(rows: list[dict[str, object]]) -> None:
    number = st.column_config.NumberColumn
    intervals = [f"{name}_ci95" for name in ACCURACIES]
    st.dataframe(
        rows,
        hide_index=True,
        placeholder="-",
        column_order=_ORDER,
        column_config={
            "codec": st.column_config.TextColumn(say("column.setting"), pinned=True, width=180),
            "align": st.column_config.TextColumn(say("column.align"), help=say("help.align")),
            "method": say("column.method"),
            "seeds": say("column.seeds"),
            "budget_bytes": number(say("column.budget_bytes"), format="localized"),
            "memory_bytes": number(say("storage.memory_bytes"), format="localized"),
            "exemplar_bytes": number(say("storage.exemplar_bytes"), format="%.0f"),
            "exemplars_per_class": number(say("column.exemplars_per_class"), format="%.1f", help=say("help.exemplars")),
            **{name: number(say(f"metric.{name}"), format="percent", help=say("help.measures")) for name in ACCURACIES},
            **{name: number("± 95 %", format="percent", help=say("help.interval")) for name in intervals},
        },
        alt=say("tradeoff.chart_alt"),
    )


def _run(runs: dict[str, Finished]) -> None:
    st.subheader(say("tradeoff.one_run"), anchor=False)
    name = choose_addressed(
        say("column.run"),
        list(runs),
        "run",
        lambda name: run_name(runs[name][0], runs[name][1]["seed"]),
        say("tradeoff.one_run_help"),
    )
    show_run(*runs[name])


def _compare(pilots: Sequence[PilotSummary], first: list[str]) -> None:
    """Runs of any pilots of the dataset side by side, initially the first ones of the chosen comparison."""
    st.subheader(say("compare.title"), anchor=False)
    runs = _by_name(pilots)
    kept = st.session_state.get("compared")
    if kept is not None:
        st.session_state["compared"] = [name for name in kept if name in runs]
    seeds = {runs[name][1]["seed"] for name in first}
    usual = [name for name in first if runs[name][1]["seed"] == min(seeds)][:3]
    shown = distinct(list(runs), lambda name: run_name(runs[name][0], runs[name][1]["seed"]))
    names = st.multiselect(
        say("compare.runs"),
        list(runs),
        usual,
        key="compared",
        max_selections=MOST_COMPARED,
        format_func=shown.__getitem__,
        help=say("compare.help"),
        persist_state="session",
    )
    show_comparison({name: runs[name] for name in names})
