"""From an empty machine to a result chart in a real browser, through a reload and the death of the server."""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
import threading
import urllib.request
from collections.abc import Iterator
from pathlib import Path

import pytest

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Page, expect  # noqa: E402

pytestmark = pytest.mark.browser

CHROMIUM = Path("/usr/bin/chromium")
ROOT = Path(__file__).parents[2]
QUICK = 60_000
SLOW = 600_000
"""Milliseconds: for what the page does, and for what training takes on a busy machine."""


class Server:
    """``streamlit run app.py`` on a port of its own."""

    def __init__(self, folder: Path) -> None:
        with socket.socket() as probe:
            probe.bind(("127.0.0.1", 0))
            self.port = probe.getsockname()[1]
        self.environment = os.environ | {
            "RECALLRATE_CACHE": str(folder / "cache"), "RECALLRATE_RUNS": str(folder / "runs"), "PYTHONPATH": str(ROOT),
        }  # fmt: skip
        self.process: subprocess.Popen[bytes] | None = None

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    def start(self) -> None:
        """Start it and wait until it says that it listens."""
        command = [sys.executable, "-m", "streamlit", "run", "app.py", "--server.headless", "true", "--server.port",
                   str(self.port), "--server.address", "127.0.0.1"]  # fmt: skip
        self.process = subprocess.Popen(
            command, cwd=ROOT, env=self.environment, stdout=subprocess.PIPE, stderr=subprocess.STDOUT
        )
        assert self.process.stdout is not None
        said = b""
        while b"URL:" not in said:
            line = self.process.stdout.readline()
            assert line, said.decode()
            said += line
        self.reader = threading.Thread(target=self.process.stdout.read, daemon=True)  # or the pipe would fill up
        self.reader.start()
        urllib.request.urlopen(f"{self.url}/_stcore/health", timeout=60).close()

    def kill(self) -> None:
        if self.process is not None:
            self.process.send_signal(signal.SIGKILL)
            self.process.wait()
            self.reader.join()
            assert self.process.stdout is not None
            self.process.stdout.close()
            self.process = None


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture
def page() -> Iterator[Page]:
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    arguments = ["--no-sandbox", "--disable-gpu", "--disable-background-networking", "--disable-component-update",
                 "--disable-sync", "--no-first-run", "--disable-dev-shm-usage"]  # fmt: skip
    with playwright.sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=str(CHROMIUM), args=arguments)
        opened = browser.new_page()
        opened.set_default_timeout(QUICK)
        yield opened
        browser.close()


def enter(page: Page, role: str, name: str, value: str) -> None:
    """Type a value into a field and have it taken."""
    field = page.get_by_role(role, name=name)  # type: ignore[arg-type]  # roles are literals
    field.fill(value)
    field.press("Enter")
    expect(field).to_have_value(value)


def test_from_the_demo_to_a_pilot_result_through_reload_and_restart(server: Server, page: Page) -> None:
    page.goto(f"{server.url}/?dataset=demo&size=32")
    expect(page.get_by_text("Every file could be read")).to_be_visible(timeout=QUICK)
    expect(page.locator(".js-plotly-plot .bars").first).to_be_visible(timeout=QUICK)
    enter(page, "spinbutton", "Image size in pixels", "16")
    expect(page.get_by_text("recallrate data demo --size 16")).to_be_visible(timeout=QUICK)

    page.get_by_role("link", name="Probe", exact=True).click()
    expect(page.get_by_text("No probe of this dataset yet")).to_be_visible(timeout=QUICK)
    assert "size=16" in page.url, "the choice of a dataset is kept from page to page"
    enter(page, "textbox", "Codec settings", "raw;jpeg:quality={10,50}")
    expect(page.get_by_text("3 settings")).to_be_visible(timeout=QUICK)
    images = page.get_by_test_id("stSlider").get_by_role("slider")
    images.press("Home")
    expect(images).to_have_attribute("aria-valuetext", "100", timeout=QUICK)
    page.get_by_role("button", name="Run probe").click()
    expect(page.get_by_test_id("stPlotlyChart").locator(".points path").first).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("As an ordinary file it would take")).to_be_visible(timeout=QUICK)
    expect(page.get_by_role("heading", name="Recommendation")).to_be_visible(timeout=QUICK)
    page.get_by_role("button", name="Regret table").click()
    expect(page.get_by_text("to the best choice of exhaustive pilots")).to_be_visible(timeout=QUICK)
    page.keyboard.press("Escape")
    with page.expect_download() as download:
        page.get_by_test_id("stDownloadButton").get_by_role("button", name="CSV").first.click()
    table = Path(download.value.path()).read_text()
    assert [line.split(",")[0] for line in table.splitlines()] == ["codec", "raw", "jpeg:quality=10", "jpeg:quality=50"]

    page.get_by_role("link", name="Pilot", exact=True).click()
    expect(page.get_by_text("6 runs")).to_be_visible(timeout=QUICK)
    enter(page, "textbox", "Seeds", "0")
    expect(page.get_by_text("2 runs")).to_be_visible(timeout=QUICK)
    enter(page, "spinbutton", "Classes in the first stage", "5")
    expect(page.get_by_text("of 4 stages")).to_be_visible(timeout=QUICK)
    enter(page, "spinbutton", "Training steps a stage", "10")
    page.get_by_role("button", name="Start").click()
    expect(page.get_by_text("of 2 runs done")).to_be_visible(timeout=QUICK)

    page.reload()
    under_way, over = page.get_by_text("of 2 runs done"), page.get_by_text("What the learner still knows")
    expect(under_way.or_(over).first).to_be_visible(timeout=QUICK)
    assert "dataset=demo&size=16" in page.url
    server.kill()
    server.start()
    page.goto(page.url)
    expect(page.get_by_text("What the learner still knows")).to_be_visible(timeout=SLOW)
    expect(page.get_by_text("Under way")).to_have_count(0, timeout=SLOW)
    charts = page.get_by_test_id("stPlotlyChart")
    expect(charts).to_have_count(2, timeout=QUICK)
    expect(charts.first.get_by_text("raw", exact=True)).to_be_visible(timeout=QUICK)
    expect(charts.first.locator(".points path")).to_have_count(2, timeout=QUICK)
    expect(charts.nth(1).locator(".heatmaplayer image")).to_be_visible(timeout=QUICK)
