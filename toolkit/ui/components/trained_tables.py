"""Learned quantisation tables of a finished JPEG-layer run: tables, frequency response, export and robustness."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from pathlib import Path

import numpy as np
import streamlit as st

from toolkit.codecs.jpeg_tables import standard_steps
from toolkit.foundation.errors import WorkError
from toolkit.jpeg_dl.contents import AttackResult, VariantRecord, networks, plane_of
from toolkit.jpeg_dl.request import AttackRequest, ExportRequest, JPEGRequest, tables_dir
from toolkit.jpeg_dl.results import Trainings
from toolkit.probe.presets import PRESETS
from toolkit.report.figures.jpeg import TABLES, response_figure, robustness_figure, table_figure
from toolkit.runs.ending import remove
from toolkit.runs.folder import RunFolder
from toolkit.runs.request import Outcome, Request
from toolkit.ui.components.choice import choose, forget_unless
from toolkit.ui.components.figures import draw_figure
from toolkit.ui.components.jobs import start_button, watch
from toolkit.ui.components.language import say
from toolkit.ui.components.outputs import command, downloads, next_page
from toolkit.ui.components.plain import plain


def show_trained_tables(training: Trainings, runs_dir: Path) -> None:
    """The tables of a finished run and variant, their frequency response, export and robustness.

    Args:
        training: with at least one finished run.
        runs_dir: the folder of runs.
    """
    finished = {
        run.name: (run, seed, result)
        for run, seed in training.runs
        if (result := JPEGRequest(training.config, seed).result_in(run)) is not None
    }
    columns = st.columns(2)
    forget_unless("jpeg_run", finished)
    name = columns[0].selectbox(
        say("column.run"), list(finished), key="jpeg_run", format_func=lambda name: f"seed {finished[name][1]}"
    )
    run, _, result = finished[name]
    records = result["variants"]
    with_tables = [name for name, record in records.items() if record.get("tables") is not None]
    if not with_tables:
        return
    forget_unless("jpeg_variant", with_tables)
    variant = columns[1].selectbox(
        say("jpeg.column_variant"), with_tables, key="jpeg_variant", format_func=lambda name: say(f"variant.{name}")
    )
    _tables(records[variant])
    _response(records[variant], records)
    _export(run, variant, runs_dir)
    _robustness(run, variant, with_tables, runs_dir)


def _tables(record: VariantRecord) -> None:
    learned, initial, clip_rate = record.get("tables"), record.get("initial_tables"), record.get("clip_rate")
    if learned is None or initial is None or clip_rate is None:
        return
    st.subheader(say("jpeg.tables"), anchor=False)
    quality = st.slider(say("jpeg.against_quality"), 1, 100, 50, key="jpeg_quality", help=say("jpeg.tables_help"))
    standard = standard_steps(quality)
    highest = float(max(np.max(standard), np.max([plane_of(learned, plane) for plane in TABLES])))
    for n, plane in enumerate(TABLES):
        shown = {
            say("jpeg.learned"): plane_of(learned, plane),
            say("jpeg.initial"): plane_of(initial, plane),
            say("jpeg.standard", quality=quality): standard[n].tolist(),
        }
        for column, (title, steps) in zip(st.columns(3), shown.items(), strict=True):
            column.caption(f"{say(f'jpeg.{plane}')}: {title}")
            column.plotly_chart(
                draw_figure(table_figure, steps, highest),
                key=f"table-{plane}-{title}",
                alt=f"{say('jpeg.tables')}: {say(f'jpeg.{plane}')}, {title}",
            )
    clipped = clip_rate["final"]
    st.caption(
        say(
            "jpeg.clipped",
            dc=f"{clipped['luma_dc']:.0%}",
            luma=f"{clipped['luma']:.1%}",
            chroma=f"{clipped['chroma']:.1%}",
        )
    )


def _response(record: VariantRecord, records: Mapping[str, VariantRecord]) -> None:
    own = record.get("frequency_response")
    if own is None:
        return
    st.subheader(say("jpeg.response"), anchor=False)
    plane = choose(st.container(), say("jpeg.plane"), {plane: say(f"jpeg.{plane}") for plane in TABLES}, "jpeg_plane")
    responses = {
        say("jpeg.learned"): plane_of(own["final"], plane),
        say("jpeg.initial"): plane_of(own["initial"], plane),
    }
    if "standard" in records and (control := records["standard"].get("frequency_response")) is not None:
        responses[say("variant.standard")] = plane_of(control["final"], plane)
    st.plotly_chart(draw_figure(response_figure, responses), key="jpeg_response", alt=say("jpeg.response"))
    st.caption(say("jpeg.response_caption"))


def _export(run: RunFolder, variant: str, runs_dir: Path) -> None:
    st.subheader(say("jpeg.export"), anchor=False)
    request = ExportRequest(str(run.path), variant, str(tables_dir() / f"{run.name}-{variant}.json"))
    before = request.folder_at(runs_dir)
    if before is not None and before.result is not None and not Path(request.output).exists():
        remove(before)  # the file has been deleted, so it can be exported again
    exported = _result_of(request, runs_dir, say("jpeg.export_button"), say("jpeg.export_text"))
    if exported is None:
        return
    spec = f"learned-jpeg:tables={exported['tables']}"
    st.code(spec, language=None, wrap_lines=True)
    with st.container(horizontal=True):
        if st.button(say("jpeg.to_probe"), icon=":material/add:"):
            before = st.session_state.get("grid", PRESETS["quick"])
            if spec not in before:
                st.session_state["grid"] = f"{before};{spec}"
            st.success(say("jpeg.added"))
        path = Path(exported["tables"])
        st.download_button(
            say("jpeg.download"),
            path.read_bytes,
            path.name,
            "application/json",
            icon=":material/download:",
            on_click="ignore",
        )
    next_page("probe", say("jpeg.next"))


def _robustness(run: RunFolder, variant: str, variants: Sequence[str], runs_dir: Path) -> None:
    """Attacks on the chosen variant, with the worst cases of variants attacked before."""
    if variant == "zero-dc":
        return
    st.subheader(say("jpeg.robustness"), anchor=False, help=say("jpeg.robustness_help"))
    images = st.select_slider(say("jpeg.attacked"), [50, 100, 200, 500], 100, key="jpeg_attacked")
    request = AttackRequest(str(run.path), variant, images=images)
    report = _result_of(request, runs_dir, say("jpeg.attack"), say("jpeg.attack_text"))
    if report is None:
        return
    others = _other_reports(request, variants, runs_dir)
    st.plotly_chart(
        draw_figure(robustness_figure, report, others=others), key="jpeg_robustness", alt=say("jpeg.robustness")
    )
    for model, result in networks(report).items():
        for note in result["notes"]:
            st.caption(f"{say(f'figure.{model}_network')}: {plain(note)}")
    rows = [
        {
            "network": model if name == variant else name,
            "attack": attack,
            **{f"{255 * eps:g}/255": value for eps, value in zip(one["eps"], values, strict=True)},
        }
        for name, one in {variant: report, **others}.items()
        for model, result in networks(one).items()
        for attack, values in (*result["attacks"].items(), ("worst", result["worst"]))
        if name == variant or model == "layered"
    ]
    with st.expander(say("shell.table")):
        st.dataframe(rows, hide_index=True, alt=say("jpeg.robustness"))
        downloads("robustness", report, rows)
    command(request.command())


def _other_reports(request: AttackRequest, variants: Sequence[str], runs_dir: Path) -> dict[str, AttackResult]:
    """Finished results of the same attack on other variants."""
    found = {}
    for name in variants:
        with suppress(WorkError):  # a damaged run is not drawn
            other = replace(request, variant=name)
            run = other.folder_at(runs_dir) if name != request.variant else None
            if run is not None and (result := other.result_in(run)) is not None:
                found[name] = result
    return found


def _result_of(request: Request[Outcome], runs_dir: Path, label: str, text: str) -> Outcome | None:
    """The result of a request; until it has one, its progress or a button to start it."""
    run = request.folder_at(runs_dir)
    if run is not None and (result := request.result_in(run)) is not None:
        return result
    if run is not None:
        watch([run], runs_dir)
        return None
    st.markdown(text)
    start_button(label, request, runs_dir)
    return None
