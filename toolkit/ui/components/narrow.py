"""What a narrow window needs that Streamlit does not do: the sidebar covers the page there, and stays when a page is
chosen in it."""

from __future__ import annotations

import streamlit as st

_JS = """
export default function () {
  if (window.recallRateHidesSidebar) return;  // called at every drawing: a second listener would undo the first
  window.recallRateHidesSidebar = true;
  document.addEventListener("click", (event) => {
    if (window.innerWidth > 768 || !event.target.closest('[data-testid="stSidebarNavLink"]')) return;
    document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click();
  });
}
"""


def hide_sidebar_once_chosen() -> None:
    """In a narrow window, hide the sidebar as soon as a page is chosen in it."""
    st.components.v2.component("recallrate_narrow", js=_JS)(key="narrow")
