"""Choices kept in the address."""

from __future__ import annotations

from streamlit.testing.v1 import AppTest


def _page() -> None:
    from toolkit.ui.components.choice import choose_addressed

    choose_addressed("Which", ["a", "b", "c"], "which", str.upper)


def test_the_address_sets_and_keeps_the_choice() -> None:
    app = AppTest.from_function(_page)
    app.query_params["which"] = "b"
    app.run()
    assert app.selectbox(key="which").value == "b"
    app.selectbox(key="which").set_value("c").run()
    assert app.query_params["which"] in ("c", ["c"])
    app.query_params["which"] = "a"  # the page is opened at another address
    app.run()
    assert app.selectbox(key="which").value == "a"
    assert not app.warning, "Streamlit warns of a default beside a value of the program's"


def test_a_browser_that_missed_the_first_drawing_starts_with_the_choice() -> None:
    app = AppTest.from_function(_page)
    app.query_params["which"] = "b"
    app.run()
    app.run()
    drawn = app.selectbox(key="which").proto
    assert (drawn.set_value, drawn.default) == (False, 1)
