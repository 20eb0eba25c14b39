"""The frame of every page: access, navigation, and the choice of dataset and language."""

from __future__ import annotations

import gc
import secrets
import sys
from pathlib import Path

import pandas  # noqa: F401  # now, since concurrent first sessions could fail importing it
import streamlit as st

from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.ui.access import listens_elsewhere, own_login, read_roots, require_access
from toolkit.ui.components.datasets import choose_dataset
from toolkit.ui.components.language import choose_language, read_language, say
from toolkit.ui.components.narrow import hide_sidebar_at
from toolkit.ui.components.plain import plain
from toolkit.ui.gateway.front import LOGOUT, address_of
from toolkit.ui.gateway.logins import IDLE_SECONDS, LOGINS, LONGEST_SECONDS
from toolkit.ui.priority import give_way, in_turn
from toolkit.ui.views import cost, data, images, jpeg_layer, monitor, pilot, probe, report, study, tradeoff

_ICON = Path(__file__).with_name("icon.svg")
"""A local file, since an icon by name would be fetched from another server."""
_STYLE = """<style>
[data-testid="stMainBlockContainer"] { padding-top: 3.2rem; padding-bottom: 4rem; max-width: 1280px; }
[data-testid="stMetricValue"] > div { white-space: normal; overflow-wrap: anywhere; }
.st-key-narrow { position: absolute; height: 0; overflow: hidden; }
@media (max-width: 640px) { [data-testid="stMainBlockContainer"] { padding-left: 1rem; padding-right: 1rem; } }
</style>"""
"""Styles without a theme option: less space at the top, and long figures that wrap instead of being cut."""
PAGES = {
    "study": (study.page, ":material/rocket_launch:"),
    "data": (data.page, ":material/grid_view:"),
    "probe": (probe.page, ":material/compress:"),
    "images": (images.page, ":material/image_search:"),
    "pilot": (pilot.page, ":material/model_training:"),
    "tradeoff": (tradeoff.page, ":material/scatter_plot:"),
    "jpeg": (jpeg_layer.page, ":material/grid_4x4:"),
    "cost": (cost.page, ":material/savings:"),
    "report": (report.page, ":material/description:"),
    "monitor": (monitor.page, ":material/monitor_heart:"),
}
"""In the order of the workflow; the names appear in the address."""
_loaded: set[str] = set()
"""Pages that have been drawn since the server started."""


def main() -> None:
    """Draw the app once; Streamlit calls the script again at every change."""
    with in_turn():
        _draw()


def _draw() -> None:
    st.set_page_config(page_title="Recall Rate", page_icon=str(_ICON), layout="wide")
    st.set_option("client.disableDataExport", True)  # its CSV can contain formulas; ours cannot
    give_way(st.session_state.setdefault("visitor", secrets.token_hex(8)))
    st.html(_STYLE)
    read_language()
    try:
        read_roots(sys.argv[1:])
    except UsageError as error:
        st.error(plain(one_line(error)), icon=":material/error:")
        st.stop()
    require_access()
    pages = {
        name: st.Page(page, title=say(f"shell.{name}"), icon=icon, url_path=name, default=name == "study")
        for name, (page, icon) in PAGES.items()
    }
    st.session_state["pages"] = pages
    chosen = st.navigation(list(pages.values()))
    hide_sidebar_at(chosen.url_path)
    with st.sidebar:
        choose_dataset()
        choose_language()
        if listens_elsewhere():
            limits = {"minutes": round(IDLE_SECONDS / 60), "hours": round(LONGEST_SECONDS / 3600)}
            st.button(
                say("access.log_out"), on_click=_log_out, icon=":material/logout:", help=say("access.limits", **limits)
            )
        st.caption(say("shell.motto"))
    try:
        chosen.run()
    except WorkError as error:  # such as a damaged run: a message, not a traceback
        st.error(one_line(error), icon=":material/error:")
    if chosen.url_path not in _loaded:
        _loaded.add(chosen.url_path)
        gc.collect()
        gc.freeze()  # keeps later collections from scanning what the page has loaded permanently


def _log_out() -> None:
    if (login := own_login()) is not None:
        LOGINS.end(login, address_of(LOGOUT))
