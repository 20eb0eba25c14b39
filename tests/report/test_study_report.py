"""The report of a study: one conclusion, its race, and the same in both languages."""

from __future__ import annotations

from pathlib import Path

import pytest
from study_samples import Starter, a_study, usual_accuracy

from toolkit.foundation.errors import WorkError
from toolkit.language.catalogue import ENGLISH, language
from toolkit.report.contents import write_report
from toolkit.report.facts import gather_study
from toolkit.report.figures.study import study_figure
from toolkit.report.pdf import pdf_of
from toolkit.runs.execution import carry_out
from toolkit.runs.folder import RunFolder, run_folders


def studied(runs_dir: Path, start: Starter | None = None, **choices: str) -> RunFolder:
    request = a_study(**choices)  # type: ignore[arg-type]
    run = request.folder(runs_dir)
    carry_out(request, run, work=lambda run, reporter: request.work(run, reporter, start or Starter()))
    return run


def test_a_study_stands_for_its_pilots_and_its_decision_leads(tmp_path: Path) -> None:
    study = gather_study([studied(tmp_path)])
    assert (study.pilot["codec"], study.pilot["align"]) == ("jpeg:quality=90", "both")
    assert study.raw is not None
    assert len(study.pilots) == 6, "all that ran on held-out images, not those on test images"
    report = write_report(study)
    answer = str(report.blocks[0]["text"])
    assert answer.startswith("Store exemplars as jpeg:quality=90, align both. The probability")
    assert "On the 400 test images, opened once, with seed 2" in answer
    everything = str(report.blocks)
    assert "The race" in everything
    assert "webp:quality=50, align both" in everything
    assert "with a seed that had no part in the choice" in everything
    assert "Advice" not in answer


def test_the_race_says_what_failed_and_what_was_left_out(tmp_path: Path) -> None:
    def accuracy(codec: str, align: str, seed: int) -> float | None:
        return None if codec == "webp:quality=50" else usual_accuracy(codec, align, seed)

    run = studied(tmp_path, Starter(accuracy, excluded=["jpeg:quality=10"]))
    everything = str(write_report(gather_study([run])).blocks)
    assert "webp:quality=50, align both failed: the loss is not finite" in everything
    assert "jpeg:quality=10 was left out" in everything


@pytest.mark.parametrize("code", ["en", "ja"])
def test_it_is_typeset_in_both_languages(tmp_path: Path, code: str) -> None:
    pdf = pdf_of(write_report(gather_study([studied(tmp_path)]), language(code)))
    assert pdf.startswith(b"%PDF")


def test_an_unfinished_study_is_refused(tmp_path: Path) -> None:
    with pytest.raises(WorkError, match="has not finished"):
        gather_study([a_study(effort="usual").folder(tmp_path)])


def test_a_folder_of_runs_with_studies_is_reported_by_its_pilots(tmp_path: Path) -> None:
    studied(tmp_path)
    studied(tmp_path, prefer="accuracy")
    a_study(effort="usual").folder(tmp_path)
    study = gather_study(run_folders(tmp_path))
    assert study.race is None
    assert len(study.pilots) == 6


def test_the_figure_fades_what_was_dropped_and_rings_the_decision(tmp_path: Path) -> None:
    result = gather_study([studied(tmp_path)]).race
    assert result is not None
    figure = study_figure(result["arms"], 0, ENGLISH).to_plotly_json()
    marks = {mark["hovertemplate"].partition("</b>")[0]: mark for mark in figure["data"] if mark.get("hovertemplate")}
    assert len(marks) == 6, "arms without a pilot have no accuracy"
    opacity = {name.removeprefix("<b>"): mark["marker"]["opacity"] for name, mark in marks.items()}
    assert opacity["jpeg:quality=90, align both"] == 1
    assert opacity["webp:quality=50, align both"] < 0.5
    assert figure["data"][-1]["name"] == "Decision"
