"""Each page as a function for Streamlit's AppTest."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

from streamlit.testing.v1 import AppTest

SHELL = Path(__file__).parents[2] / "app.py"


def study_page() -> None:
    from toolkit.ui.views import study

    study.page()


def data_page() -> None:
    from toolkit.ui.views import data

    data.page()


def probe_page() -> None:
    from toolkit.ui.views import probe

    probe.page()


def pilot_page() -> None:
    from toolkit.ui.views import pilot

    pilot.page()


def images_page() -> None:
    from toolkit.ui.views import images

    images.page()


def tradeoff_page() -> None:
    from toolkit.ui.views import tradeoff

    tradeoff.page()


def jpeg_page() -> None:
    from toolkit.ui.views import jpeg_layer

    jpeg_layer.page()


def report_page() -> None:
    from toolkit.ui.views import report

    report.page()


def monitor_page() -> None:
    from toolkit.ui.views import monitor

    monitor.page()


def cost_page() -> None:
    from toolkit.ui.views import cost

    cost.page()


def drawn(page: Callable[[], None], **state: object) -> AppTest:
    """A page drawn once, without an uncaught exception."""
    app = AppTest.from_function(page, default_timeout=120)
    for key, value in state.items():
        app.session_state[key] = value
    app.run()
    assert not app.exception
    return app


def press(app: AppTest, label: str) -> None:
    """Press the button with this label, without an uncaught exception."""
    next(button for button in app.button if button.label == label).click().run()
    assert not app.exception
