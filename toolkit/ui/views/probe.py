"""The Probe page: many codec settings on some of the images, judged by bytes and by what a network sees."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import streamlit as st

from toolkit.codecs.base import codec_kinds
from toolkit.codecs.spec import expand_grid
from toolkit.data.dataset import ImageDataset
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import default_runs_dir
from toolkit.memory.budget import budget_bytes
from toolkit.pilots.plan import probes_of, start_pending
from toolkit.probe.presets import PRESETS
from toolkit.probe.request import ALIGNS, AdviceRequest, ProbeRequest, request_of
from toolkit.runs.folder import RunFolder, list_runs
from toolkit.ui.components import words
from toolkit.ui.components.choice import forget_unless
from toolkit.ui.components.datasets import chosen, open_dataset
from toolkit.ui.components.jobs import ACTIVE, watch
from toolkit.ui.components.outputs import command, next_page
from toolkit.ui.components.probe_result import show_probe


def page() -> None:
    """Draw the page."""
    st.title("Probe", anchor=False)
    st.markdown(
        "Codes and decodes some of your images with every setting: how many bytes one costs, how many exemplars then "
        "fit the budget, and how much a network's view of the image changes. Then it recommends one. It trains no "
        "learner, so it takes seconds to minutes, and it never opens a test image."
    )
    dataset = open_dataset()
    runs_dir = default_runs_dir()
    with st.container(border=True):
        request = _request(dataset)
        started = _start(request, runs_dir) if request is not None else None
    if started is not None:
        st.session_state["probe"] = started
    _past(dataset, runs_dir)


def _request(dataset: ImageDataset) -> ProbeRequest | None:
    """The form; None while something in it is wrong."""
    st.session_state.setdefault("grid", PRESETS["quick"])
    st.pills("Ready-made sets of settings", list(PRESETS), key="preset", on_change=_take_preset)
    grid = st.text_input(
        "Codec settings",
        key="grid",
        live="400ms",
        persist_state="session",
        help="Codecs are separated by ;, alternatives stand in braces, wrappers before | : "
        "`jpeg:quality={10,50};downscale:factor=2|jpeg:quality=50`",
    )
    problem = None
    try:
        settings = expand_grid(grid)
        st.caption(f"{len(settings)} settings: " + ", ".join(f"`{setting}`" for setting in settings))
    except UsageError as error:
        problem = one_line(error)
    with st.popover("Known codecs", icon=":material/menu_book:"):
        st.dataframe(_codec_rows(), hide_index=True, width=820)
    columns = st.columns(3)
    budget = columns[0].text_input("Memory budget", "20img", key="probe_budget", help=words.BUDGET)
    images = columns[1].select_slider("Images", [100, 200, 500, 1000, 2000, 5000], 1000, key="probe_images",
                                      help="Training images used at most, the same number of every class.")  # fmt: skip
    extractor = columns[2].selectbox(
        "Features judged by", ["stage0", "auto", "self", "random"], key="probe_extractor", accept_new_options=True,
        help=words.EXTRACTOR,
    )  # fmt: skip
    if problem is None:
        try:
            budget_bytes(budget, len(dataset.class_names), dataset.raw_image_bytes)
        except UsageError as error:
            problem = one_line(error)
    if problem is not None:
        st.error(problem, icon=":material/error:")
        return None
    spec, size = chosen()
    if not st.toggle("Recommend a setting", True, key="probe_advise", persist_state="session", help=words.ADVICE):
        return ProbeRequest(spec, size, grid, budget, extractor, images=images)
    coded = st.checkbox("Images can be coded where the model is used", True, key="probe_both", help=words.ALIGNMENT)
    aligns = ALIGNS if coded else tuple(align for align in ALIGNS if align != "both")
    return AdviceRequest(spec, size, grid, budget, extractor, images=images, aligns=",".join(aligns))


def _take_preset() -> None:
    if (preset := st.session_state["preset"]) is not None:
        st.session_state["grid"] = PRESETS[preset]


def _codec_rows() -> list[dict[str, str]]:
    return [
        {
            "codec": kind.name,
            "what it is": kind.summary,
            "keys": ", ".join(f"{key}={parameter.accepted()}" for key, parameter in kind.parameters.items()),
        }
        for kind in codec_kinds().values()
    ]


def _start(request: ProbeRequest, runs_dir: Path) -> str | None:
    """The button; the name of the run it started."""
    if not st.button("Run probe", type="primary", icon=":material/play_arrow:"):
        return None
    try:
        run = RunFolder.create(runs_dir / request.run_name(), request.kind, request.as_dict())
        start_pending([run], runs_dir)
    except WorkError as error:
        st.error(one_line(error))
        return None
    return run.name


def _past(dataset: ImageDataset, runs_dir: Path) -> None:
    """All probes of this dataset, and the chosen one's progress or result."""
    spec, size = chosen()
    mine = probes_of(list_runs(runs_dir), spec, size)
    if not mine:
        st.info(
            "No probe of this dataset yet. The settings above are ready to go: press **Run probe**.",
            icon=":material/arrow_upward:",
        )
        return
    forget_unless("probe", mine)
    name = st.selectbox(
        "Probes of this dataset",
        list(mine),
        key="probe",
        bind="query-params",
        format_func=lambda name: _title(mine[name].config),
        help="Every probe is kept in the runs folder and can be opened again.",
    )
    run = mine[name]
    if run.status() != "done":
        watch([run], runs_dir)
    if (result := run.result) is not None:
        show_probe(name, result, dataset)
        next_page("pilot", "Next: pilot a few of these settings")
    elif run.status() in ACTIVE:
        st.caption("The probe runs in the background: reloading or closing this page does not stop it.")
    command(request_of(run.config).command())


def _title(config: dict[str, Any]) -> str:
    advised = ", with advice" if config["kind"] == "advise" else ""
    rest = f"{config['images']} images, budget {config['budget']}, features {config['extractor']}"
    return f"{config['codecs']}{advised}, {rest}"
