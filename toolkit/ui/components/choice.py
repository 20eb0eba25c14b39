"""One of a few, always one: the switches above charts."""

from __future__ import annotations

from collections.abc import Container, Mapping

import streamlit as st
from streamlit.delta_generator import DeltaGenerator


def choose(place: DeltaGenerator, label: str, options: Mapping[str, str], key: str, help: str | None = None) -> str:
    """The chosen key of ``options``, the first to begin with; their values are what is shown."""
    first = next(iter(options))
    chosen = place.segmented_control(
        label, list(options), default=first, required=True, key=key, format_func=lambda name: options[name], help=help
    )
    return first if chosen is None else chosen


def forget_unless(key: str, options: Container[str]) -> None:
    """Drop a widget's kept choice when it is no longer among its options (a run that has been deleted)."""
    if st.session_state.get(key) not in options:
        st.session_state.pop(key, None)
