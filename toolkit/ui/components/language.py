"""The language of the interface: initially the browser's, chosen in the sidebar, kept in the address as ?lang=ja."""

from __future__ import annotations

from typing import Any

import streamlit as st

from toolkit.language.catalogue import LANGUAGES, Language, language
from toolkit.ui.components.plain import Marked, plain


def current() -> Language:
    """The chosen language's catalogue."""
    chosen = st.session_state.get("lang")
    return language(chosen if chosen in LANGUAGES else "en")


def say(key: str, **values: Any) -> Marked:
    """A text in the chosen language, as Markdown; text in ``values`` is escaped.

    For texts that are not Markdown (select box options, picture descriptions, errors), use :func:`current`.
    """
    return Marked(current()(key, **{name: plain(one) if isinstance(one, str) else one for name, one in values.items()}))


def read_language() -> None:
    """At the start of a session, take the language of the address or else of the browser."""
    if st.session_state.get("lang") not in LANGUAGES:
        asked = st.query_params.get("lang", "")
        browsers = (st.context.locale or "en").partition("-")[0]
        st.session_state["lang"] = next((code for code in (asked, browsers) if code in LANGUAGES), "en")


def choose_language() -> None:
    """The language switch of the sidebar."""
    st.segmented_control(
        say("shell.language"),
        list(LANGUAGES),
        required=True,
        key="lang",
        format_func=LANGUAGES.__getitem__,
        label_visibility="collapsed",
    )
    st.query_params["lang"] = st.session_state["lang"]
