"""The Pilot page with its history, drawn without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_pages import drawn, pilot_page, press
from run_samples import finished_probe, pilot_config, pilot_folder

from toolkit.jobs.listing import list_runs


def test_pilot_page_counts_runs_and_estimates_before_the_start(runs_dir: Path) -> None:
    app = drawn(pilot_page)
    assert any("**6 runs** of 5 stages" in text.value and "rough estimate" in text.value for text in app.markdown)
    assert "No pilot of this dataset yet" in app.info[0].value


def test_pilot_page_offers_the_settings_of_the_newest_probe(runs_dir: Path) -> None:
    finished_probe(runs_dir)
    app = drawn(pilot_page)
    assert app.multiselect[0].options == ["raw", "jpeg:quality=50", "jpeg:quality=10", "webp:quality=50"]
    assert app.multiselect[0].value == ["raw", "jpeg:quality=10"]


def test_start_queues_one_run_per_setting_and_seed(runs_dir: Path, started: list[str]) -> None:
    app = drawn(pilot_page, seeds="3,4", steps=10)
    press(app, "Start")
    runs = list_runs(runs_dir, "pilot")
    asked = {(run.config["config"]["codec"], run.config["config"]["align"], run.config["seed"]) for run in runs}
    assert asked == {
        (codec, align, seed) for codec, align in (("raw", "none"), ("jpeg:quality=50", "both")) for seed in (3, 4)
    }
    assert sorted(started) == sorted(run.name for run in runs)


@pytest.mark.parametrize(
    ("field", "value", "reason"),
    [("seeds", "one", "whole numbers"), ("pilot_budget", "lots", "a size must be"), ("aligns", [], "alignment")],
)
def test_pilot_form_refuses_invalid_values(runs_dir: Path, field: str, value: object, reason: str) -> None:
    app = drawn(pilot_page, **{field: value})
    assert any(reason in error.value for error in app.error)
    assert "Start" not in [button.label for button in app.button]


def test_pilot_form_writes_methods_with_their_parameters(runs_dir: Path, started: list[str]) -> None:
    app = drawn(pilot_page, seeds="0", steps=10, method="icarl")
    app.number_input(key="method_icarl_temperature").set_value(1.0).run()
    press(app, "Start")
    assert {run.config["config"]["method"] for run in list_runs(runs_dir, "pilot")} == {"icarl:temperature=1"}


def test_pilot_page_estimates_the_memory_of_the_runs(runs_dir: Path) -> None:
    app = drawn(pilot_page, pilot_budget="64KiB", seeds="0")
    assert any("Each memory takes up to 64.0 KiB; together 128.0 KiB" in text.value for text in app.markdown)


def test_history_is_filtered_by_status_and_text(runs_dir: Path) -> None:
    pilot_folder(runs_dir, pilot_config(), 0, 0.4)
    noted = pilot_folder(runs_dir, pilot_config(codec="jpeg:quality=50"), 0)
    noted.note("the one for the boss")
    app = drawn(pilot_page)

    def listed() -> list[str]:
        frames = [frame.value for frame in app.dataframe if "notes" in frame.value]
        return sorted(frames[0]["setting"]) if frames else []

    assert listed() == ["jpeg:quality=50", "raw"]
    app.text_input(key="history_text").set_value("BOSS").run()
    assert listed() == ["jpeg:quality=50"]
    app.text_input(key="history_text").set_value("").run()
    app.selectbox(key="history_state").set_value(3).run()
    assert listed() == ["raw"]
    app.selectbox(key="history_state").set_value(4).run()
    assert listed() == []
    assert not app.exception


def test_a_failed_run_shows_its_reason_and_its_log(runs_dir: Path) -> None:
    run = pilot_folder(runs_dir, pilot_config(), 0)
    run.log("failed", reason="no space left")
    (run.path / "worker.log").write_text("Traceback: the details")
    app = drawn(pilot_page)
    assert "Failed: no space left" in [error.value for error in app.error]
    assert "Traceback: the details" in [one.value for one in app.code]


def test_the_stored_size_is_a_part_of_every_setting(runs_dir: Path, started: list[str]) -> None:
    app = drawn(pilot_page, seeds="0", steps=10, pilot_store=48)
    press(app, "Start")
    asked = {run.config["config"]["codec"] for run in list_runs(runs_dir, "pilot")}
    assert asked == {"store:side=48|raw", "store:side=48|jpeg:quality=50"}


def test_a_stored_size_below_the_crop_is_refused(runs_dir: Path) -> None:
    app = drawn(pilot_page, seeds="0", pilot_store=16)
    assert any("its side must be at least 32 for images of 32 pixels" in error.value for error in app.error)
    assert "Start" not in [button.label for button in app.button]
