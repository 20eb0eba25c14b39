"""Actions of users on the app's pages."""

from __future__ import annotations

import re

from playwright.sync_api import Locator, Page, expect

QUICK = 60_000
SLOW = 600_000
"""Milliseconds for actions of a page, and for training on a busy machine."""
NARROW = 390
PAGES = ("Study", "Data", "Probe", "Images", "Pilot", "Trade-off", "JPEG layer", "Cost", "Report", "Monitor")


def enter(page: Page, role: str, name: str, value: str) -> None:
    """Type a value into a field of the page or the sidebar and submit it."""
    field = page.get_by_role(role, name=name)  # type: ignore[arg-type]  # roles are literals
    field.fill(value)
    field.press("Enter")
    expect(field).to_have_value(value)


def is_narrow(page: Page) -> bool:
    """Whether the sidebar covers the page."""
    return page.viewport_size is not None and page.viewport_size["width"] <= NARROW


def open_sidebar(page: Page) -> None:
    """Show the sidebar, which a narrow page hides."""
    if is_narrow(page):
        page.get_by_test_id("stExpandSidebarButton").click()
    expect(page.get_by_role("textbox", name="Where the images are")).to_be_in_viewport(timeout=QUICK)


def close_sidebar(page: Page) -> None:
    """Hide it if it covers the page."""
    if is_narrow(page):
        page.get_by_test_id("stSidebarCollapseButton").get_by_role("button").click()
        expect(page.get_by_test_id("stExpandSidebarButton")).to_be_visible(timeout=QUICK)


def go(page: Page, name: str) -> None:
    """Go to another page by the sidebar, which then hides itself if it covers the page."""
    open_sidebar(page)
    page.get_by_role("link", name=name, exact=True).click()
    expect(heading(page, name)).to_be_visible(timeout=QUICK)
    if is_narrow(page):
        expect(page.get_by_test_id("stExpandSidebarButton")).to_be_visible(timeout=QUICK)


def heading(page: Page, name: str) -> Locator:
    """The page's title."""
    return page.get_by_role("heading", name=re.compile(f"^{re.escape(name)}$"), level=1)


def settled(page: Page) -> None:
    """Wait until the script has drawn everything."""
    expect(page.locator("[data-test-script-state=running]")).to_have_count(0, timeout=QUICK)
    expect(page.get_by_test_id("stStatusWidget")).to_have_count(0, timeout=QUICK)


def marks(page: Page) -> Locator:
    """The marks of the first chart."""
    return page.get_by_test_id("stPlotlyChart").first.locator(".points path")
