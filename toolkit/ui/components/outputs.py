"""What pages end with: downloads, the command that does the same, and where to go next."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import streamlit as st

from toolkit.report.tables import csv_text, json_text


def downloads(name: str, result: Any, rows: Sequence[Mapping[str, Any]], first: Sequence[str] = ()) -> None:
    """Buttons for the result as JSON and its table as CSV, with some columns first."""
    with st.container(horizontal=True):
        st.download_button(
            "CSV", csv_text(rows, first), f"{name}.csv", "text/csv", key=f"csv-{name}", on_click="ignore",
            icon=":material/download:",
        )  # fmt: skip
        st.download_button(
            "JSON", json_text(result), f"{name}.json", "application/json", key=f"json-{name}", on_click="ignore",
            icon=":material/download:",
        )  # fmt: skip


def command(*lines: str) -> None:
    """The equivalent command lines, ready to copy."""
    st.caption("The same from the command line")
    st.code("\n".join(lines), language="bash", wrap_lines=True)


def next_page(name: str, label: str) -> None:
    """A link to another page of the app."""
    if (target := st.session_state.get("pages", {}).get(name)) is not None:
        st.page_link(target, label=label, icon=":material/arrow_forward:")
