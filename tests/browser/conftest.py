"""A server of the app on its own port, and a browser that records every error on the page's console."""

from __future__ import annotations

import os
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest
from app_server import ROOT, Server

playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
from playwright.sync_api import Browser, ConsoleMessage, Page  # noqa: E402

CHROMIUM = Path("/usr/bin/chromium")
QUICK = 60_000
"""Milliseconds for actions of a page."""
_HARMLESS = (
    # Streamlit first looks for its address below the page's, if the page is not the first one
    "Failed to load resource: the server responded with a status of 404",
    # messages of a page whose server has been killed by a test
    "Cannot send rerun backMessage when disconnected from server",
    "Failed to load resource: net::ERR_CONNECTION_REFUSED",
    "Client Error in reaching server endpoint",
    "Streamlit server is not responding",
    "WebSocket connection to",
)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    made = Server(tmp_path)
    made.start()
    yield made
    made.kill()


@pytest.fixture(scope="session")
def browser(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Browser]:
    """Chromium with the report's fonts, since not every machine has Japanese ones."""
    if not CHROMIUM.exists():
        pytest.skip(f"{CHROMIUM} is not installed")
    arguments = [
        "--no-sandbox",
        "--disable-gpu",
        "--disable-background-networking",
        "--disable-component-update",
        "--disable-sync",
        "--no-first-run",
        "--disable-dev-shm-usage",
    ]
    share = tmp_path_factory.mktemp("share")
    (share / "fonts").symlink_to(ROOT / "toolkit" / "report" / "fonts")
    environment = os.environ | {"XDG_DATA_HOME": str(share)}
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(executable_path=str(CHROMIUM), args=arguments, env=environment)
        yield opened
        opened.close()


@pytest.fixture
def open_page(browser: Browser) -> Iterator[Callable[..., Page]]:
    """A function that opens a page with a width and further context options; fails if a page logged an error."""
    errors: list[str] = []
    contexts = []

    def listen(message: ConsoleMessage) -> None:
        if message.type == "error" and not message.text.startswith(_HARMLESS):
            errors.append(message.text)

    def make(width: int = 1440, **context: object) -> Page:
        opened = browser.new_context(viewport={"width": width, "height": 900}, **context)
        contexts.append(opened)
        page = opened.new_page()
        page.set_default_timeout(QUICK)
        page.on("console", listen)
        page.on("pageerror", lambda error: errors.append(str(error)))
        return page

    yield make
    for opened in contexts:
        opened.close()
    assert not errors
