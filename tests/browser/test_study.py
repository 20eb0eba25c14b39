"""The Study page in a real browser: from the start to the decision, through a reload, a second tab and a restart."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from app_server import Server
from playwright.sync_api import Page, expect
from steps import NARROW, QUICK, SLOW, heading, marks

pytestmark = pytest.mark.browser


def test_from_the_start_to_a_decision_through_reload_second_tab_and_restart(
    server: Server, open_page: Callable[..., Page]
) -> None:
    page = open_page()
    page.goto(f"{server.url}/?dataset=demo")
    expect(heading(page, "Study")).to_be_visible(timeout=QUICK)
    expect(page.get_by_role("textbox", name="Image size of the study")).to_have_value("64", timeout=QUICK)
    page.get_by_text("Who may start").click()
    grid = page.get_by_role("textbox", name="Codec settings")
    grid.fill("raw;jpeg:quality=50")
    grid.press("Enter")
    expect(page.get_by_text("At most 9 pilots")).to_be_visible(timeout=QUICK)
    start = page.get_by_role("button", name="Start", exact=True)
    start.focus()
    start.press("Enter")  # by keyboard
    expect(page.get_by_text("In the background").or_(page.get_by_text("background")).first).to_be_visible(timeout=QUICK)

    page.reload()
    other = open_page(NARROW)
    other.goto(page.url)
    expect(other.get_by_role("button", name="Cancel").first).to_be_visible(timeout=QUICK)
    assert "study=" in page.url
    server.kill()
    server.start()
    page.goto(page.url)
    decision = page.get_by_text("The probability that no arm of this study")
    expect(page.get_by_text("Take it along")).to_be_visible(timeout=SLOW)
    expect(decision.first).to_be_visible(timeout=QUICK)
    expect(marks(page)).not_to_have_count(0, timeout=QUICK)
    expect(page.get_by_text("bundle export")).to_be_visible(timeout=QUICK)
    page.get_by_role("button", name="Make the PDF report").click()
    with page.expect_download(timeout=QUICK) as download:
        page.get_by_test_id("stDownloadButton").get_by_role("button", name="PDF").click()
    assert Path(download.value.path()).read_bytes().startswith(b"%PDF")

    other.goto(page.url)
    expect(other.get_by_text("Take it along")).to_be_visible(timeout=QUICK)
    width = other.evaluate("document.scrollingElement.scrollWidth")
    assert width <= NARROW, "nothing is wider than a narrow window"
