"""The Cost page: yearly savings of a setting, and the break-even value of a point of accuracy."""

from __future__ import annotations

from collections.abc import Sequence

import streamlit as st

from toolkit.advice.calibration import GAIN
from toolkit.advice.contents import is_advice
from toolkit.codecs.spec import short_spec
from toolkit.foundation.errors import UsageError, one_line
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.image_size import parse_image_size
from toolkit.foundation.sizes import format_size
from toolkit.jobs.kinds import newest_probe
from toolkit.jobs.listing import list_runs
from toolkit.pilots.results import comparisons, peers_of, raw_reference
from toolkit.probe.contents import ProbeResult
from toolkit.report.cost import Coding, Fleet, Prices, Year, cost_command, cost_result, saved_with, yearly
from toolkit.report.figures.cost import sensitivity_figure
from toolkit.runs.folder import RunFolder
from toolkit.ui.components.choice import choose
from toolkit.ui.components.datasets import chosen, open_dataset
from toolkit.ui.components.figures import draw_figure
from toolkit.ui.components.formats import count
from toolkit.ui.components.language import say
from toolkit.ui.components.outputs import command, downloads, next_page
from toolkit.ui.components.plain import plain

_BASES = ("original", "raw")
_UNCERTAIN = ("images_a_day", "storage", "transfer", "error")
"""The most uncertain estimates."""
_FACTORS = [0.1, 0.2, 0.5, 1.0, 2.0, 5.0, 10.0]


def page() -> None:
    """Draw the page."""
    st.title(say("shell.cost"), anchor=False)
    st.markdown(say("cost.intro"))
    open_dataset()
    spec, size = chosen()
    runs = list_runs(default_runs_dir())
    newest = newest_probe(runs, spec, size)
    if newest is None:
        st.info(say("cost.no_probe"), icon=":material/arrow_forward:")
        next_page("probe", say("pilot.probe_first"))
        return
    coding = _coding(newest[1], [run for run in runs if run.config["kind"] == "pilot"])
    try:
        fleet, prices = _fleet(), _prices()
        year = yearly(fleet, prices, coding)
    except UsageError as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        return
    _show(year, fleet)
    result = cost_result(fleet, prices, coding)
    rows = result["sensitivity"]
    st.subheader(say("cost.sensitivity"), anchor=False)
    _what_if(fleet, prices, coding, year)
    if rows:
        drawn = draw_figure(sensitivity_figure, rows, year.saved)
        st.plotly_chart(drawn, key="sensitivity", alt=say("cost.sensitivity_alt"))
    with st.expander(say("shell.table")):
        st.dataframe(
            [{**row, "input": say(f"cost_input.{row['input']}")} for row in rows],
            hide_index=True,
            column_config={name: say(f"cost.column_{name}") for name in ("input", "low", "high")},
            alt=say("cost.sensitivity_alt"),
        )
        downloads("cost", result, rows)
    command(cost_command(fleet, prices, coding))


def _coding(probe: ProbeResult, pilots: Sequence[RunFolder]) -> Coding:
    """The setting, its reference, and its effect on accuracy."""
    columns = st.columns([3, 3, 2, 2], vertical_alignment="bottom")
    rows = {row["codec"]: row for row in probe["settings"]}
    advice = probe["recommended"] if is_advice(probe) else None
    recommended = advice["codec"] if advice is not None else None
    first = list(rows).index(recommended) if recommended in rows else len(rows) - 1
    codec = columns[0].selectbox(say("column.setting"), list(rows), first, key="cost_setting", format_func=short_spec)
    basis = choose(
        columns[1],
        say("cost.instead_of"),
        {name: say(f"cost.{name}") for name in _BASES},
        "cost_basis",
        say("help.ratio_original"),
    )
    at_inference = columns[2].checkbox(
        say("cost.at_inference"),
        advice is not None and advice["align"] == "both",
        key="cost_inference",
        help=say("help.align"),
    )
    change, source = _accuracy_change(probe, pilots, codec, "both" if at_inference else "none")
    points = columns[3].number_input(
        say("cost.points"),
        -100.0,
        100.0,
        round(min(100.0, max(-100.0, change)), 2),
        0.1,
        key=f"cost_points_{chosen()}_{codec}_{at_inference}_{change:.4f}",
        help=say("cost.points_help"),
    )
    st.caption(source)
    row = rows[codec]
    before = probe["original_file_bytes"] if basis == "original" else 3 * parse_image_size(probe["size"]).pixels
    return Coding(before, row["stored_bytes"], row["encode_us"], row["decode_us"], at_inference, points)


def _accuracy_change(probe: ProbeResult, pilots: Sequence[RunFolder], codec: str, align: str) -> tuple[float, str]:
    """Accuracy gain over raw at the same budget, in points, and its source: pilots, else advice, else unknown."""
    for comparison in comparisons(pilots, *chosen()):
        finished = comparison.pilots()
        for pilot in finished:
            if (pilot["codec"], pilot["align"]) != (codec, align):
                continue
            if (raw := raw_reference(peers_of(pilot, finished))) is not None:
                gain = pilot["mean"]["last_accuracy"] - raw["mean"]["last_accuracy"]
                return 100 * gain, say("cost.measured", label=comparison.label, seeds=count(len(pilot["runs"]), "seed"))
    for rule in probe["rules"] if is_advice(probe) else ():
        for one in rule["scores"] if rule["rule"] == GAIN else ():
            if (one["codec"], one["align"]) == (codec, align) and one["score"] is not None:
                return one["score"], say("cost.expected")
    return 0.0, say("cost.unknown")


def _fleet() -> Fleet:
    st.subheader(say("cost.fleet"), anchor=False)
    steps = {"devices": 1.0, "images_a_day": 100.0, "retention_days": 30.0, "copies": 1.0, "inferences_a_day": 100.0}
    return Fleet(**_amounts(Fleet(), steps, "%g"))


def _prices() -> Prices:
    st.subheader(say("cost.prices"), anchor=False)
    steps = {"storage": 0.005, "transfer": 0.01, "core_hour": 0.01, "error": 0.001}
    return Prices(**_amounts(Prices(), steps, "%.4f"))


def _amounts(usual: Fleet | Prices, steps: dict[str, float], written: str) -> dict[str, float]:
    """One field per amount in ``steps``, side by side, starting at its value in ``usual``."""
    return {
        name: float(
            column.number_input(
                say(f"cost_input.{name}"),
                0.0,
                None,
                float(getattr(usual, name)),
                step,
                written,
                key=f"cost_{name}",
                persist_state="session",
                bind="query-params",
            )
        )
        for column, (name, step) in zip(st.columns(len(steps)), steps.items(), strict=True)
    }


def _show(year: Year, fleet: Fleet) -> None:
    st.subheader(say("cost.year"), anchor=False)
    columns = st.columns(4)
    columns[0].metric(say("cost.saved"), f"{year.saved:,.2f}", border=True, help=say("cost.saved_help"))
    stored, sent = format_size(year.stored_before), format_size(year.sent_before)
    columns[1].metric(
        say("cost.stored"),
        format_size(year.stored_after),
        border=True,
        help=say("cost.stored_help", images=f"{fleet.images_kept:,.0f}", before=stored),
    )
    columns[2].metric(
        say("cost.moved"), format_size(year.sent_after), border=True, help=say("cost.moved_help", before=sent)
    )
    columns[3].metric(say("cost.coding"), f"{year.coding_cost:,.2f}", border=True, help=say("cost.coding_help"))
    st.markdown("\n".join(f"- {sentence}" for sentence in explain(year)))


@st.fragment
def _what_if(fleet: Fleet, prices: Prices, coding: Coding, year: Year) -> None:
    """Sliders that scale the most uncertain inputs, and the resulting savings."""
    columns = st.columns(len(_UNCERTAIN) + 1, vertical_alignment="center")
    factors = {
        name: column.select_slider(
            say(f"cost_input.{name}"),
            _FACTORS,
            1.0,
            format_func=lambda factor: f"× {factor:g}",
            key=f"times_{name}",
            help=say("cost.what_if_help"),
        )
        for column, name in zip(columns, _UNCERTAIN, strict=False)
    }
    saved = saved_with(fleet, prices, coding, factors)
    columns[-1].metric(
        say("cost.saved_then"),
        f"{saved:,.2f}",
        f"{saved - year.saved:+,.2f}" if saved != year.saved else None,
        border=True,
    )


def explain(year: Year) -> list[str]:
    """The yearly figures in sentences."""
    sentences: list[str] = [
        say(
            "cost.parts",
            storage=f"{year.storage_saved:,.2f}",
            transfer=f"{year.transfer_saved:,.2f}",
            coding=f"{year.coding_cost:,.2f}",
            accuracy=f"{year.accuracy_value:,.2f}",
        )
    ]
    if year.break_even_error is not None:
        sentences.append(say("cost.break_even_error", price=f"{year.break_even_error:,.6g}"))
    if year.break_even_points is not None:
        sentences.append(say("cost.break_even_points", points=f"{year.break_even_points:,.3g}"))
    return sentences
