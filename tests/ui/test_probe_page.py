"""The Probe page, drawn without a browser."""

from __future__ import annotations

from pathlib import Path

import pytest
from drawn_pages import drawn, press, probe_page
from run_samples import SETTINGS, finished_advice, finished_probe
from streamlit.testing.v1 import AppTest

from toolkit.jobs.listing import list_runs


def test_probe_page_without_probes_says_what_to_do(runs_dir: Path) -> None:
    app = drawn(probe_page)
    assert "Run probe" in app.info[0].value
    assert any(caption.value.startswith("12 settings") for caption in app.caption)


def test_a_wrong_grid_is_refused_with_the_reason_and_no_button(runs_dir: Path) -> None:
    app = drawn(probe_page, grid="jpeg:quality={10,500}")
    assert [error.value for error in app.error] == ["jpeg: quality must be 1..100, got '500'"]
    assert "Run probe" not in [button.label for button in app.button]


def test_a_wrong_extractor_is_refused_before_anything_starts(runs_dir: Path) -> None:
    app = drawn(probe_page, probe_extractor="resnet")
    assert [error.value for error in app.error] == [
        "unknown extractor 'resnet': choose auto, stage0, self, random, timm:NAME or checkpoint:PATH"
    ]
    assert "Run probe" not in [button.label for button in app.button]


def test_a_form_is_filled_from_the_address(runs_dir: Path) -> None:
    app = AppTest.from_function(probe_page, default_timeout=120)
    app.query_params["grid"], app.query_params["probe_budget"] = "raw;png", "4img"
    app.run()
    assert (app.text_input(key="grid").value, app.text_input(key="probe_budget").value) == ("raw;png", "4img")


def test_the_rows_of_a_running_probe_are_shown(runs_dir: Path, started: list[str]) -> None:
    app = drawn(probe_page, probe_images=100)
    press(app, "Run probe")
    (run,) = list_runs(runs_dir, "advise")
    run.log_found({"codec": "of an attempt before"})
    run.log("started")
    for setting in SETTINGS[:2]:
        run.log_found(setting)
    app.run()
    rows = next(frame.value for frame in app.dataframe if "stored_bytes" in frame.value)
    assert list(rows["codec"]) == ["raw", "jpeg:quality=50"]


def test_a_preset_fills_the_grid(runs_dir: Path) -> None:
    app = drawn(probe_page)
    app.button_group(key="preset").set_value("edge device").run()
    assert app.text_input(key="grid").value.startswith("raw;jpeg:quality={10,20,30")


def test_run_probe_queues_the_request_that_the_command_repeats(runs_dir: Path, started: list[str]) -> None:
    app = drawn(probe_page, grid="raw;jpeg:quality={10,50}", probe_budget="64KiB", probe_images=100)
    press(app, "Run probe")
    (run,) = list_runs(runs_dir, "advise")
    assert started == [run.name]
    config = run.config
    assert (config["dataset"], config["size"], config["images"], config["budget"]) == ("demo", 32, 100, "64KiB")
    assert [code.value for code in app.code][1:] == [
        "recallrate advise demo --size 32 --codecs 'raw;jpeg:quality={10,50}' --budget 64KiB --images 100"
    ]
    assert "Cancel" in [button.label for button in app.button]


def test_without_advice_the_request_is_a_plain_probe(runs_dir: Path, started: list[str]) -> None:
    app = drawn(probe_page, grid="raw;jpeg:quality={10,50}", probe_advise=False, probe_images=100)
    press(app, "Run probe")
    assert [run.name for run in list_runs(runs_dir, "probe")] == started
    assert [code.value for code in app.code][1:] == [
        "recallrate probe demo --size 32 --codecs 'raw;jpeg:quality={10,50}' --budget 20img --images 100"
    ]


def test_excluded_alignments_are_not_requested(runs_dir: Path, started: list[str]) -> None:
    app = drawn(probe_page, probe_both=False)
    press(app, "Run probe")
    (run,) = list_runs(runs_dir, "advise")
    assert run.config["aligns"] == "none,train"
    assert app.code[1].value.endswith("--aligns none,train")


def test_stages_rule_and_smallest_budget_can_be_chosen(runs_dir: Path, started: list[str]) -> None:
    app = drawn(probe_page, probe_images=100)
    app.number_input(key="probe_initial-10").set_value(4)
    app.selectbox(key="probe_rule").set_value("most-exemplars")
    app.number_input(key="probe_within").set_value(2.5).run()
    press(app, "Run probe")
    (run,) = list_runs(runs_dir, "advise")
    assert (run.config["initial"], run.config["increment"]) == (4, 2), "a fifth of the classes a stage, as it was shown"
    assert (run.config["rule"], run.config["within"]) == ("most-exemplars", 2.5)
    assert "--initial 4 --increment 2 --rule most-exemplars --within 2.5" in app.code[1].value


def test_advice_is_shown_with_its_reasons_picks_and_budgets(runs_dir: Path) -> None:
    finished_advice(runs_dir)
    app = drawn(probe_page)
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Setting"] == "jpeg:quality=50"
    assert shown["Align"] == "both"
    assert shown["Expected gain, points"] == "+7.5 ± 2.5"
    assert any("Align both: training, memory" in text.value for text in app.markdown)
    assert any("Runner-up: jpeg:quality=10, align both, +6.2 points" in text.value for text in app.markdown)
    assert "80 candidates" in app.info[0].value
    assert any("With 300 KiB: no setting" in text.value for text in app.markdown)
    assert "`webp:quality=50`: one exemplar of each of 10 classes can take 90 kB" in app.warning[0].value
    rules = next(frame.value for frame in app.dataframe if "chooses" in frame.value)
    assert list(rules["setting"]) == ["jpeg:quality=50", "raw"]
    regrets = next(frame.value for frame in app.dataframe if "worst" in frame.value)
    assert "predicted-gain" in list(regrets["rule"])
    assert any("1.2 MiB" in caption.value for caption in app.caption)


def test_running_the_same_probe_again_starts_nothing(runs_dir: Path, started: list[str]) -> None:
    app = drawn(probe_page, probe_images=100)
    press(app, "Run probe")
    press(app, "Run probe")
    assert len(started) == 1


def test_cancel_and_resume_a_queued_probe(runs_dir: Path, started: list[str]) -> None:
    app = drawn(probe_page)
    press(app, "Run probe")
    press(app, "Cancel")
    (run,) = list_runs(runs_dir, "advise")
    assert run.status() == "cancelled"
    press(app, "Resume")
    assert started == [run.name, run.name]
    assert run.status() == "queued"


def test_a_failed_probe_shows_its_reason(runs_dir: Path) -> None:
    run = finished_probe(runs_dir)
    run.result_path.unlink()
    run.log("failed", reason="no space left")
    app = drawn(probe_page)
    assert "Failed: no space left" in [error.value for error in app.error]
    assert "Try again" in [button.label for button in app.button]


def test_a_past_probe_is_reopened_with_its_table_and_the_chosen_setting(runs_dir: Path) -> None:
    finished_probe(runs_dir)
    app = drawn(probe_page, inspected="jpeg:quality=10")
    table = next(frame.value for frame in app.dataframe if "header_tax" in frame.value)
    assert list(table["codec"]) == ["raw", "jpeg:quality=50", "jpeg:quality=10", "webp:quality=50"]
    assert table["header_tax"][1] == pytest.approx(600 / 810)
    assert any("600 of them (90%) are header" in text.value for text in app.markdown)


def test_the_builder_offers_values_that_the_codec_accepts(runs_dir: Path) -> None:
    app = drawn(probe_page)
    assert any(code.value == "jpeg:quality={10,30,50,75}" for code in app.code)
    app.selectbox(key="build_codec").set_value("neural").run()
    app.button_group(key="build_neural_model").set_value(["small"]).run()
    assert any(code.value == "neural:model=small,quality={1,2,3}" for code in app.code)
    next(button for button in app.button if button.label == "Only this").click().run()
    assert app.text_input(key="grid").value == "neural:model=small,quality={1,2,3}"
    assert any(caption.value.startswith("3 settings") for caption in app.caption)


def test_the_stored_size_is_a_part_of_every_setting(runs_dir: Path, started: list[str]) -> None:
    app = drawn(probe_page, grid="raw;jpeg:quality=50", probe_images=100, probe_store=48, size="32x40")
    press(app, "Run probe")
    (run,) = list_runs(runs_dir, "advise")
    assert (run.config["codecs"], run.config["size"]) == ("store:side=48|raw;store:side=48|jpeg:quality=50", "32x40")
    assert "--size 32x40 --codecs 'store:side=48|raw;store:side=48|jpeg:quality=50'" in app.code[-1].value


def test_a_stored_size_below_the_crop_is_refused(runs_dir: Path) -> None:
    app = drawn(probe_page, grid="raw", probe_store=32, size="32x40")
    (error,) = app.error
    assert "its side must be at least 40 for images of 32x40 pixels" in error.value
    assert "Run probe" not in [button.label for button in app.button]


def test_the_budget_of_a_first_look_falls_with_the_size(runs_dir: Path) -> None:
    assert drawn(probe_page).text_input(key="probe_budget").value == "20img"
    assert drawn(probe_page, size="96x128").text_input(key="probe_budget").value == "1img"


def test_a_budget_that_was_written_stays_when_the_size_changes(runs_dir: Path) -> None:
    app = drawn(probe_page, size="32")
    app.session_state["size"] = "224"
    app.run()
    assert app.text_input(key="probe_budget").value == "1img"
    app.text_input(key="probe_budget").set_value("64KiB").run()
    app.session_state["size"] = "32"
    app.run()
    assert app.text_input(key="probe_budget").value == "64KiB"
    assert not app.exception
    assert not app.warning
