"""Hide the sidebar of a narrow window, where it covers the page, once a page is chosen in it; Streamlit does not."""

from __future__ import annotations

import streamlit as st

_JS = """
export default function ({ data }) {
  const loaded = new URL(performance.getEntriesByType("navigation")[0].name).pathname;
  const before = window.recallRatePage ?? loaded.split("/").pop();  // a page chosen before this script ran
  window.recallRatePage = data.page;
  if (data.page === before || window.innerWidth > 768) return;
  if (document.querySelector('[data-testid="stSidebar"]')?.dataset.collapsed !== "false") return;
  document.querySelector('[data-testid="stSidebarCollapseButton"] button')?.click();
}
"""


def hide_sidebar_at(page: str) -> None:
    """In a narrow window, hide the sidebar when another page has been chosen in it.

    Drawn on the page itself, since components in the sidebar run only once it is open, too late for a quick click.

    Args:
        page: the current page, as in the address.
    """
    st.components.v2.component("recallrate_narrow", js=_JS)(key="narrow", data={"page": page})
