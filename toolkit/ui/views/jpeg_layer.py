"""The JPEG layer page: train quantisation tables with a network, see what they do, and take them as a codec."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
import streamlit as st

from toolkit.codecs.jpeg_tables import standard_steps
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.seeds import parse_seeds
from toolkit.jobs.check import require_fit
from toolkit.jobs.listing import list_runs
from toolkit.jobs.start import start_requests
from toolkit.jpeg_dl.config import CONTROLS, JPEGConfig, make_jpeg_config
from toolkit.jpeg_dl.request import AttackRequest, ExportRequest, JPEGRequest, tables_dir
from toolkit.jpeg_dl.results import Trainings, trainings
from toolkit.probe.presets import PRESETS
from toolkit.report.figures.jpeg import TABLES, response_figure, robustness_figure, table_figure, variants_figure
from toolkit.report.figures.pilots import loss_figure
from toolkit.runs.ending import remove
from toolkit.runs.folder import RunFolder
from toolkit.runs.request import Request
from toolkit.ui.components import formats
from toolkit.ui.components.choice import choose, choose_addressed, forget_unless
from toolkit.ui.components.datasets import chosen, open_dataset
from toolkit.ui.components.figures import draw_figure
from toolkit.ui.components.jobs import start_button, watch
from toolkit.ui.components.language import say
from toolkit.ui.components.outputs import command, downloads, next_page
from toolkit.ui.components.plain import plain
from toolkit.ui.priority import at_full_priority, out_of_turn

_INITS = ["sensitivity", "quality=50", "quality=75", "ones", "magnitude", "laplace"]
_USUAL_CONTROLS = ["standard", "zero-dc"]


def page() -> None:
    """Draw the page."""
    st.title(say("shell.jpeg"), anchor=False)
    st.markdown(say("jpeg.intro"))
    open_dataset()
    runs_dir = default_runs_dir()
    with st.container(border=True):
        _form(runs_dir)
    found = trainings(list_runs(runs_dir, "jpeg"), *chosen())
    if not found:
        st.info(say("jpeg.none_yet"), icon=":material/arrow_upward:")
        return
    training = _choose(found)
    _under_way(training, runs_dir)
    if (result := training.result()) is not None:
        _accuracy(result)
        _one(training, runs_dir)
    command(*(JPEGRequest(training.config, seed).command() for _, seed in training.runs))


def _form(runs_dir: Path) -> None:
    columns = st.columns(4)
    network = columns[0].selectbox(
        say("pilot.network"),
        ["resnet8", "resnet20", "resnet32"],
        key="jpeg_network",
        persist_state="session",
        accept_new_options=True,
        help=say("jpeg.network_help"),
    )
    init = columns[1].selectbox(
        say("jpeg.init"),
        _INITS,
        key="jpeg_init",
        persist_state="session",
        accept_new_options=True,
        help=say("jpeg.init_help"),
    )
    steps = columns[2].number_input(
        say("jpeg.steps"),
        1,
        None,
        300,
        100,
        key="jpeg_steps",
        persist_state="session",
        bind="query-params",
        help=say("jpeg.steps_help"),
    )
    rate_weight = columns[3].number_input(
        say("jpeg.rate_weight"),
        0.0,
        None,
        0.0,
        0.001,
        "%g",
        key="jpeg_rate",
        persist_state="session",
        bind="query-params",
        help=say("jpeg.rate_help"),
    )
    wide = st.columns([3, 1])
    controls = wide[0].pills(
        say("jpeg.controls"),
        list(CONTROLS),
        selection_mode="multi",
        default=_USUAL_CONTROLS,
        key="jpeg_controls",
        persist_state="session",
        format_func=lambda name: say(f"variant.{name}"),
        help=say("jpeg.controls_help"),
    )
    seeds = wide[1].text_input(
        say("pilot.seeds"),
        "0",
        key="jpeg_seeds",
        persist_state="session",
        bind="query-params",
        help=say("pilot.seeds_help"),
    )
    spec, size = chosen()
    try:
        numbers = parse_seeds(seeds)
        ordered = tuple(name for name in CONTROLS if name in controls)
        config = make_jpeg_config(
            dataset=spec,
            size=size,
            network=network,
            init=init,
            steps=steps,
            rate_weight=rate_weight,
            variants=("plain", "jpeg", *ordered),
        )
    except UsageError as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        return
    st.markdown(
        say(
            "jpeg.estimate",
            networks=formats.count(len(config.variants) * len(numbers), "network"),
            time=formats.duration(config.rough_seconds() * len(numbers)),
        )
    )
    if st.button(say("jpeg.train"), type="primary", icon=":material/play_arrow:"):
        try:
            requests = [JPEGRequest(config, seed) for seed in numbers]
            with st.spinner(say("pilot.checking")), out_of_turn():
                require_fit(requests, runs_dir)
            at_full_priority(lambda: start_requests(requests, runs_dir))
        except (UsageError, WorkError) as error:
            st.error(plain(one_line(error)), icon=":material/error:")
            return
        st.session_state["training"] = config.run_name(0)


def _choose(found: list[Trainings]) -> Trainings:
    by_key = {one.key: one for one in found}
    key = choose_addressed(say("jpeg.trainings"), list(by_key), "training", lambda key: _title(by_key[key].config))
    return by_key[key]


def _title(config: JPEGConfig) -> str:
    rate = f", λ {config.rate_weight:g}" if config.rate_weight else ""
    networks = ", ".join(say(f"variant.{name}") for name in config.variants[1:] or config.variants)
    return f"{config.network}, {config.init}{rate}, {formats.count(config.steps, 'step')}: {networks}"


def _under_way(training: Trainings, runs_dir: Path) -> None:
    unfinished = [run for run, _ in training.runs if run.result is None]
    if not unfinished:
        return
    names = {run.name: f"seed {seed}" for run, seed in training.runs}
    watch(unfinished, runs_dir, names, partial(_losses, unfinished[0]))
    st.caption(say("runs.in_background"))


def _losses(run: RunFolder) -> None:
    """Training losses so far, a line a network."""
    losses: dict[str, list[tuple[int, float]]] = {}
    for event in run.events():
        if event["event"] == "progress" and "loss" in event:
            losses.setdefault(event["what"], []).append((event["done"], event["loss"]))
    if losses:
        st.plotly_chart(draw_figure(loss_figure, losses), key="jpeg_loss", alt=say("pilot.loss_alt"))


def _accuracy(result: Mapping[str, Any]) -> None:
    st.subheader(say("jpeg.accuracy"), anchor=False)
    variants = result["variants"]
    st.plotly_chart(draw_figure(variants_figure, variants), key="jpeg_variants", alt=say("jpeg.accuracy_alt"))
    images = result["runs"][0]
    tested = say("jpeg.held_out" if result["config"]["held_out"] else "jpeg.test_images", count=images["test_images"])
    st.caption(say("jpeg.accuracy_caption", tested=tested, seeds=len(result["runs"])))
    rows = [
        {
            "variant": say(f"variant.{name}"),
            "accuracy": variant["mean"]["accuracy"],
            "ci95": variant["ci95"]["accuracy"],
            "gain": variant["mean"]["gain_over_plain"],
            "soft": variant["mean"].get("soft_accuracy"),
            "hard": variant["mean"].get("hard_accuracy"),
            "bpp": variant["mean"].get("bits_per_pixel"),
        }
        for name, variant in variants.items()
    ]
    percent = {
        name: st.column_config.NumberColumn(say(f"jpeg.column_{name}"), format="percent")
        for name in ("accuracy", "gain", "soft", "hard")
    }
    st.dataframe(
        rows,
        hide_index=True,
        placeholder="-",
        alt=say("jpeg.accuracy_alt"),
        column_config={
            "variant": st.column_config.TextColumn(say("jpeg.column_variant"), pinned=True),
            "ci95": st.column_config.NumberColumn("± 95 %", format="percent", help=say("help.interval")),
            "bpp": st.column_config.NumberColumn(say("jpeg.column_bpp"), format="%.3f", help=say("help.bpp")),
            **percent,
        },
    )
    downloads("jpeg", result, rows)


def _one(training: Trainings, runs_dir: Path) -> None:
    """A finished run and one of its variants with tables: what it learned, and what can be done with it."""
    finished = {run.name: (run, seed) for run, seed in training.runs if run.result is not None}
    columns = st.columns(2)
    forget_unless("jpeg_run", finished)
    name = columns[0].selectbox(
        say("column.run"), list(finished), key="jpeg_run", format_func=lambda name: f"seed {finished[name][1]}"
    )
    run = finished[name][0]
    records = (run.result or {})["variants"]
    with_tables = [name for name, record in records.items() if "tables" in record]
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


def _tables(record: Mapping[str, Any]) -> None:
    st.subheader(say("jpeg.tables"), anchor=False)
    quality = st.slider(say("jpeg.against_quality"), 1, 100, 50, key="jpeg_quality", help=say("jpeg.tables_help"))
    standard = standard_steps(quality)
    highest = float(max(np.max(standard), np.max([record["tables"][plane] for plane in TABLES])))
    for n, plane in enumerate(TABLES):
        shown = {
            say("jpeg.learned"): record["tables"][plane],
            say("jpeg.initial"): record["initial_tables"][plane],
            say("jpeg.standard", quality=quality): standard[n].tolist(),
        }
        for column, (title, steps) in zip(st.columns(3), shown.items(), strict=True):
            column.caption(f"{say(f'jpeg.{plane}')}: {title}")
            column.plotly_chart(
                draw_figure(table_figure, steps, highest),
                key=f"table-{plane}-{title}",
                alt=f"{say('jpeg.tables')}: {say(f'jpeg.{plane}')}, {title}",
            )
    clipped = record["clip_rate"]["final"]
    st.caption(
        say(
            "jpeg.clipped",
            dc=f"{clipped['luma_dc']:.0%}",
            luma=f"{clipped['luma']:.1%}",
            chroma=f"{clipped['chroma']:.1%}",
        )
    )


def _response(record: Mapping[str, Any], records: Mapping[str, Any]) -> None:
    if "frequency_response" not in record:
        return
    st.subheader(say("jpeg.response"), anchor=False)
    plane = choose(st.container(), say("jpeg.plane"), {plane: say(f"jpeg.{plane}") for plane in TABLES}, "jpeg_plane")
    responses: dict[str, Any] = {
        say("jpeg.learned"): record["frequency_response"]["final"][plane],
        say("jpeg.initial"): record["frequency_response"]["initial"][plane],
    }
    if (control := records.get("standard")) is not None and "frequency_response" in control:
        responses[say("variant.standard")] = control["frequency_response"]["final"][plane]
    st.plotly_chart(draw_figure(response_figure, responses), key="jpeg_response", alt=say("jpeg.response"))
    st.caption(say("jpeg.response_caption"))


def _export(run: RunFolder, variant: str, runs_dir: Path) -> None:
    st.subheader(say("jpeg.export"), anchor=False)
    request = ExportRequest(str(run.path), variant, str(tables_dir() / f"{run.name}-{variant}.json"))
    before = request.folder_at(runs_dir)
    if before is not None and before.result is not None and not Path(request.output).exists():
        remove(before)  # the file has been deleted: it can be made again
    exported = _carry_out(request, runs_dir, say("jpeg.export_button"), say("jpeg.export_text"))
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
    """Attacks on the chosen variant, and beside it the worst cases of those attacked before."""
    if variant == "zero-dc":
        return
    st.subheader(say("jpeg.robustness"), anchor=False, help=say("jpeg.robustness_help"))
    images = st.select_slider(say("jpeg.attacked"), [50, 100, 200, 500], 100, key="jpeg_attacked")
    request = AttackRequest(str(run.path), variant, images=images)
    report = _carry_out(request, runs_dir, say("jpeg.attack"), say("jpeg.attack_text"))
    if report is None:
        return
    others = {}
    for name in variants:
        with suppress(WorkError):  # a damaged run is not drawn
            found = replace(request, variant=name).folder_at(runs_dir) if name != variant else None
            if found is not None and (result := found.result) is not None:
                others[name] = result
    st.plotly_chart(
        draw_figure(robustness_figure, report, others=others), key="jpeg_robustness", alt=say("jpeg.robustness")
    )
    for model, result in report["models"].items():
        for note in result["notes"]:
            st.caption(f"{say(f'figure.{model}_network')}: {plain(note)}")
    rows = [
        {
            "network": model if name == variant else name,
            "attack": attack,
            **{f"{255 * eps:g}/255": value for eps, value in zip(one["eps"], values, strict=True)},
        }
        for name, one in {variant: report, **others}.items()
        for model, result in one["models"].items()
        for attack, values in (*result["attacks"].items(), ("worst", result["worst"]))
        if name == variant or model == "layered"
    ]
    with st.expander(say("shell.table")):
        st.dataframe(rows, hide_index=True, alt=say("jpeg.robustness"))
        downloads("robustness", report, rows)
    command(request.command())


def _carry_out(request: Request, runs_dir: Path, label: str, text: str) -> dict[str, Any] | None:
    """The result of a request; a button to start it where there is none, its progress where it is under way."""
    run = request.folder_at(runs_dir)
    if run is not None and run.result is not None:
        return run.result
    if run is not None:
        watch([run], runs_dir)
        return None
    st.markdown(text)
    start_button(label, request, runs_dir)
    return None
