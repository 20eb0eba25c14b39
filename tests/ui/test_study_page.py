"""The Study page: its form, a study that runs, and what a decision offers."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_pages import drawn, study_page
from streamlit.testing.v1 import AppTest
from study_samples import Starter, a_study

from toolkit.jobs.listing import list_runs
from toolkit.runs.execution import carry_out
from toolkit.study.request import StudyRequest


def page_of_size_32(**more: str) -> AppTest:
    return drawn(study_page, **({"dataset": "demo", "study_size-demo": "32"} | more))


def studied(runs_dir: Path, **choices: str) -> StudyRequest:
    """A finished study without trainings."""
    request = a_study(**choices)  # type: ignore[arg-type]
    carry_out(request, request.folder(runs_dir), work=lambda run, reporter: request.work(run, reporter, Starter()))
    return request


def test_the_form_says_what_the_budget_holds_and_what_the_study_costs(runs_dir: Path) -> None:
    app = page_of_size_32()
    assert not app.exception
    said = " ".join(caption.value for caption in app.caption)
    assert "raw images per class" in said
    assert "At most 13 pilots" in said, "4 + 2 arms and 3 tests with raw and a lossless codec in each"


def test_start_queues_one_study(runs_dir: Path, started: list[str]) -> None:
    app = page_of_size_32()
    next(button for button in app.button if button.label == "Start").click().run()
    assert not app.exception
    assert len(started) == 1
    (run,) = list_runs(runs_dir, "study")
    assert StudyRequest.of(run).choices.effort == "quick"


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [
        ("study_size-demo", "huge", "size"),
        ("study_budget-32", "lots", "lots"),
        ("study_grid", "gif", "unknown codec"),
        ("study_budget-32", "", None),
    ],
)
def test_a_wrong_field_is_one_line_and_nothing_starts(
    runs_dir: Path, field: str, value: str, reason: str | None
) -> None:
    app = page_of_size_32(**{field: value})
    assert not app.exception
    if reason is not None:
        assert any(reason in error.value for error in app.error)
        assert not any(button.label == "Start" for button in app.button)


def test_a_running_study_shows_what_is_known(runs_dir: Path) -> None:
    request, start = a_study(), Starter()
    start.die_after = 9
    with pytest.raises(KeyboardInterrupt):
        carry_out(request, request.folder(runs_dir), work=lambda run, reporter: request.work(run, reporter, start))
    app = page_of_size_32()
    assert not app.exception
    assert any("Store exemplars as" in info.value or "No decision yet" in info.value for info in app.info)
    assert len(app.dataframe) >= 1


def test_a_decision_comes_with_its_certainty_and_what_to_take_along(runs_dir: Path) -> None:
    request = studied(runs_dir)
    app = page_of_size_32()
    assert not app.exception
    (decision,) = (one.value for one in app.success)
    assert "jpeg:quality=90" in decision
    assert "%" in decision
    codes = [code.value for code in app.code]
    assert any("bundle export pilot-demo-jpeg-quality-90-both" in code for code in codes)
    assert any("toolkit.ReplayMemory" in code for code in codes)
    assert request.command() in codes
    assert any(button.label.startswith("Make the PDF") for button in app.button)


def test_more_pilots_go_on_from_a_study_that_is_not_settled(runs_dir: Path, started: list[str]) -> None:
    request = a_study()
    carry_out(
        request,
        request.folder(runs_dir),
        work=lambda run, reporter: request.work(run, reporter, Starter(lambda codec, align, seed: 0.4)),
    )
    app = page_of_size_32()
    next(button for button in app.button if button.label.startswith("Run more pilots")).click().run()
    assert not app.exception
    efforts = {StudyRequest.of(run).choices.effort for run in list_runs(runs_dir, "study")}
    assert efforts == {"quick", "usual"}


def test_the_page_is_there_in_japanese(runs_dir: Path) -> None:
    studied(runs_dir)
    app = page_of_size_32(lang="ja")
    assert not app.exception
