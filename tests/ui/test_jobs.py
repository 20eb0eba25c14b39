"""Background runs on a page, drawn without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_pages import drawn, press
from run_samples import pilot_config, pilot_folder

from toolkit.runs import supervision
from toolkit.runs.folder import RunFolder


def watching_page() -> None:
    import streamlit as st

    from toolkit.ui.components.jobs import watch

    watch([st.session_state["run"]], st.session_state["run"].path.parent)


class Scripted(RunFolder):
    """A run that reports the given states in turn, then stays at the last one."""

    states: list[str]

    def status(self) -> str:
        return self.states.pop(0) if len(self.states) > 1 else self.states[0]


@pytest.mark.parametrize("after_the_click", [["queued", "running"], ["running", "running"]])
def test_a_click_on_cancel_counts_even_if_the_run_starts_at_that_moment(
    runs_dir: Path, monkeypatch: pytest.MonkeyPatch, after_the_click: list[str]
) -> None:
    monkeypatch.setattr(supervision, "ensure", lambda *_: None)
    run = Scripted(pilot_folder(runs_dir, pilot_config(), 0).path)
    run.states = ["queued"]
    app = drawn(watching_page, run=run)
    assert not run.cancel_requested()
    run.states = after_the_click
    press(app, "Cancel")
    assert run.cancel_requested()
