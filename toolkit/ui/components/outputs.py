"""The end of pages: downloads, the equivalent command, and a link to the next page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from toolkit.report.tables import csv_text, json_text
from toolkit.ui.components.language import say


def downloads(name: str, result: Any, rows: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> None:
    """Download buttons for the result as JSON and its table as CSV, with the columns ``first`` first; made on click."""
    with st.container(horizontal=True):
        st.download_button(
            "CSV",
            lambda: csv_text(rows, first),
            f"{name}.csv",
            "text/csv",
            key=f"csv-{name}",
            on_click="ignore",
            icon=":material/download:",
        )
        st.download_button(
            "JSON",
            lambda: json_text(result),
            f"{name}.json",
            "application/json",
            key=f"json-{name}",
            on_click="ignore",
            icon=":material/download:",
        )


def command(*lines: str) -> None:
    """The equivalent command lines, ready to copy."""
    st.caption(say("shell.same_command"))
    st.code("\n".join(lines), language="bash", wrap_lines=True)


def next_page(name: str, label: str, **address: str) -> None:
    """A link to another page of the app, on the same dataset and in the same language.

    Args:
        name: the name of the page in the address.
        label: the text of the link.
        address: further parameters of the address.
    """
    if (target := st.session_state.get("pages", {}).get(name)) is not None:
        kept = {key: value for key in ("dataset", "size", "lang") if (value := st.query_params.get(key)) is not None}
        st.page_link(target, label=label, icon=":material/arrow_forward:", query_params=kept | address)
