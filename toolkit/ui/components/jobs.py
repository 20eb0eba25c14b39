"""Background runs on a page: their live state, polled only while a run is active, and their buttons."""

from __future__ import annotations

import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from pathlib import Path
from typing import Any

import streamlit as st

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.jobs.check import require_fit
from toolkit.runs import supervision
from toolkit.runs.contents import Event
from toolkit.runs.folder import DAMAGED, RunFolder
from toolkit.runs.request import Request
from toolkit.runs.start import start_pending, start_requests
from toolkit.ui.components.formats import duration
from toolkit.ui.components.language import say
from toolkit.ui.components.plain import plain
from toolkit.ui.priority import at_full_priority, out_of_turn

POLL_SECONDS = 2.0
ACTIVE = ("queued", "running")
_RESTART = {"cancelled": "runs.resume", "failed": "runs.retry", "lost": "runs.resume"}
_LOG_BYTES = 4000
_SHOWN_LOGS = 3


def watch(
    runs: Sequence[RunFolder],
    runs_dir: Path,
    names: dict[str, str] | None = None,
    more: Callable[[], None] | None = None,
) -> None:
    """The state of ``runs``, refreshed automatically; the page is redrawn when a run starts or ends.

    Args:
        runs: the runs to show.
        runs_dir: their folder.
        names: labels by folder name.
        more: draws further content that is refreshed together with the state.
    """
    before = {run.name: run.status() for run in runs}
    active = any(status in ACTIVE for status in before.values())
    if "queued" in before.values() and not supervision.was_stopped(runs_dir):
        with suppress(WorkError):  # after a reboot nothing works on the queue until a page is opened
            at_full_priority(lambda: supervision.ensure(runs_dir))

    def draw() -> None:
        states = {run.name: run.status() for run in runs}
        above = st.container()
        _buttons(runs, states, runs_dir)  # before a rerun, which would lose a click
        if active and states != before:
            st.rerun()
        with above:
            if len(runs) == 1:
                _one(runs[0], states[runs[0].name])
            else:
                _table(runs, states, names or {})
        if more is not None:
            more()

    st.fragment(draw, run_every=POLL_SECONDS if active else None)()


def seconds_left(run: RunFolder) -> float | None:
    """The run's own estimate of the remaining seconds, minus the time since then."""
    progress = run.progress()
    left = progress.get("seconds_left") if progress is not None else None
    return None if progress is None or left is None else max(0.0, left - (time.time() - progress["time"]))


def _one(run: RunFolder, status: str) -> None:
    if status == "failed":
        st.error(say("runs.failed", reason=run.error()), icon=":material/error:")
        _log(run)
    elif status == DAMAGED:
        st.error(say("status.damaged"), icon=":material/error:")
    elif status in ("cancelled", "lost"):
        st.warning(say(f"runs.was_{status}"), icon=":material/pause_circle:")
    elif status == "queued":
        st.progress(0.0, say("runs.waiting"))
    elif status == "running":
        progress = run.progress()
        if progress is None:
            st.progress(0.0, say("runs.starting"))
            return
        left = seconds_left(run)
        counts = {"done": f"{progress['done']:,}", "total": f"{progress['total']:,}"}
        text = say("runs.doing", what=progress["what"], **counts)
        st.progress(_fraction(progress), text + (say("runs.left", time=duration(left)) if left is not None else ""))


def _log(run: RunFolder) -> None:
    """The last output of its process, if any."""
    if said := run.printed(_LOG_BYTES).strip():
        with st.expander(say("runs.log")):
            st.code(said, language=None, wrap_lines=True)


def _table(runs: Sequence[RunFolder], states: dict[str, str], names: dict[str, str]) -> None:
    rows = [_row(run, states[run.name], names.get(run.name, run.name)) for run in runs]
    done = sum(status == "done" for status in states.values())
    st.caption(say("runs.done_of", done=done, total=len(runs)))
    st.dataframe(
        rows,
        hide_index=True,
        height=min(36 + 35 * len(rows), 360),
        placeholder="",
        column_config={
            "run": st.column_config.TextColumn(say("column.run"), pinned=True),
            "status": say("column.status"),
            "doing": say("column.doing"),
            "progress": st.column_config.ProgressColumn(
                say("column.progress"), format="percent", min_value=0, max_value=1
            ),
            "stage": say("column.stage"),
            "step": say("column.step"),
            "loss": st.column_config.NumberColumn(say("column.loss"), format="%.3f"),
            "left": say("column.time_left"),
        },
        alt=say("runs.table_alt"),
    )
    for run in [run for run in runs if states[run.name] == "failed"][:_SHOWN_LOGS]:
        st.error(plain(f"{names.get(run.name, run.name)}: {run.error()}"), icon=":material/error:")
        _log(run)


def _row(run: RunFolder, status: str, name: str) -> dict[str, object]:
    progress = run.progress()
    fields: Mapping[str, Any] = progress or {}
    left = seconds_left(run) if status == "running" else None
    return {
        "run": name,
        "status": say(f"status.{status}"),
        "doing": fields.get("what") if status == "running" else run.error() if status == "failed" else None,
        "progress": 1.0 if status == "done" else _fraction(progress),
        "stage": fields["stage"] + 1 if fields.get("stage") is not None else None,
        "step": fields.get("step"),
        "loss": fields.get("loss"),
        "left": duration(left) if left is not None else None,
    }


def _fraction(progress: Event | None) -> float:
    return min(1.0, progress["done"] / progress["total"]) if progress is not None and progress["total"] else 0.0


def _buttons(runs: Sequence[RunFolder], states: dict[str, str], runs_dir: Path) -> None:
    active = [run for run in runs if states[run.name] in ACTIVE]
    stopped = [run for run in runs if states[run.name] in _RESTART]
    with st.container(horizontal=True):
        if active and st.button(say("runs.cancel"), icon=":material/stop_circle:", key=f"cancel-{runs[0].name}"):
            attempt(lambda: cancel_all(active))
        if stopped:
            words = {_RESTART[states[run.name]] for run in stopped}
            label = say(words.pop() if len(words) == 1 else "runs.resume_and_retry")
            if st.button(label, icon=":material/restart_alt:", key=f"resume-{runs[0].name}"):
                attempt(lambda: at_full_priority(lambda: start_pending(stopped, runs_dir)))


def cancel_all(runs: Sequence[RunFolder]) -> None:
    """Request every run to stop."""
    for run in runs:
        run.request_cancel()


def start_button(label: str, request: Request, runs_dir: Path, *, main: bool = False) -> None:
    """A button that queues a request and redraws the page; ``main`` marks the main action of the page."""
    if st.button(label, type="primary" if main else "secondary", icon=":material/play_arrow:"):
        attempt(lambda: at_full_priority(lambda: start_pending([request.folder(runs_dir)], runs_dir)))


def start_checked(requests: Sequence[Request], runs_dir: Path) -> list[RunFolder] | None:
    """Check requests against the images and queue those that are neither finished nor running.

    Returns:
        The folders that were queued; None if a request is refused, with the reason on the page.
    """
    try:
        with st.spinner(say("pilot.checking")), out_of_turn():
            require_fit(requests, runs_dir)
        return at_full_priority(lambda: start_requests(requests, runs_dir))
    except (UsageError, WorkError) as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        return None


def attempt(action: Callable[[], object]) -> None:
    """Call ``action`` and redraw the page, or show its error."""
    try:
        action()
    except WorkError as error:
        st.error(plain(one_line(error)))
    else:
        st.rerun()
