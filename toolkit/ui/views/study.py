"""The Study page: from images to a decision. It starts studies, follows them and shows what they decided."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import cast

import streamlit as st

from toolkit.advice.contents import AdviceResult
from toolkit.codecs.spec import expand_grid, short_spec
from toolkit.data.catalog import load_dataset, short_name, usual_size
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.image_size import WrittenSize, written_size
from toolkit.foundation.sizes import format_size
from toolkit.jobs.kinds import request_of
from toolkit.jobs.listing import list_runs
from toolkit.memory.budget import budget_bytes
from toolkit.probe.presets import PRESETS
from toolkit.report.contents import write_report
from toolkit.report.facts import gather_study
from toolkit.report.figures.study import study_figure
from toolkit.report.pdf import pdf_of
from toolkit.runs.folder import RunFolder
from toolkit.study.contents import ArmResult, Decision, StudyResult
from toolkit.study.estimate import StudyEstimate, estimate_study
from toolkit.study.plan import StudyChoices
from toolkit.study.race import EFFORTS
from toolkit.study.request import StudyRequest, make_study, study_budget
from toolkit.study.sentences import all_sentences, estimated, headline, left_after, name_of, to_settle
from toolkit.study.so_far import look
from toolkit.study.take_away import bundle_command, snippet
from toolkit.ui.access import require_allowed_codecs, require_allowed_dataset
from toolkit.ui.components.choice import choose, choose_addressed
from toolkit.ui.components.datasets import chosen_spec, progress_in, refuse_dataset
from toolkit.ui.components.figures import draw_figure
from toolkit.ui.components.formats import duration
from toolkit.ui.components.jobs import ACTIVE, start_button, start_checked, watch
from toolkit.ui.components.language import current, say
from toolkit.ui.components.outputs import command, downloads, next_page
from toolkit.ui.components.plain import plain
from toolkit.ui.priority import out_of_turn

_DEVICES = {"microcontroller": "64KiB", "camera": "8MiB", "gateway": "1GiB"}
_LARGER = {"quick": "usual", "usual": "thorough"}
"""The effort that goes on where one ends: all its pilots are used."""


def page() -> None:
    """Draw the page."""
    st.title(say("shell.study"), anchor=False)
    st.markdown(say("study_page.intro"))
    with st.expander(say("study_page.terms")):
        st.markdown(say("study_page.terms_text"))
    runs_dir = default_runs_dir()
    with st.container(border=True):
        request = _form()
        if request is not None:
            _start(request, runs_dir)
    _past(runs_dir)


def _start(request: StudyRequest, runs_dir: Path) -> None:
    """The button that starts the study of the form, after a check that its pilots can run."""
    asked = st.button(say("study_page.start"), type="primary", icon=":material/play_arrow:")
    if asked and start_checked([request], runs_dir) is not None:
        st.rerun()


def _form() -> StudyRequest | None:
    """The request of the form; None if the form is invalid."""
    try:
        spec = chosen_spec()
        require_allowed_dataset(spec)
        usual = _usual_size(spec)
    except (UsageError, WorkError) as error:
        refuse_dataset(one_line(error))
    columns = st.columns([2, 3, 2, 2], vertical_alignment="bottom")
    size = columns[0].text_input(
        say("study_page.size"), str(usual), key=f"study_size-{spec}", help=say("study_page.size_help", usual=usual)
    )
    try:
        budget = _budget_field(columns[1:], spec, written_size(size))
        effort = choose(
            st.container(),
            say("study_page.effort"),
            {name: say(f"study_page.{name}", arms=" → ".join(map(str, arms))) for name, arms in EFFORTS.items()},
            "study_effort",
            say("study_page.effort_help"),
        )
        grid = _grid_field()
        request, estimate, classes = _made(spec, written_size(size), budget, effort, grid)
    except (UsageError, WorkError) as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        return None
    st.caption(_budget_in_words(request, classes) + " " + str(estimated(estimate).said(say)))
    return request


@st.cache_data(ttl=60, max_entries=32, show_spinner=False)
def _usual_size(spec: str) -> int:
    return usual_size(spec)


def _budget_field(columns: list[st.delta_generator.DeltaGenerator], spec: str, size: WrittenSize) -> str:
    """The budget per device, set by hand or by the kind of device."""
    key = f"study_budget-{size}"
    st.session_state.setdefault(key, study_budget(size))
    budget = columns[0].text_input(say("study_page.budget"), key=key, persist_state="session", help=say("help.budget"))
    with columns[1].popover(say("study_page.devices"), width="stretch"):
        for name, amount in _DEVICES.items():
            st.button(say(f"study_page.{name}", size=amount), on_click=partial(_put, key, amount), key=f"device-{name}")
    columns[2].number_input(
        say("study_page.fleet"),
        1,
        10_000_000,
        1,
        key="study_fleet",
        persist_state="session",
        help=say("study_page.fleet_help"),
    )
    return budget


def _put(key: str, value: str) -> None:
    st.session_state[key] = value


def _grid_field() -> str:
    with st.expander(say("study_page.more")):
        grid = st.text_input(
            say("probe.grid"), PRESETS["quick"], key="study_grid", persist_state="session", help=say("probe.grid_help")
        )
    require_allowed_codecs(grid)
    expand_grid(grid)
    return grid


def _made(
    spec: str, size: WrittenSize, budget: str, effort: str, grid: str
) -> tuple[StudyRequest, StudyEstimate, tuple[int, int]]:
    """The request, its estimate, and the number of classes and bytes of a raw image.

    Raises:
        UsageError, WorkError: as in :func:`~toolkit.study.request.make_study`.
    """
    place = st.empty()

    with st.spinner(say("dataset.opening", spec=spec)), out_of_turn():
        request = make_study(
            spec, size, budget, choices=StudyChoices(codecs=grid, effort=effort), progress=progress_in(place)
        )
        dataset = load_dataset(spec, size)
        budget_bytes(budget, len(dataset.class_names), dataset.raw_image_bytes)
        estimate = estimate_study(request)
    place.empty()
    return request, estimate, (len(dataset.class_names), dataset.raw_image_bytes)


def _budget_in_words(request: StudyRequest, facts: tuple[int, int]) -> str:
    classes, raw = facts
    total = budget_bytes(request.config.budget, classes, raw)
    fleet = st.session_state.get("study_fleet", 1)
    words = say("study_page.budget_is", size=format_size(total), raw=f"{total / raw / classes:.3g}")
    return words if fleet == 1 else words + " " + say("study_page.fleet_is", size=format_size(total * fleet))


def _past(runs_dir: Path) -> None:
    """All studies of this dataset, and the chosen one's progress or decision."""
    spec = chosen_spec()
    mine: dict[str, RunFolder] = {}
    requests: dict[str, StudyRequest] = {}
    for run in list_runs(runs_dir, "study"):
        request = request_of(run)
        if isinstance(request, StudyRequest) and request.config.dataset == spec:
            mine[run.name], requests[run.name] = run, request
    if not mine:
        st.info(say("study_page.none_yet"), icon=":material/arrow_upward:")
        return
    name = choose_addressed(say("study_page.past"), list(mine), "study", lambda name: _title(requests[name]))
    run, request = mine[name], requests[name]
    if run.status() != "done":
        watch([run], runs_dir, more=partial(_so_far, request, runs_dir))
        if run.status() in ACTIVE:
            st.caption(say("runs.in_background"))
    else:
        _decided(run, request, runs_dir)
    command(request.command())


def _title(request: StudyRequest) -> str:
    return current()(
        "study_page.title",
        dataset=short_name(request.config.dataset),
        size=request.config.size,
        budget=request.config.budget,
        effort=request.choices.effort,
        grid=request.choices.codecs,
    )


def _so_far(request: StudyRequest, runs_dir: Path) -> None:
    """The chart and the decision of a study that runs."""
    wanted = request.plan.advice()
    probe = wanted.folder_at(runs_dir)
    if probe is None or (advice := wanted.result_in(probe)) is None:
        st.caption(say("study_page.probing"))
        if probe is not None and (progress := probe.progress()) is not None:
            st.caption(
                say("runs.doing", what=progress["what"], done=f"{progress['done']:,}", total=f"{progress['total']:,}")
            )
        return
    try:
        so_far = look(request.plan, runs_dir, cast(AdviceResult, advice))
    except (UsageError, WorkError) as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        return
    if so_far.decision is not None:
        st.info(headline(so_far.decision).said(say), icon=":material/hourglass_top:")
    else:
        st.info(say("study_page.no_decision_yet"), icon=":material/hourglass_top:")
    _chart(so_far.rows(), so_far.decision, "so-far")


def _decided(run: RunFolder, request: StudyRequest, runs_dir: Path) -> None:
    """The decision of a finished study, and what can be done with it."""
    result = request.result_in(run)
    assert result is not None
    decision = result["decision"]
    st.success(headline(decision).said(say), icon=":material/check_circle:")
    settle = to_settle(decision)
    told = {str(headline(decision)), *([] if settle is None else [str(settle)])}
    sentences = [one for one in all_sentences(result) if str(one) not in told]
    st.markdown("\n".join(f"- {one.said(say)}" for one in sentences))
    if settle is not None:
        st.markdown(settle.said(say))
        if (more := _LARGER.get(request.choices.effort)) is not None:
            larger = StudyRequest(request.config, StudyChoices(**vars(request.choices) | {"effort": more}))
            start_button(say("study_page.settle", effort=say(f"study_page.{more}_name")), larger, runs_dir)
    _chart(result["arms"], decision, run.name)
    st.caption(say("study_page.took", time=duration(result["seconds"]), pilots=decision["pilots"]))
    address = {"size": str(request.config.size)}
    columns = st.columns(3)
    with columns[0]:
        next_page("images", say("study_page.images"), **address, setting=decision["codec"])
    with columns[1]:
        next_page("tradeoff", say("study_page.tradeoff"), **address)
    with columns[2]:
        next_page("cost", say("study_page.cost"), **address)
    _take_away(run, result)
    downloads(run.name, result, [{**row} for row in result["arms"]])


def _chart(arms: list[ArmResult], decision: Decision | None, key: str) -> None:
    """The figure, and the arms that started as a table."""
    started = [row for row in arms if row["started"]]
    chosen = None if decision is None else _place(started, decision)
    if any(row["last_accuracy"] is not None for row in started):
        st.plotly_chart(draw_figure(study_figure, started, chosen), key=f"study-chart-{key}")
    rows = [
        {
            "arm": name_of(row),
            "bytes": row["file_bytes"],
            "fit": row["exemplars_per_class"],
            "seeds": row["seeds"],
            "accuracy": None if row["last_accuracy"] is None else 100 * row["last_accuracy"],
            "near": 100 * row["within_eps"],
            "left": left_after(row, current()),
        }
        for row in started
    ]
    number = st.column_config.NumberColumn
    st.dataframe(
        rows,
        hide_index=True,
        placeholder="",
        column_config={
            "arm": st.column_config.TextColumn(say("study.arm"), pinned=True),
            "bytes": number(say("storage.exemplar_bytes"), format="%,.0f"),
            "fit": number(say("column.exemplars_per_class"), format="%.1f"),
            "seeds": say("column.seeds"),
            "accuracy": number(f"{say('metric.last_accuracy')}, %", format="%.1f"),
            "near": number(say("study_page.near"), format="%.0f", help=say("study_page.near_help")),
            "left": say("study.left"),
        },
    )


def _place(rows: list[ArmResult], decision: Decision) -> int | None:
    wanted = (decision["codec"], decision["align"])
    return next((n for n, row in enumerate(rows) if (row["codec"], row["align"]) == wanted), None)


def _take_away(run: RunFolder, result: StudyResult) -> None:
    """The PDF, the memory and a snippet for one's own training."""
    st.subheader(say("study_page.take_away"), anchor=False)
    key = f"study-pdf-{run.name}-{current().code}"
    if st.button(say("study_page.make_pdf"), icon=":material/picture_as_pdf:"):
        try:
            with st.spinner(say("report_page.setting")), out_of_turn():
                st.session_state[key] = pdf_of(write_report(gather_study([run]), current()))
        except (UsageError, WorkError) as error:
            st.error(plain(one_line(error)), icon=":material/error:")
    if key in st.session_state:
        st.download_button(
            say("report_page.download"),
            st.session_state[key],
            "report.pdf",
            "application/pdf",
            type="primary",
            on_click="ignore",
            icon=":material/download:",
        )
    if (packing := bundle_command(result)) is not None:
        st.caption(say("study_page.bundle_note"))
        st.code(packing, language="bash", wrap_lines=True)
    if (text := snippet(result)) is not None:
        st.caption(say("study_page.snippet_note", setting=short_spec(result["decision"]["codec"])))
        st.code(text, language="python")
