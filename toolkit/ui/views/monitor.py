"""The Monitor page: how new images compared with the accepted ones, call by call."""

from __future__ import annotations

import shlex
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.production.facts import BundleFacts, HistoryEntry
from toolkit.production.history import history
from toolkit.production.manifest import CARD, read_bundle_manifest
from toolkit.report.figures.monitor import monitor_figure
from toolkit.ui.access import require_allowed
from toolkit.ui.components.figures import draw_figure
from toolkit.ui.components.language import say
from toolkit.ui.components.outputs import command, downloads
from toolkit.ui.components.plain import plain


def page() -> None:
    """Draw the page."""
    st.title(say("shell.monitor"), anchor=False)
    st.markdown(say("monitor.intro"))
    typed = st.text_input(
        say("monitor.bundle"),
        key="bundle",
        persist_state="session",
        bind="query-params",
        help=say("monitor.bundle_help"),
    )
    if not typed:
        st.info(say("monitor.none_yet"), icon=":material/inventory_2:")
        command("recallrate bundle export RUN -o bundle", "recallrate monitor bundle FOLDER --json -")
        return
    folder = Path(typed).expanduser()
    try:
        require_allowed(folder)
        facts, calls = read_bundle_manifest(folder), history(folder)
    except (UsageError, WorkError) as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        return
    _facts(folder, facts)
    if calls:
        _history(calls)
    else:
        st.info(say("monitor.no_calls"), icon=":material/hourglass_empty:")
    command(shlex.join(["recallrate", "monitor", str(folder), "FOLDER", "--json", "-", "--prometheus", "metrics.prom"]))


def _facts(folder: Path, facts: BundleFacts) -> None:
    columns = st.columns(4)
    columns[0].metric(say("column.setting"), plain(facts["codec"]), border=True)
    columns[1].metric(say("column.align"), plain(facts["align"]), border=True, help=say("help.align"))
    accuracy = "-" if facts["result"] is None else f"{facts['result']['last_accuracy']:.1%}"
    columns[2].metric(say("metric.last_accuracy"), accuracy, border=True)
    columns[3].metric(
        say("monitor.false_alarms"),
        f"1 : {1 / facts['baseline']['false_alarms']:,.0f}",
        border=True,
        help=say("monitor.false_alarms_help", images=f"{facts['baseline']['images']:,}"),
    )
    with st.expander(say("monitor.card")):
        st.text((folder / CARD).read_text())  # not as Markdown, since a bundle may come from anyone


def _history(calls: list[HistoryEntry]) -> None:
    last = calls[-1]
    if last["alarm"]:
        named = ", ".join(f"{say(f'chart.{name}')} ({image})" for name, image in last["alarms"].items())
        st.error(say("monitor.alarm", charts=named), icon=":material/notification_important:")
    else:
        st.success(say("monitor.calm", images=f"{last['seen']:,}"), icon=":material/check_circle:")
    st.plotly_chart(draw_figure(monitor_figure, calls), key="monitor_chart", alt=say("monitor.chart_alt"))
    st.caption(say("monitor.chart_caption"))
    rows = [
        {
            "time": datetime.fromtimestamp(call["time"], UTC).isoformat(" ", "minutes"),
            "folder": call["folder"],
            "images": call["images"],
            "unreadable": len(call["unreadable"]),
            **call["heights"],
            "alarms": ", ".join(say(f"chart.{name}") for name in call["alarms"]),
        }
        for call in reversed(calls)
    ]
    st.dataframe(
        rows,
        hide_index=True,
        alt=say("monitor.chart_alt"),
        column_config={
            "time": say("monitor.time"),
            "folder": say("monitor.folder"),
            "images": say("monitor.images"),
            "unreadable": say("monitor.unreadable"),
            "alarms": say("monitor.alarms"),
            **{name: st.column_config.NumberColumn(say(f"chart.{name}"), format="%.2f") for name in last["heights"]},
        },
    )
    downloads("monitor", calls, rows)
