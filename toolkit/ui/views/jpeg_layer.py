"""The JPEG layer page: train quantisation tables with a network, inspect them, and export them as a codec."""

from __future__ import annotations

from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from toolkit.foundation.errors import UsageError, one_line
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.seeds import parse_seeds
from toolkit.jobs.listing import list_runs
from toolkit.jpeg_dl.config import CONTROLS, JPEGConfig, make_jpeg_config
from toolkit.jpeg_dl.contents import TrainingsSummary
from toolkit.jpeg_dl.request import JPEGRequest
from toolkit.jpeg_dl.results import Trainings, trainings
from toolkit.report.figures.jpeg import variants_figure
from toolkit.report.figures.pilots import loss_figure
from toolkit.runs.folder import RunFolder
from toolkit.ui.components import formats
from toolkit.ui.components.choice import choose_addressed
from toolkit.ui.components.datasets import chosen, open_dataset
from toolkit.ui.components.figures import draw_figure
from toolkit.ui.components.jobs import start_checked, watch
from toolkit.ui.components.language import say
from toolkit.ui.components.outputs import command, downloads
from toolkit.ui.components.plain import plain
from toolkit.ui.components.trained_tables import show_trained_tables

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
        show_trained_tables(training, runs_dir)
    command(*(JPEGRequest(training.config, seed).command() for _, seed in training.runs))


def _form(runs_dir: Path) -> None:
    asked = _choose_config()
    if asked is None:
        return
    config, numbers = asked
    st.markdown(
        say(
            "jpeg.estimate",
            networks=formats.count(len(config.variants) * len(numbers), "network"),
            time=formats.duration(config.rough_seconds() * len(numbers)),
        )
    )
    if st.button(say("jpeg.train"), type="primary", icon=":material/play_arrow:"):
        if start_checked([JPEGRequest(config, seed) for seed in numbers], runs_dir) is None:
            return
        st.session_state["training"] = config.run_name(0)


def _choose_config() -> tuple[JPEGConfig, list[int]] | None:
    """The configuration and seeds to train; None if the form is invalid."""
    chosen_network = _network_fields()
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
            variants=("plain", "jpeg", *ordered),
            **chosen_network,
        )
    except UsageError as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        return None
    return config, numbers


def _network_fields() -> dict[str, Any]:
    """The fields of the network and of the training of its tables, as arguments of the configuration."""
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
    return {"network": network, "init": init, "steps": steps, "rate_weight": rate_weight}


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
    """Training losses so far, one line per network."""
    losses: dict[str, list[tuple[int, float]]] = {}
    for event in run.events():
        if event["event"] == "progress" and (loss := event.get("loss")) is not None:
            losses.setdefault(event["what"], []).append((event["done"], loss))
    if losses:
        st.plotly_chart(draw_figure(loss_figure, losses), key="jpeg_loss", alt=say("pilot.loss_alt"))


def _accuracy(result: TrainingsSummary) -> None:
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
