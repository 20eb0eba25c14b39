"""The field of the memory budget, whose default follows the size of the images."""

from __future__ import annotations

import streamlit as st
from streamlit.delta_generator import DeltaGenerator

from toolkit.foundation.image_size import WrittenSize
from toolkit.probe.presets import usual_budget
from toolkit.ui.components.language import say


def budget_field(place: DeltaGenerator, key: str, size: WrittenSize, help_: str) -> str:
    """The budget as written. A default that was not changed becomes that of a new size."""
    usual = usual_budget(size)
    offered = st.session_state.get(f"{key}_offered")
    if offered != usual:
        if st.session_state.get(key) in (None, "", offered):
            st.session_state[key] = usual
        st.session_state[f"{key}_offered"] = usual
    return place.text_input(say("probe.budget"), key=key, persist_state="session", bind="query-params", help=help_)
