"""What a narrow window needs that Streamlit does not do: the sidebar covers the page there, and stays when a page is
chosen in it."""

from __future__ import annotations

import streamlit as st

_JS = """
export default function ({ data }) {
  const loaded = new URL(performance.getEntriesByType("navigation")[0].name).pathname;
  const before = window.recallRatePage ?? loaded.split("/").pop();  // a page chosen before this came to life
  window.recallRatePage = data.page;
  if (data.page === before || window.innerWidth > 768) return;
  if (document.querySelector('[data-testid="stSidebar"]')?.dataset.collapsed !== "false") return;
  document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click();
}
"""


def hide_sidebar_at(page: str) -> None:
    """In a narrow window, hide the sidebar when another page has been chosen in it.

    Drawn on the page itself: what is in the sidebar comes to life only when that is opened, too late for a quick click.

    Args:
        page: the one drawn now, as the address has it.
    """
    st.components.v2.component("recallrate_narrow", js=_JS)(key="narrow", data={"page": page})
