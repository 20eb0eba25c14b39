"""The list of runs: filter, notes and actions."""

from __future__ import annotations

from collections.abc import Sequence
from datetime import UTC, datetime
from pathlib import Path

import streamlit as st

from toolkit.codecs.spec import short_spec
from toolkit.data.catalog import short_name
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.jobs.kinds import check
from toolkit.runs.ending import remove
from toolkit.runs.folder import DAMAGED, RunFolder
from toolkit.runs.index import STATES, UNREADABLE, Filter, RunRow, query
from toolkit.runs.start import start_pending
from toolkit.ui.components.formats import count
from toolkit.ui.components.jobs import ACTIVE, attempt, cancel_all
from toolkit.ui.components.language import say
from toolkit.ui.components.outputs import downloads
from toolkit.ui.components.plain import code, plain
from toolkit.ui.priority import at_full_priority

_COLUMNS = ("created", "kind", "setting", "align", "method", "budget", "seed", "state", "last_accuracy", "notes")


def show_history(runs_dir: Path, dataset: str, kinds: Sequence[str]) -> None:
    """The runs of one dataset.

    Args:
        runs_dir: the folder of runs.
        dataset: its spec, with an absolute path.
        kinds: the kinds of runs to list.
    """
    st.subheader(say("history.title"), anchor=False)
    columns = st.columns([2, 3])
    states = [say("history.any_state"), *(say(f"status.{state}") for state in STATES)]
    state = columns[0].selectbox(
        say("column.status"), range(len(states)), format_func=states.__getitem__, key="history_state"
    )
    text = columns[1].text_input(
        say("history.filter"), key="history_text", persist_state="session", help=say("history.filter_help")
    )
    wanted = Filter(state=STATES[state - 1] if state else None, text=text.strip() or None)
    rows_of_kind = [row for row in query(runs_dir, wanted, check) if row["kind"] in kinds]
    # the dataset of a damaged run is unknown
    found = [row for row in rows_of_kind if row["dataset"] == dataset or row["state"] in (DAMAGED, UNREADABLE)]
    if not found:
        st.caption(say("history.none"))
        return
    rows = [_row(row) for row in found]
    picked = st.dataframe(
        rows,
        hide_index=True,
        key=f"history_table_{hash(tuple(row['name'] for row in found))}",  # a selection is valid for this list only
        on_select="rerun",
        selection_mode="multi-row",
        height=min(36 + 35 * len(rows), 320),
        placeholder="",
        column_config={
            **{name: say(f"column.{name}") for name in _COLUMNS},
            "created": st.column_config.DatetimeColumn(say("column.created"), format="distance"),
            "setting": st.column_config.TextColumn(say("column.setting"), width=220),
            "last_accuracy": st.column_config.NumberColumn(say("metric.last_accuracy"), format="percent"),
        },
        alt=say("history.title"),
    )
    picked_rows = [found[n] for n in picked["selection"]["rows"] if n < len(found)]
    broken = {row["name"]: row["error"] for row in picked_rows if row["state"] in (DAMAGED, UNREADABLE)}
    for reason in broken.values():
        st.error(reason, icon=":material/error:")
    chosen = [RunFolder(runs_dir / row["name"]) for row in picked_rows]
    if chosen:
        _actions(chosen, runs_dir, set(broken))
    else:
        st.caption(say("history.select"))
    downloads("runs", found, found, ("name", "kind", "state"))


def _row(row: RunRow) -> dict[str, object]:
    codec = row["codec"]
    return {
        "created": datetime.fromtimestamp(row["created"], UTC),
        "kind": row["kind"],
        "setting": short_spec(codec) if codec else short_name(row["dataset"]) if row["dataset"] else row["name"],
        "align": row["align"],
        "method": row["method"],
        "budget": row["budget"],
        "seed": row["seed"],
        "state": say(f"status.{row['state']}"),
        "last_accuracy": row["last_accuracy"],
        "notes": row["notes"],
    }


def _actions(chosen: Sequence[RunFolder], runs_dir: Path, broken: set[str]) -> None:
    """Cancel, resume, retry or remove; for a single run its notes and error. Broken runs can only be removed.

    Args:
        chosen: the selected runs.
        runs_dir: their folder.
        broken: names of runs that cannot be read.
    """
    states = {run.name: DAMAGED if run.name in broken else run.status() for run in chosen}
    active = [run for run in chosen if states[run.name] in ACTIVE]
    stopped = [run for run in chosen if states[run.name] in ("cancelled", "failed", "lost")]
    with st.container(border=True):
        st.markdown(count(len(chosen), "chosen_run"))
        with st.container(horizontal=True):
            if active and st.button(say("runs.cancel"), icon=":material/stop_circle:", key="history_cancel"):
                attempt(lambda: cancel_all(active))
            if stopped and st.button(say("runs.resume_and_retry"), icon=":material/restart_alt:", key="history_resume"):
                attempt(lambda: at_full_priority(lambda: start_pending(stopped, runs_dir)))
            if not active:
                with st.popover(say("history.remove"), icon=":material/delete:"):
                    st.markdown(say("history.remove_sure", runs=count(len(chosen), "run")))
                    if st.button(say("history.remove_yes"), type="primary", key="history_remove"):
                        _remove(chosen)
        if len(chosen) == 1 and not broken:
            _one(chosen[0], states[chosen[0].name])


def _remove(runs: Sequence[RunFolder]) -> None:
    try:
        for run in runs:
            remove(run)
    except (UsageError, WorkError) as error:
        st.error(plain(one_line(error)), icon=":material/error:")
    else:
        st.rerun()


def _one(run: RunFolder, status: str) -> None:
    st.caption(code(run.name))
    if status == "failed":
        st.error(say("runs.failed", reason=run.error()), icon=":material/error:")
    key, shown = f"notes-{run.name}", f"notes-shown-{run.name}"
    if st.session_state.get(shown) != run.notes:  # changed elsewhere meanwhile
        st.session_state[key] = st.session_state[shown] = run.notes
    st.text_area(
        say("history.notes"),
        key=key,
        height=68,
        placeholder=say("history.notes_hint"),
        on_change=_save_note,
        args=(run, key),
    )


def _save_note(run: RunFolder, key: str) -> None:
    try:
        run.note(st.session_state[key])
    except WorkError as error:
        st.toast(plain(one_line(error)), icon=":material/error:")
    else:
        st.toast(say("history.noted"))
