"""Build codec settings from choices instead of typing them."""

from __future__ import annotations

from pathlib import Path

import streamlit as st

from toolkit.codecs.kind import CodecKind
from toolkit.codecs.registry import CODECS
from toolkit.foundation.parameters import Parameter
from toolkit.ui.components.language import say

_USUAL = {"quality": (10, 30, 50, 75)}


def build_grid(key: str) -> None:
    """A panel that appends to the grid in the session state under ``key``."""
    with st.popover(say("probe.build"), icon=":material/build:"):
        kinds = CODECS
        inner = [name for name, kind in kinds.items() if not kind.wraps]
        columns = st.columns(2)
        name = columns[0].selectbox(say("probe.codec"), inner, inner.index("jpeg"), key="build_codec")
        smaller = columns[1].selectbox(
            say("probe.downscale"),
            [1, 2, 3, 4],
            key="build_factor",
            format_func=lambda factor: say("probe.full_size") if factor == 1 else f"1/{factor}",
        )
        st.caption(kinds[name].summary)
        written = [
            text for parameter in kinds[name].parameters.items() if (text := _ask(kinds[name], *parameter)) is not None
        ]
        pattern = name + (":" + ",".join(written) if written else "")
        if smaller > 1:
            pattern = f"downscale:factor={smaller}|{pattern}"
        st.code(pattern, language=None, wrap_lines=True)
        columns = st.columns(2)
        columns[0].button(
            say("probe.add"), on_click=_set_grid, args=(key, pattern, True), icon=":material/add:", width="stretch"
        )
        columns[1].button(
            say("probe.only_this"), on_click=_set_grid, args=(key, pattern, False), type="tertiary", width="stretch"
        )


def _ask(kind: CodecKind, name: str, parameter: Parameter) -> str | None:
    """One or several values of a parameter; None if it is left at its default."""
    label, key = name.replace("_", " "), f"build_{kind.name}_{name}"
    help_ = f"{parameter.help} {parameter.accepted()}".strip()
    if parameter.kind is bool or parameter.choices:
        options = parameter.choices or ("yes", "no")
        chosen = st.pills(label, options, selection_mode="multi", key=key, help=help_)
    else:
        usual = _usual(name, parameter) if parameter.always and parameter.kind is not Path else ""
        text = st.text_input(label, usual, key=key, help=help_, placeholder=str(parameter.default or ""))
        chosen = [part.strip() for part in text.split(",") if part.strip()]
    if not chosen:
        return None
    return f"{name}={chosen[0]}" if len(chosen) == 1 else f"{name}={{{','.join(chosen)}}}"


def _usual(name: str, parameter: Parameter) -> str:
    """Accepted values to start with."""
    low, high = parameter.low or 0, parameter.high or 0
    fitting = [value for value in _USUAL.get(name, ()) if value <= high]
    return ", ".join(map(str, fitting or ((int(low), int(low) + 1, int(low) + 2) if name in _USUAL else ())))


def _set_grid(key: str, pattern: str, append: bool) -> None:
    before = st.session_state.get(key, "") if append else ""
    st.session_state[key] = ";".join(filter(None, (before.strip().rstrip(";"), pattern)))
