"""The frame round every page: title, navigation and the choice of a dataset."""

from __future__ import annotations

import streamlit as st

from toolkit.ui.components.datasets import choose_dataset
from toolkit.ui.views import cost, data, pilot, probe


def main() -> None:
    """Draw the app once; Streamlit calls the script again at every change."""
    st.set_page_config(page_title="Recall Rate", page_icon=":material/photo_library:", layout="wide")
    pages = {
        "data": st.Page(data.page, title="Data", icon=":material/grid_view:", url_path="data", default=True),
        "probe": st.Page(probe.page, title="Probe", icon=":material/compress:", url_path="probe"),
        "pilot": st.Page(pilot.page, title="Pilot", icon=":material/model_training:", url_path="pilot"),
        "cost": st.Page(cost.page, title="Cost", icon=":material/savings:", url_path="cost"),
    }
    st.session_state["pages"] = pages
    chosen = st.navigation(list(pages.values()))
    with st.sidebar:
        choose_dataset()
        st.caption("Recall Rate: how hard can you compress what a model remembers?")
    chosen.run()


if __name__ == "__main__":
    main()
