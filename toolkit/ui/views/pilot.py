"""The Pilot page: train a learner whose memory holds compressed exemplars, and see what accuracy is left."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from toolkit.data.dataset import ImageDataset
from toolkit.data.scenario import default_initial
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import default_runs_dir
from toolkit.foundation.seeds import parse_seeds
from toolkit.learning.catalog import METHODS
from toolkit.memory.budget import budget_bytes
from toolkit.pilots import plan
from toolkit.pilots.estimate import estimate_runs, rough_seconds_per_step
from toolkit.pilots.results import comparisons
from toolkit.runs.folder import list_runs
from toolkit.ui.components import words
from toolkit.ui.components.datasets import chosen, open_dataset
from toolkit.ui.components.outputs import next_page
from toolkit.ui.components.pilot_result import show_comparison

_USUAL = ["raw", "png", "jpeg:quality=10", "jpeg:quality=50", "jpeg:quality=90", "webp:quality=50"]
_ALIGNS = ["none", "train", "both"]


def page() -> None:
    """Draw the page."""
    st.title("Pilot", anchor=False)
    st.markdown(
        "Trains a small learner on your classes stage by stage, with a memory of compressed exemplars inside the "
        "budget, and measures what it still knows at the end. Harder compression fits more exemplars of lower quality: "
        "the pilot shows where that stops paying."
    )
    dataset = open_dataset()
    runs_dir = default_runs_dir()
    with st.container(border=True):
        planned = _form(dataset, runs_dir)
        if planned:
            _start(planned, dataset, runs_dir)
    spec, size = chosen()
    found = comparisons(list_runs(runs_dir, "pilot"), spec, size)
    if not found:
        st.info(
            "No pilot of this dataset yet. The form above is filled in with a comparison of raw exemplars and a middle "
            "JPEG setting: press **Start**. Fewer steps make a quicker, rougher answer.",
            icon=":material/arrow_upward:",
        )
        return
    show_comparison(found, runs_dir)


def _form(dataset: ImageDataset, runs_dir: Path) -> list[plan.PlannedRun]:
    """What is to be run; nothing while something in the form is wrong."""
    settings = _settings(runs_dir)
    wide = st.columns([2, 1, 1])
    aligns = wide[0].segmented_control(
        "Alignment of lossy settings", _ALIGNS, selection_mode="multi", default=["both"], key="aligns",
        help=words.ALIGNMENT,
    )  # fmt: skip
    budgets = wide[1].text_input("Memory budget", "20img", key="pilot_budget",
                                    help=words.BUDGET + " Several, with commas between, give a curve.")  # fmt: skip
    seeds = wide[2].text_input("Seeds", "0,1,2", key="seeds",
                                  help="One run each; several give a mean and a 95 % interval.")  # fmt: skip
    classes = len(dataset.class_names)
    usual = default_initial(classes)
    columns = st.columns(4)
    initial = columns[0].number_input("Classes in the first stage", 1, classes, usual, help=words.STAGES)
    increment = columns[1].number_input("Classes in each later stage", 1, classes, usual, help=words.STAGES)
    steps = columns[2].number_input("Training steps a stage", 1, None, 200, 50, key="steps",
                                    help="Every setting gets the same number, so the comparison is fair.")  # fmt: skip
    method = columns[3].selectbox("Method", list(METHODS), help="How the learner learns; replay mixes exemplars in.")
    spec, size = chosen()
    try:
        wanted = [part.strip() for part in budgets.split(",") if part.strip()]
        for budget in wanted:
            budget_bytes(budget, classes, dataset.raw_image_bytes)
        return plan.plan(
            settings, aligns, wanted, parse_seeds(seeds),
            dataset=spec, size=size, initial=initial, increment=increment, steps=steps, method=method,
        )  # fmt: skip
    except UsageError as error:
        st.error(one_line(error), icon=":material/error:")
        return []


def _settings(runs_dir: Path) -> list[str]:
    """The codec settings to run: those of the newest probe of this dataset are offered."""
    spec, size = chosen()
    probes = plan.probes_of(list_runs(runs_dir), spec, size)
    name, newest = next(((name, found) for name, run in probes.items() if (found := run.result)), ("usual", None))
    offered = [setting["codec"] for setting in newest["settings"]] if newest else _USUAL
    chosen_settings = st.multiselect(
        "Codec settings",
        offered,
        plan.default_settings(offered),
        key=f"settings-{name}",
        accept_new_options=True,
        help="From the newest finished probe. Others can be typed in, such as jpeg:quality=42.",
    )
    if newest is None:
        st.caption("There is no finished probe of this dataset yet, so a few usual settings are offered.")
        next_page("probe", "Probe first: it is quicker")
    return chosen_settings


def _start(planned: list[plan.PlannedRun], dataset: ImageDataset, runs_dir: Path) -> None:
    finished = list_runs(runs_dir, "pilot")
    estimates = estimate_runs(planned, finished, unknown_pace=rough_seconds_per_step).values()
    seconds = sum(estimate.seconds for estimate in estimates)
    stages = plan.stage_count(len(dataset.class_names), planned[0].config.initial, planned[0].config.increment)
    known = all(estimate.from_runs for estimate in estimates)
    source = "from earlier pilots' pace" if known else "a rough figure; the first finished pilot makes it better"
    st.markdown(
        f"**{_count(len(planned), 'run')}** of {_count(stages, 'stage')}, one after the other: about "
        f"**{words.duration(seconds)}** ({source})."
    )
    if not st.button("Start", type="primary", icon=":material/play_arrow:"):
        return
    try:
        started = plan.enqueue(planned, runs_dir)
    except WorkError as error:
        st.error(one_line(error))
        return
    st.session_state.pop("comparison", None)
    if not started:
        st.success("All of these runs are already done or under way: see below.", icon=":material/check:")


def _count(number: int, noun: str) -> str:
    return f"{number} {noun}" if number == 1 else f"{number} {noun}s"
