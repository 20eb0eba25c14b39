"""Choices of exactly one option: switches above charts, and choices kept in the address."""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Container, Mapping, Sequence

import streamlit as st
from streamlit.delta_generator import DeltaGenerator


def choose(place: DeltaGenerator, label: str, options: Mapping[str, str], key: str, help: str | None = None) -> str:
    """The chosen key of ``options``, initially the first; their values are the labels."""
    first = next(iter(options))
    chosen = place.segmented_control(
        label, list(options), default=first, required=True, key=key, format_func=lambda name: options[name], help=help
    )
    return first if chosen is None else chosen


def forget_unless(key: str, options: Container[str]) -> None:
    """Drop a widget's stored choice if it is no longer an option, such as a deleted run."""
    if st.session_state.get(key) not in options:
        st.session_state.pop(key, None)


def distinct(options: Sequence[str], name: Callable[[str], str]) -> dict[str, str]:
    """The label of each option; equal labels are distinguished by the end of the option itself."""
    names = {option: name(option) for option in options}
    shown = Counter(names.values())
    return {option: text if shown[text] == 1 else f"{text} ({option[-12:]})" for option, text in names.items()}


def choose_addressed(
    label: str,
    options: Sequence[str],
    key: str,
    name: Callable[[str], str],
    help: str | None = None,
    *,
    usual: str | None = None,
    others: bool = False,
    place: DeltaGenerator | None = None,
) -> str:
    """One of ``options``, kept in the address as ``?key=option``, so that a link opens the page at it.

    Streamlit's own binding keeps the label, which differs between languages.

    Args:
        label, help: the label and help of the field.
        options: at least one.
        key: the key of the widget and in the address.
        name: the label of an option.
        usual: the initial option if the address names none; by default the first.
        others: whether other values can be typed in, or come from the address.
        place: where to draw it.
    """
    taken, asked = f"{key}-in-address", st.query_params.get(key)
    if asked == st.session_state.get(taken):  # the address has not changed
        asked = None
    if asked is None and key not in st.session_state:
        asked = usual
    put = asked is not None and (others or asked in options)
    if put:
        st.session_state[key] = asked
    if not others:
        forget_unless(key, options)
    kept: str | None = st.session_state.get(key)
    offered = [*options, *([] if kept is None or kept in options else [kept])]
    shown = distinct(offered, name)
    chosen = (place or st).selectbox(
        label,
        offered,
        0 if put or kept is None else offered.index(kept),  # for a browser that missed a drawing
        key=key,
        format_func=lambda option: shown.get(option) or name(option),
        help=help,
        accept_new_options=others,
        persist_state="session",
    )
    assert chosen is not None  # there is at least one option, and the field cannot be cleared
    st.query_params[key] = st.session_state[taken] = chosen
    return chosen
