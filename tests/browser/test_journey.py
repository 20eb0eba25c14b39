"""From an empty machine to a trade-off chart in a real browser, with a reload and a restart of the server."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import pytest

pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Page, expect
from steps import NARROW, QUICK, SLOW, close_sidebar, enter, go, open_sidebar, settled

pytestmark = pytest.mark.browser


@pytest.mark.parametrize("width", [1440, NARROW])
def test_from_the_demo_to_a_tradeoff_chart_through_reload_and_restart(
    server: object, open_page: Callable[..., Page], width: int
) -> None:
    page = open_page(width)
    page.goto(f"{server.url}/data?dataset=demo&size=32")
    expect(page.get_by_text("Every file could be read")).to_be_visible(timeout=QUICK)
    expect(page.locator(".js-plotly-plot .bars").first).to_be_visible(timeout=QUICK)
    open_sidebar(page)
    enter(page, "textbox", "Image size in pixels", "16")
    close_sidebar(page)
    expect(page.get_by_text("recallrate data demo --size 16")).to_be_visible(timeout=QUICK)

    go(page, "Probe")
    expect(page.get_by_text("No probe of this dataset yet")).to_be_visible(timeout=QUICK)
    assert "size=16" in page.url, "the choice of a dataset is kept from page to page"
    enter(page, "textbox", "Codec settings", "raw;jpeg:quality={10,50}")
    expect(page.get_by_text("3 settings")).to_be_visible(timeout=QUICK)
    images = page.get_by_test_id("stSlider").get_by_role("slider")
    images.press("Home")
    expect(images).to_have_attribute("aria-valuetext", "100", timeout=QUICK)
    page.get_by_role("button", name="Run probe").click()
    expect(page.get_by_test_id("stPlotlyChart").locator(".points path").first).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("are header, which is stored only once")).to_be_visible(timeout=QUICK)
    expect(page.get_by_role("heading", name="Recommendation")).to_be_visible(timeout=QUICK)
    page.get_by_role("button", name="Regret table").click()
    expect(page.get_by_text("fell short of the best piloted choice")).to_be_visible(timeout=QUICK)
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").get_by_role("button", name="CSV").first.click()
    table = Path(download.value.path()).read_text()
    assert [line.split(",")[0] for line in table.splitlines()] == ["codec", "raw", "jpeg:quality=10", "jpeg:quality=50"]

    go(page, "Pilot")
    expect(page.get_by_text("6 runs")).to_be_visible(timeout=QUICK)
    enter(page, "textbox", "Seeds", "0")
    expect(page.get_by_text("2 runs")).to_be_visible(timeout=QUICK)
    enter(page, "spinbutton", "Classes in the first stage", "5")
    expect(page.get_by_text("of 4 stages")).to_be_visible(timeout=QUICK)
    enter(page, "spinbutton", "Training steps per stage", "10")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("of 2 runs done")).to_be_visible(timeout=QUICK)

    page.reload()
    under_way, over = page.get_by_text("of 2 runs done"), page.get_by_role("link", name="Next: compare the finished")
    expect(under_way.or_(over).first).to_be_visible(timeout=QUICK)
    assert {"dataset=demo", "size=16"} <= set(page.url.partition("?")[2].split("&"))
    address = page.url
    server.kill()
    server.start()
    page.goto(address)
    expect(over).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("Under way")).to_have_count(0, timeout=SLOW)
    settled(page)
    over.click()
    expect(page.get_by_role("heading", name="Accuracy and storage")).to_be_visible(timeout=QUICK)
    charts = page.get_by_test_id("stPlotlyChart")
    expect(charts.first.get_by_text("raw", exact=True).first).to_be_visible(timeout=QUICK)
    expect(charts.first.locator(".scatterlayer .points path:visible")).to_have_count(2, timeout=QUICK)
    expect(charts.nth(1).locator(".heatmaplayer image")).to_be_visible(timeout=QUICK)
    assert "size=16" in page.url
