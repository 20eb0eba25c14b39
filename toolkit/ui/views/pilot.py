"""The Pilot page: train and watch learners whose memory holds compressed exemplars."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

import streamlit as st

from toolkit.advice.contents import is_advice
from toolkit.codecs.spec import with_store
from toolkit.data.alignment import ALIGNS
from toolkit.data.dataset import ImageDataset
from toolkit.data.scenario import default_initial
from toolkit.foundation.errors import UsageError, one_line
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.image_size import WrittenSize
from toolkit.foundation.seeds import parse_seeds
from toolkit.foundation.sizes import format_size
from toolkit.jobs.kinds import newest_probe
from toolkit.jobs.listing import list_runs
from toolkit.memory.budget import budget_bytes
from toolkit.pilots import plan
from toolkit.pilots.config import DEFAULT_TUNE, FINE_TUNING, PilotConfig, fine_tuning
from toolkit.pilots.estimate import estimate_runs, rough_seconds_per_step
from toolkit.pilots.request import PilotRequest
from toolkit.pilots.results import Comparison, accuracy_so_far, comparisons, losses_so_far
from toolkit.report.figures.pilots import loss_figure, stage_figure
from toolkit.runs.folder import RunFolder
from toolkit.training.network_spec import (
    CIFAR_RESNETS,
    PRETRAINED,
    canonical_network,
    is_large,
    starts_trained,
)
from toolkit.ui.access import require_allowed_codecs
from toolkit.ui.components import formats
from toolkit.ui.components.budget import budget_field
from toolkit.ui.components.datasets import chosen, open_dataset
from toolkit.ui.components.figures import draw_figure
from toolkit.ui.components.history import show_history
from toolkit.ui.components.jobs import start_checked, watch
from toolkit.ui.components.language import say
from toolkit.ui.components.method_form import choose_method
from toolkit.ui.components.outputs import command, next_page
from toolkit.ui.components.plain import plain
from toolkit.ui.components.run_detail import run_name
from toolkit.ui.components.stored import stored_field

_FEATURES = ["features:bits=4", "features:bits=8"]
_USUAL = ["raw", "png", "jxl:lossless=yes", "jpeg:quality=10", "jpeg:quality=50", "jpeg:quality=90", "webp:quality=50"]
_MOST_CURVES = 6


def page() -> None:
    """Draw the page."""
    st.title(say("shell.pilot"), anchor=False)
    st.markdown(say("pilot.intro"))
    dataset = open_dataset()
    runs_dir = default_runs_dir()
    with st.container(border=True):
        planned = _form(dataset, runs_dir)
        if planned:
            _start(planned, dataset, runs_dir)
    spec, size = chosen()
    found = comparisons(list_runs(runs_dir, "pilot"), spec, size)
    if not found:
        st.info(say("pilot.none_yet"), icon=":material/arrow_upward:")
        return
    with st.container():  # keeps the position of what follows when the last run ends
        _under_way(found, len(dataset.class_names), runs_dir)
    if any(run.result is not None for comparison in found for run, _, _ in comparison.runs):
        next_page("tradeoff", say("pilot.next"))
    show_history(runs_dir, spec, ("pilot",))


def _form(dataset: ImageDataset, runs_dir: Path) -> list[PilotRequest]:
    """The planned runs; empty if the form is invalid."""
    settings = _settings(runs_dir)
    spec, size = chosen()
    aligns, budgets, seeds, side = _grid_fields(size)
    classes = len(dataset.class_names)
    network, usual = _network_fields(size)
    stages = _stage_fields(classes, usual)
    method = choose_method()
    choices = _more_choices(usual)
    try:
        require_allowed_codecs(";".join(settings))
        for budget in budgets:
            budget_bytes(budget, classes, dataset.raw_image_bytes)
        return plan.plan(
            [with_store(setting, side) for setting in settings],
            aligns,
            budgets,
            parse_seeds(seeds),
            dataset=spec,
            size=size,
            method=method,
            **network,
            **stages,
            **choices,
        )
    except UsageError as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        return []


def _grid_fields(size: WrittenSize) -> tuple[list[str], list[str], str, int | None]:
    """The fields of alignments, budgets, seeds and stored size."""
    wide = st.columns([2, 1, 1, 1])
    aligns = wide[0].segmented_control(
        say("pilot.aligns"),
        ALIGNS,
        selection_mode="multi",
        default=["both"],
        key="aligns",
        persist_state="session",
        help=say("help.align"),
    )
    budgets = budget_field(wide[1], "pilot_budget", size, say("help.budget") + " " + say("pilot.budgets_help"))
    seeds = wide[2].text_input(
        say("pilot.seeds"),
        "0,1,2",
        key="seeds",
        persist_state="session",
        bind="query-params",
        help=say("pilot.seeds_help"),
    )
    side = stored_field(wide[3], "pilot_store")
    return aligns, [part.strip() for part in budgets.split(",") if part.strip()], seeds, side


def _network_fields(size: WrittenSize) -> tuple[dict[str, object], dict[str, Any]]:
    """The fields of the network and of what is trained, and the defaults that follow from them."""
    columns = st.columns([2, 1, 1])
    network = columns[0].selectbox(
        say("pilot.network"),
        ["auto", PRETRAINED, *CIFAR_RESNETS],
        key="network",
        persist_state="session",
        accept_new_options=True,
        help=say("pilot.network_help"),
    )
    try:
        trained = starts_trained(canonical_network(network, size))
    except UsageError:  # shown below the form
        trained = False
    if not trained:
        columns[1].caption(say("pilot.from_scratch"))
        return {"network": network}, {}
    tune = columns[1].selectbox(
        say("pilot.tune"),
        list(FINE_TUNING),
        list(FINE_TUNING).index(DEFAULT_TUNE),
        key="tune",
        persist_state="session",
        format_func=lambda one: say(f"pilot.tune_{one.replace('-', '_')}"),
        help=say("pilot.tune_help"),
    )
    usual = fine_tuning(tune)
    if tune == "all":
        return {"network": network, "tune": tune}, usual
    views = columns[2].number_input(
        say("pilot.views"),
        1,
        10,
        key="views",
        persist_state="session",
        help=say("pilot.views_help"),
    )
    return {"network": network, "tune": tune, "views": views}, usual


def _stage_fields(classes: int, by_network: Mapping[str, Any]) -> dict[str, int]:
    """The fields of the stages, as arguments of the configuration."""
    usual = default_initial(classes)
    columns = st.columns(3)
    initial, increment = (
        column.number_input(
            say(f"pilot.{name}"),
            1,
            classes,
            usual,
            key=f"{name}-{classes}",
            persist_state="session",
            bind="query-params",
            help=say("help.stages"),
        )
        for column, name in zip(columns, ("initial", "increment"), strict=False)
    )
    steps = columns[2].number_input(
        say("pilot.steps"),
        1,
        None,
        by_network.get("steps", PilotConfig.model_fields["steps"].default),
        50,
        key="-".join(["steps", *filter(None, [by_network.get("tune")])]),
        persist_state="session",
        bind="query-params",
        help=say("pilot.steps_help"),
    )
    return {"initial": initial, "increment": increment, "steps": steps}


def _more_choices(by_network: Mapping[str, Any]) -> dict[str, object]:
    """Options that most users leave unchanged."""

    def usual(name: str) -> Any:
        return by_network.get(name, PilotConfig.model_fields[name].default)

    kind = by_network.get("tune", "")
    with st.expander(say("pilot.more")):
        columns = st.columns(4)
        selection = columns[0].selectbox(
            say("pilot.selection"),
            ["herding", "random"],
            key="selection",
            persist_state="session",
            help=say("pilot.selection_help"),
        )
        batch_size = columns[1].number_input(
            say("pilot.batch_size"), 2, 4096, usual("batch_size"), key=f"batch_size{kind}", persist_state="session"
        )
        optimizer = columns[2].selectbox(
            say("pilot.optimizer"),
            ["sgd", "adamw"],
            ["sgd", "adamw"].index(usual("optimizer")),
            key=f"optimizer{kind}",
            persist_state="session",
            format_func={"sgd": "SGD", "adamw": "AdamW"}.__getitem__,
        )
        lr = columns[3].number_input(
            say("pilot.lr"),
            1e-5,
            10.0,
            usual("lr"),
            format="%g",
            key=f"lr{kind}",
            persist_state="session",
            help=say("pilot.lr_help"),
        )
    return {"selection": selection, "batch_size": batch_size, "optimizer": optimizer, "lr": lr}


def _settings(runs_dir: Path) -> list[str]:
    """The codec settings to run, offered from the newest probe of this dataset."""
    spec, size = chosen()
    found = newest_probe(list_runs(runs_dir), spec, size)
    newest = found[1] if found is not None else None
    offered = [setting["codec"] for setting in newest["settings"]] if newest else list(_USUAL)
    if is_large(size):  # where layers are frozen by default, their outputs can be stored
        offered += [codec for codec in _FEATURES if codec not in offered]
    recommended = newest["recommended"]["codec"] if newest is not None and is_advice(newest) else None
    chosen_settings = st.multiselect(
        say("probe.grid"),
        offered,
        plan.default_settings(offered, recommended),
        key=f"settings-{found[0] if found is not None else 'usual'}",
        accept_new_options=True,
        persist_state="session",
        help=say("pilot.settings_help"),
    )
    if newest is None:
        st.caption(say("pilot.no_probe"))
        next_page("probe", say("pilot.probe_first"))
    return chosen_settings


def _start(planned: list[PilotRequest], dataset: ImageDataset, runs_dir: Path) -> None:
    finished = list_runs(runs_dir, "pilot")
    estimates = list(estimate_runs(planned, finished, unknown_pace=rough_seconds_per_step).values())
    seconds = sum(estimate.seconds for estimate in estimates)
    classes, first = len(dataset.class_names), planned[0].config
    budgets = {budget_bytes(run.config.budget, classes, dataset.raw_image_bytes) for run in planned}
    stages = plan.stage_count(classes, first.initial, first.increment)
    known = all(estimate.from_runs for estimate in estimates)
    st.markdown(
        say(
            "pilot.estimate",
            runs=formats.count(len(planned), "run"),
            stages=formats.count(stages, "stage"),
            time=formats.duration(seconds),
            source=say("pilot.from_runs" if known else "pilot.rough"),
            memory=format_size(max(budgets)),
            total=format_size(sum(one.memory_bytes for one in estimates)),
        )
    )
    if not st.button(say("pilot.start"), type="primary", icon=":material/play_arrow:"):
        return
    if start_checked(planned, runs_dir) == []:
        st.success(say("pilot.all_done"), icon=":material/check:")


def _under_way(found: Sequence[Comparison], classes: int, runs_dir: Path) -> None:
    """Live state and curves of every unfinished comparison."""
    unfinished = [one for one in found if any(run.result is None for run, _, _ in one.runs)]
    for number, comparison in enumerate(unfinished):
        members = list(reversed(comparison.runs))
        names = {run.name: run_name(config, seed) for run, config, seed in members}
        if not number:
            st.subheader(say("pilot.under_way"), anchor=False)
        st.caption(plain(comparison.label))
        watch([run for run, _, _ in members], runs_dir, names, partial(_curves, members, names, classes))
        command(*comparison.commands(None if runs_dir == default_runs_dir() else runs_dir))
    if unfinished:
        st.caption(say("runs.in_background"))


def _curves(members: Sequence[tuple[RunFolder, PilotConfig, int]], names: dict[str, str], classes: int) -> None:
    """Loss and accuracy so far of the runs that have started."""
    running = [run for run, _, _ in members if run.status() == "running"]
    begun = running + [run for run, _, _ in members if run not in running and run.result is None]
    configs = {run.name: config for run, config, _ in members}
    losses = {names[run.name]: points for run in begun[:_MOST_CURVES] if (points := losses_so_far(run))}
    accuracies = {
        names[run.name]: values
        for run in begun[:_MOST_CURVES]
        if (values := accuracy_so_far(run, configs[run.name], classes))
    }
    if not losses:
        return
    columns = st.columns(2)
    key = members[0][0].name
    columns[0].plotly_chart(draw_figure(loss_figure, losses), key=f"loss-{key}", alt=say("pilot.loss_alt"))
    if accuracies:
        columns[1].plotly_chart(draw_figure(stage_figure, accuracies), key=f"stages-{key}", alt=say("pilot.stages_alt"))
