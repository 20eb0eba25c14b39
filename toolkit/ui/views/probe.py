"""The Probe page: many codec settings on a sample of images, compared by bytes and by network features."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any, cast

import streamlit as st

from toolkit.advice.calibration import WITHIN, calibration
from toolkit.advice.request import AdviceRequest
from toolkit.advice.rules.registry import rule_names
from toolkit.codecs.registry import CODECS
from toolkit.codecs.spec import expand_grid, parse_codec, with_store
from toolkit.codecs.store import require_larger_stores
from toolkit.data.alignment import ALIGNS
from toolkit.data.dataset import ImageDataset
from toolkit.data.scenario import default_initial
from toolkit.features.names import require_extractor
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.image_size import WrittenSize
from toolkit.jobs.kinds import probe_of, probes_of
from toolkit.jobs.listing import list_runs
from toolkit.memory.budget import budget_bytes
from toolkit.probe.contents import Setting
from toolkit.probe.presets import MOST_IMAGES, PRESETS, images_for, with_original
from toolkit.probe.request import ProbeRequest
from toolkit.report.tables import probe_rows
from toolkit.runs.folder import RunFolder
from toolkit.runs.start import start_pending
from toolkit.ui.access import require_allowed_codecs, require_allowed_extractor
from toolkit.ui.components.budget import budget_field
from toolkit.ui.components.choice import choose_addressed
from toolkit.ui.components.datasets import chosen, open_dataset
from toolkit.ui.components.formats import count
from toolkit.ui.components.grid_builder import build_grid
from toolkit.ui.components.jobs import ACTIVE, watch
from toolkit.ui.components.language import current, say
from toolkit.ui.components.outputs import command, next_page
from toolkit.ui.components.plain import code, join_marked, plain
from toolkit.ui.components.probe_result import show_probe, show_rows
from toolkit.ui.components.stored import stored_field
from toolkit.ui.priority import at_full_priority

_IMAGES = (100, 200, 500, 1000, 2000, 5000)
_PRESETS = {"quick": "preset_quick", "thorough": "preset_thorough", "edge device": "preset_edge"}


def page() -> None:
    """Draw the page."""
    st.title(say("shell.probe"), anchor=False)
    st.markdown(say("probe.intro"))
    dataset = open_dataset()
    runs_dir = default_runs_dir()
    with st.container(border=True):
        request = _request(dataset)
        started = _start(request, runs_dir) if request is not None else None
    if started is not None:
        st.session_state["probe"] = started
    _past(runs_dir)


def _request(dataset: ImageDataset) -> ProbeRequest | None:
    """The request of the form; None if the form is invalid."""
    grid, problem = _grid_field(has_files=dataset.has_files)
    spec, size = chosen()
    budget, images, extractor, side = _sample_fields(size)
    grid = with_store(grid, side)
    if problem is None:
        try:
            require_larger_stores(map(parse_codec, expand_grid(grid)), size)
            budget_bytes(budget, len(dataset.class_names), dataset.raw_image_bytes)
            require_extractor(extractor)
            require_allowed_extractor(extractor)
        except UsageError as error:
            problem = one_line(error)
    if problem is not None:
        st.error(plain(problem), icon=":material/error:")
        return None
    if not st.toggle(say("probe.advise"), True, key="probe_advise", persist_state="session", help=say("help.advice")):
        return ProbeRequest(spec, size, grid, budget, extractor, images=images)
    coded = st.checkbox(say("probe.both"), True, key="probe_both", persist_state="session", help=say("help.align"))
    aligns = ALIGNS if coded else tuple(align for align in ALIGNS if align != "both")
    return AdviceRequest(
        spec,
        size,
        grid,
        budget,
        extractor,
        images=images,
        aligns=",".join(aligns),
        **_more_of_advice(len(dataset.class_names)),
    )


def _grid_field(has_files: bool) -> tuple[str, str | None]:
    """The grid of codec settings, and what is wrong with it, if anything."""
    st.session_state.setdefault("grid", PRESETS["quick"])
    st.pills(
        say("probe.presets"),
        list(PRESETS),
        key="preset",
        on_change=_apply_preset,
        format_func=lambda name: say(f"probe.{_PRESETS[name]}"),
        help=say("probe.presets_help"),
    )
    grid = st.text_input(
        say("probe.grid"),
        key="grid",
        live="400ms",
        persist_state="session",
        bind="query-params",
        help=say("probe.grid_help"),
    )
    problem = None
    try:
        require_allowed_codecs(grid)
        settings = with_original(expand_grid(grid), has_files)
        st.caption(count(len(settings), "setting") + ": " + join_marked([code(setting) for setting in settings]))
    except UsageError as error:
        problem = one_line(error)
    with st.container(horizontal=True):
        build_grid("grid")
        with st.popover(say("probe.known"), icon=":material/menu_book:"):
            st.dataframe(
                _codec_rows(),
                hide_index=True,
                width=820,
                column_config={name: say(f"column.{name}") for name in ("codec", "summary", "keys")},
            )
    return grid, problem


def _sample_fields(size: WrittenSize) -> tuple[str, int, str, int | None]:
    """The fields of budget, number of images, extractor and stored size; of large images fewer are measured."""
    columns = st.columns(4)
    budget = budget_field(columns[0], "probe_budget", size, say("help.budget"))
    images = columns[1].select_slider(
        say("probe.images"),
        _IMAGES,
        max(number for number in _IMAGES if number <= images_for(size)),
        key="probe_images" if images_for(size) == MOST_IMAGES else "probe_images_large",
        persist_state="session",
        bind="query-params",
        help=say("probe.images_help"),
    )
    extractor = columns[2].selectbox(
        say("probe.extractor"),
        ["auto", "stage0", "self", "random"],
        key="probe_extractor",
        accept_new_options=True,
        persist_state="session",
        help=say("help.extractor"),
    )
    return budget, images, extractor, stored_field(columns[3], "probe_store")


def _more_of_advice(classes: int) -> dict[str, Any]:
    """Rarely changed options: stages, rule, and the tolerance of the smallest budget.

    Defaults are left out, so that the command and run of a request do not depend on whether they were written.
    """
    usual = {"initial": default_initial(classes), "increment": default_initial(classes), "rule": None, "within": WITHIN}
    with st.expander(say("probe.more")):
        columns = st.columns(4)
        chosen: dict[str, Any] = {
            name: column.number_input(
                say(f"pilot.{name}"),
                1,
                classes,
                usual[name],
                key=f"probe_{name}-{classes}",
                persist_state="session",
                help=say("help.stages"),
            )
            for column, name in zip(columns, ("initial", "increment"), strict=False)
        }
        chosen["rule"] = columns[2].selectbox(
            say("column.rule"),
            [None, *rule_names()],
            key="probe_rule",
            persist_state="session",
            format_func=lambda name: say("probe.best_rule", rule=calibration().default_rule) if name is None else name,
            help=say("probe.rule_help"),
        )
        chosen["within"] = columns[3].number_input(
            say("probe.within"),
            0.0,
            100.0,
            WITHIN,
            0.5,
            key="probe_within",
            persist_state="session",
            help=say("probe.within_help"),
        )
    changed = {name: value for name, value in chosen.items() if value != usual[name]}
    if "initial" in changed:  # the default increment equals the initial stage
        changed["increment"] = chosen["increment"]
    return changed


def _apply_preset() -> None:
    if (preset := st.session_state["preset"]) is not None:
        st.session_state["grid"] = PRESETS[preset]


def _codec_rows() -> list[dict[str, str]]:
    return [
        {
            "codec": kind.name,
            "summary": kind.summary,
            "keys": ", ".join(f"{key}={parameter.accepted()}" for key, parameter in kind.parameters.items()),
        }
        for kind in CODECS.values()
    ]


def _start(request: ProbeRequest, runs_dir: Path) -> str | None:
    """The start button; returns the name of the started run."""
    if not st.button(say("probe.run"), type="primary", icon=":material/play_arrow:"):
        return None
    try:
        run = request.folder(runs_dir)
        at_full_priority(lambda: start_pending([run], runs_dir))
    except WorkError as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        return None
    return run.name


def _past(runs_dir: Path) -> None:
    """All probes of this dataset, and the chosen one's progress or result."""
    mine = probes_of(list_runs(runs_dir), *chosen())
    if not mine:
        st.info(say("probe.none_yet"), icon=":material/arrow_upward:")
        return
    requests = {name: probe_of(run) for name, run in mine.items()}
    name = choose_addressed(
        say("probe.past"), list(mine), "probe", lambda name: _title(requests[name]), say("probe.past_help")
    )
    run = mine[name]
    if run.status() != "done":
        watch([run], runs_dir, more=partial(_so_far, run))
    if (result := requests[name].result_in(run)) is not None:
        show_probe(name, result)
        next_page("pilot", say("probe.next"))
    elif run.status() in ACTIVE:
        st.caption(say("runs.in_background"))
    command(requests[name].command())


def _so_far(run: RunFolder) -> None:
    """The rows of a running probe so far."""
    if rows := run.found():
        show_rows(probe_rows(cast(list[Setting], rows)))


def _title(request: ProbeRequest) -> str:
    return current()(
        "probe.title_advised" if request.kind == "advise" else "probe.title_plain",
        grid=request.codecs,
        images=request.sample_size,
        budget=request.budget,
        extractor=request.extractor,
    )
