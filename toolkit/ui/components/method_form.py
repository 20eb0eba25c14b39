"""Choose a method and its parameters."""

from __future__ import annotations

import streamlit as st

from toolkit.foundation.parameters import Parameter, Value, write_spec
from toolkit.learning.catalog import METHODS
from toolkit.ui.components.language import say


def choose_method() -> str:
    """The chosen method as a spec, such as ``icarl:temperature=1``."""
    name = st.selectbox(
        say("column.method"),
        list(METHODS),
        list(METHODS).index("replay"),
        key="method",
        persist_state="session",
        format_func=lambda name: f"{name}: {METHODS[name].summary}",
        help=say("help.method"),
    )
    kind = METHODS[name]
    if not kind.parameters:
        return name
    values: dict[str, Value | None] = {}
    columns = st.columns(max(3, len(kind.parameters)))
    for column, (key, parameter) in zip(columns, kind.parameters.items(), strict=False):
        with column:
            values[key] = _ask(f"method_{name}_{key}", key.replace("_", " "), parameter)
    return write_spec(name, kind.parameters, values)


def _ask(key: str, label: str, parameter: Parameter) -> Value | None:
    if parameter.kind is bool:
        return st.checkbox(label, bool(parameter.default), key=key, persist_state="session", help=parameter.help)
    if parameter.choices:
        return st.selectbox(
            label,
            parameter.choices,
            parameter.choices.index(str(parameter.default)),
            key=key,
            persist_state="session",
            help=parameter.help,
        )
    low, high, usual = (float(one) for one in (parameter.low or 0, parameter.high or 1, parameter.default or 0))
    if parameter.kind is int:
        return st.number_input(
            label, int(low), int(high), int(usual), key=key, persist_state="session", help=parameter.help
        )
    return st.number_input(label, low, high, usual, format="%g", key=key, persist_state="session", help=parameter.help)
