"""Choose a dataset in the sidebar, and open it. The address keeps the choice: ?dataset=demo&size=32."""

from __future__ import annotations

import time
from typing import NoReturn

import streamlit as st
from streamlit.delta_generator import DeltaGenerator
from streamlit.runtime.scriptrunner import get_script_run_ctx

from toolkit.data.catalog import absolute_spec, load_dataset
from toolkit.data.dataset import ImageDataset
from toolkit.data.uploads import SUFFIXES, keep_upload
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.image_size import WrittenSize, written_size
from toolkit.foundation.progress import Progress
from toolkit.ui.access import require_allowed_dataset
from toolkit.ui.components.language import say
from toolkit.ui.components.plain import plain
from toolkit.ui.priority import out_of_turn

_USUAL_SIZE = 32
_FRESH_SECONDS = 60.0
"""Seconds for which an open dataset is used before its source is checked for changes again."""


def choose_dataset() -> None:
    """The sidebar's widgets.

    Every page writes the address again, since a widget's own ``bind="query-params"`` loses it when the page changes
    after a reload. The choice is also every widget's default: a browser that missed the first drawing would otherwise
    start with an empty field and send that back.
    """
    spec, size = _kept()
    if st.session_state.pop("dataset_put", False):
        spec = ""  # Streamlit allows no default together with a value set by the program
    st.subheader(say("dataset.title"), anchor=False)
    st.text_input(say("dataset.where"), spec, key="dataset", help=say("dataset.where_help"))
    st.text_input(say("dataset.size"), size, key="size", help=say("dataset.size_help"))
    with st.popover(say("dataset.upload"), icon=":material/upload:", width="stretch"):
        st.file_uploader(
            say("dataset.upload_what"),
            type=[suffix.removeprefix(".") for suffix in SUFFIXES],
            key=_upload_key(),
            on_change=_store_upload,
        )
        if problem := st.session_state.pop("upload_problem", None):
            st.error(plain(problem))
    if st.session_state.get("dataset") != "demo":
        st.button(say("dataset.back"), on_click=_choose_demo, type="tertiary", icon=":material/undo:")
    st.query_params.update({"dataset": st.session_state["dataset"], "size": st.session_state["size"]})


def _kept() -> tuple[str, str]:
    """The current choice in the fields, or in the address at the start of a session."""
    try:
        at_first = str(written_size(st.query_params.get("size", "")))
    except UsageError:
        at_first = str(_USUAL_SIZE)
    spec = st.session_state.get("dataset", st.query_params.get("dataset", "demo"))
    return spec, st.session_state.get("size", at_first)


def _upload_key() -> str:
    """A new key after every upload, so that the field is empty again and the upload can leave memory."""
    return f"upload-{st.session_state.get('uploads_taken', 0)}"


def _store_upload() -> None:
    uploaded = st.session_state[_upload_key()]
    if uploaded is None:
        return
    try:
        _set_dataset(str(keep_upload(uploaded.name, uploaded)))
    except (UsageError, WorkError) as error:
        st.session_state["upload_problem"] = one_line(error)
    st.session_state["uploads_taken"] = st.session_state.get("uploads_taken", 0) + 1
    context = get_script_run_ctx()
    if context is not None:
        context.uploaded_file_mgr.remove_session_files(context.session_id)


def _choose_demo() -> None:
    _set_dataset("demo")


def _set_dataset(spec: str) -> None:
    st.session_state["dataset"], st.session_state["dataset_put"] = spec, True


def chosen_spec() -> str:
    """The chosen dataset's spec, a path made absolute.

    Raises:
        UsageError: the path is not one.
    """
    return absolute_spec(st.session_state.get("dataset") or "demo")


def chosen() -> tuple[str, WrittenSize]:
    """The chosen dataset's spec (a path made absolute) and size.

    Raises:
        UsageError: the path or the size is not one.
    """
    return chosen_spec(), written_size(st.session_state.get("size") or _USUAL_SIZE)


def refuse_dataset(reason: str) -> NoReturn:
    """Show why there is no dataset, and end the page here."""
    st.error(plain(reason), icon=":material/error:")
    st.info(say("dataset.choose_another"))
    st.stop()


def progress_in(place: DeltaGenerator) -> Progress:
    """Shows the progress of opening a dataset, at most fifty times."""

    def show(what: str, done: int, total: int) -> None:
        if done % max(1, total // 50) == 0:
            place.progress(done / max(1, total), say("runs.doing", what=what, done=f"{done:,}", total=f"{total:,}"))

    return show


def open_dataset() -> ImageDataset:
    """The chosen dataset; if it cannot be opened, the page shows the reason and ends here."""
    try:
        spec, size = chosen()
    except UsageError as error:
        refuse_dataset(one_line(error))
    kept = st.session_state.get("open_dataset")
    if kept is not None and kept[:2] == (spec, size) and time.monotonic() - kept[2] < _FRESH_SECONDS:
        return kept[3]
    place = st.empty()

    try:
        require_allowed_dataset(spec)
        with st.spinner(say("dataset.opening", spec=spec)), out_of_turn():
            dataset = load_dataset(spec, size, progress=progress_in(place))
    except (UsageError, WorkError) as error:
        place.empty()
        refuse_dataset(one_line(error))
    place.empty()
    st.session_state["open_dataset"] = (spec, size, time.monotonic(), dataset)
    return dataset
