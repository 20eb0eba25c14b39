"""The pages that show results, drawn without a browser."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from drawn_pages import cost_page, drawn, images_page, jpeg_page, monitor_page, press, report_page, tradeoff_page
from run_samples import (
    finished_advice,
    finished_images,
    finished_training,
    pilot_config,
    pilot_folder,
    pilot_result,
)
from streamlit.testing.v1 import AppTest

from toolkit.foundation.files import sha256_of, write_json
from toolkit.jobs.listing import list_runs
from toolkit.jpeg_dl.request import ExportRequest
from toolkit.production.history import append
from toolkit.production.manifest import write_manifest
from toolkit.report.cost import Coding, Fleet, Prices, yearly


def test_finished_pilots_are_tabled_with_intervals_and_a_command(runs_dir: Path) -> None:
    for seed, last in ((0, 0.4), (1, 0.5)):
        pilot_folder(runs_dir, pilot_config(), seed, last)
    app = drawn(tradeoff_page)
    table = next(frame.value for frame in app.dataframe if "last_accuracy" in frame.value)
    assert table["last_accuracy"][0] == pytest.approx(0.45)
    assert table["last_accuracy_ci95"][0] == pytest.approx(12.7062 * 0.05, rel=1e-4)
    assert any("recallrate pilot demo" in code.value and "--seeds 0,1" in code.value for code in app.code)


def test_downloads_contain_the_result(runs_dir: Path) -> None:
    from toolkit.report.tables import csv_text, json_text

    rows = [{"codec": "raw", "bpp": 24.0}, {"codec": "png", "psnr": None}]
    assert csv_text(rows).splitlines() == ["codec,bpp,psnr", "raw,24.0,", "png,,"]
    assert csv_text(rows, ["psnr", "ssim"]).splitlines() == ["psnr,codec,bpp", ",raw,24.0", ",png,"]
    assert json.loads(json_text({"settings": rows})) == {"settings": rows}


def test_tradeoff_page_without_pilots_says_what_to_do(runs_dir: Path) -> None:
    assert "No finished pilot" in drawn(tradeoff_page).info[0].value


def test_tradeoff_says_when_to_store_nothing(runs_dir: Path) -> None:
    for seed, last in enumerate((0.70, 0.72, 0.71)):
        pilot_folder(runs_dir, pilot_config(), seed, last)
    assert not drawn(tradeoff_page).info
    for seed, last in enumerate((0.71, 0.70, 0.73)):
        config = pilot_config(method="simplecil", extractor="timm:resnet18", network="auto")
        run = pilot_folder(runs_dir, config, seed)
        write_json(run.result_path, pilot_result(seed, last, exemplars_per_class=0.0, memory_bytes=5120))
    trained = pilot_config(network="timm:resnet18", tune="head")
    for seed, last in enumerate((0.70, 0.72, 0.71)):
        pilot_folder(runs_dir, trained, seed, last)
    app = drawn(tradeoff_page)
    assert "Store nothing: simplecil keeps 5.0 KiB of statistics" in app.info[0].value


def test_tradeoff_shows_one_run_and_the_differences_of_compared_runs(runs_dir: Path) -> None:
    for codec, align, last in (("raw", "none", 0.40), ("jpeg:quality=50", "both", 0.52)):
        pilot_folder(runs_dir, pilot_config(codec=codec, align=align), 0, last)
    app = drawn(tradeoff_page)
    shown = {metric.label: metric.value for metric in app.metric}
    assert shown["Last accuracy"] == "52.0%"  # of the first in order: jpeg
    table = next(frame.value for frame in app.dataframe if "what" in frame.value)
    rows = {row["what"]: [row["jpeg:quality=50"], row["raw"]] for _, row in table.iterrows()}
    assert rows["codec"] == ["jpeg:quality=50", "raw"]
    assert rows["align"] == ["both", "none"]
    assert rows["Last accuracy"] == ["52.0%", "40.0%"]
    assert "size" not in rows
    assert "seed" not in rows


def test_the_address_opens_a_run(runs_dir: Path) -> None:
    for seed, last in ((0, 0.40), (1, 0.44)):
        pilot_folder(runs_dir, pilot_config(), seed, last)
    app = AppTest.from_function(tradeoff_page, default_timeout=120)
    app.query_params["run"] = list_runs(runs_dir, "pilot")[0].name
    app.run()
    assert not app.exception
    chosen = app.selectbox(key="run").value
    assert chosen == app.query_params["run"] == list_runs(runs_dir, "pilot")[0].name
    app.query_params["run"] = "no-such-run"


def test_an_address_with_a_deleted_run_opens_the_first(runs_dir: Path) -> None:
    pilot_folder(runs_dir, pilot_config(), 0, 0.4)
    app = AppTest.from_function(tradeoff_page, default_timeout=120)
    app.query_params["run"] = "no-such-run"
    app.run()
    assert not app.exception
    assert app.selectbox(key="run").value == list_runs(runs_dir, "pilot")[0].name


def test_images_page_shows_one_image_before_anything_is_measured(runs_dir: Path, started: list[str]) -> None:
    app = drawn(images_page, setting="jpeg:quality=10")
    assert "Not measured yet for jpeg:quality=10" in app.info[0].value
    shown = {metric.label: metric.value for metric in app.metric}
    assert int(shown["File bytes"].replace(",", "")) > int(shown["Stored bytes"].replace(",", ""))
    assert shown["PSNR"].endswith(" dB")
    press(app, "Measure images")
    (run,) = list_runs(runs_dir, "images")
    assert started == [run.name]
    assert run.config["codec"] == "jpeg:quality=10"


def test_measured_images_are_tabled_worst_first(runs_dir: Path) -> None:
    finished_images(runs_dir)
    app = drawn(images_page, setting="jpeg:quality=10", images_count=100)
    table = next(frame.value for frame in app.dataframe if "psnr" in frame.value)
    assert list(table["index"]) == [7, 3, 0]
    assert app.session_state["image"] == 7
    assert any("recallrate images demo --size 32 --codec jpeg:quality=10 --images 100" in one.value for one in app.code)


@pytest.mark.parametrize("setting", ["jpeg:quality=500", "nothing", "jpeg:quality=10;png"])
def test_images_page_reports_an_invalid_setting_in_one_line(runs_dir: Path, setting: str) -> None:
    app = drawn(images_page, setting=setting)
    assert len(app.error) == 1
    assert "\n" not in app.error[0].value


def test_jpeg_page_starts_a_training(runs_dir: Path, started: list[str]) -> None:
    app = drawn(jpeg_page, jpeg_steps=10)
    assert "No training of this dataset yet" in app.info[0].value
    assert any("**4 networks**" in text.value for text in app.markdown)
    press(app, "Train")
    (run,) = list_runs(runs_dir, "jpeg")
    assert started == [run.name]
    assert run.config["config"]["variants"] == ["plain", "jpeg", "standard", "zero-dc"]
    command = next(one.value for one in app.code if one.value.startswith("recallrate jpeg train"))
    assert "--controls standard,zero-dc" in command


def test_jpeg_page_refuses_invalid_values(runs_dir: Path) -> None:
    app = drawn(jpeg_page, jpeg_seeds="one")
    assert "whole numbers" in app.error[0].value
    assert "Train" not in [button.label for button in app.button]


def test_a_finished_training_shows_gains_and_starts_export_and_attack(runs_dir: Path, started: list[str]) -> None:
    training = finished_training(runs_dir)
    app = drawn(jpeg_page)
    table = next(frame.value for frame in app.dataframe if "gain" in frame.value)
    assert list(table["accuracy"]) == [0.5, 0.6]
    assert list(table["gain"]) == pytest.approx([0.0, 0.1])
    press(app, "Export tables")
    press(app, "Attack both networks")
    (export,) = list_runs(runs_dir, "export")
    (attack,) = list_runs(runs_dir, "attack")
    assert started == [export.name, attack.name]
    assert export.config["training"] == attack.config["training"] == str(training.path)
    assert Path(export.config["output"]).parent == runs_dir.parent / "tables"


def test_exported_tables_are_offered_as_a_codec(runs_dir: Path) -> None:
    training = finished_training(runs_dir)
    path = str(runs_dir.parent / "tables" / f"{training.name}-jpeg.json")
    Path(path).parent.mkdir()
    write_json(Path(path), {})
    request = ExportRequest(str(training.path), "jpeg", path)
    write_json(request.folder(runs_dir).result_path, {"tables": path, "luma": [], "chroma": []})
    app = drawn(jpeg_page)
    assert f"learned-jpeg:tables={path}" in [one.value for one in app.code]
    press(app, "Add to the probe's settings")
    assert app.session_state["grid"].endswith(f";learned-jpeg:tables={path}")


def test_cost_page_without_a_probe_says_what_to_do(runs_dir: Path) -> None:
    assert "come from a probe" in drawn(cost_page).info[0].value


def test_sliders_of_the_cost_page_scale_the_inputs(runs_dir: Path) -> None:
    finished_advice(runs_dir)
    app = drawn(cost_page, times_storage=10.0)
    saved = {metric.label: metric.value for metric in app.metric}
    fleet, prices, coding = Fleet(), Prices(), Coding(12288, 210, 10, 10, at_inference=True, accuracy_change=7.5)
    assert saved["Saved"] == f"{yearly(fleet, prices, coding).saved:,.2f}"
    assert saved["Saved in that case"] == f"{yearly(fleet, Prices(storage=0.23), coding).saved:,.2f}"


def test_cost_uses_the_recommended_setting_and_the_command_repeats_it(runs_dir: Path) -> None:
    finished_advice(runs_dir)
    app = drawn(cost_page, cost_devices=100.0, cost_error=0.01)
    assert app.selectbox(key="cost_setting").value == "jpeg:quality=50"
    assert "Expected by the advice" not in "".join(caption.value for caption in app.caption)  # the sample has no scores
    year = yearly(Fleet(devices=100), Prices(error=0.01), Coding(12288, 210, 10, 10, True, 0.0))
    assert {metric.label: metric.value for metric in app.metric}["Saved"] == f"{year.saved:,.2f}"
    command = app.code[0].value
    assert command.startswith(
        "recallrate cost --before 12288 --after 210 --encode-us 10 --decode-us 10 --at-inference "
    )
    assert "--devices 100 " in command


def test_cost_takes_accuracy_from_pilots_if_there_are_any(runs_dir: Path) -> None:
    finished_advice(runs_dir)
    for codec, align, last in (("raw", "none", 0.40), ("jpeg:quality=50", "both", 0.52)):
        pilot_folder(runs_dir, pilot_config(codec=codec, align=align), 0, last)
    app = drawn(cost_page)
    points = next(one for one in app.number_input if one.label == "Accuracy, points")
    assert points.value == pytest.approx(12)
    assert any("Measured by pilots" in caption.value for caption in app.caption)


def test_deleted_tables_can_be_exported_again(runs_dir: Path, started: list[str]) -> None:
    training = finished_training(runs_dir)
    path = str(runs_dir.parent / "tables" / f"{training.name}-jpeg.json")
    request = ExportRequest(str(training.path), "jpeg", path)
    write_json(request.folder(runs_dir).result_path, {"tables": path, "luma": [], "chroma": []})
    app = drawn(jpeg_page)
    assert not list_runs(runs_dir, "export")
    press(app, "Export tables")
    assert started == [list_runs(runs_dir, "export")[0].name]


def test_a_new_address_overrides_an_earlier_choice(runs_dir: Path) -> None:
    app = AppTest.from_function(images_page, default_timeout=120)
    app.query_params["setting"] = "jpeg:quality=10"
    app.run()
    assert app.selectbox(key="setting").value == "jpeg:quality=10"
    app.selectbox(key="setting").set_value("jpeg:quality=50").run()
    assert app.query_params["setting"] in ("jpeg:quality=50", ["jpeg:quality=50"])
    app.query_params["setting"] = "webp:quality=50"
    app.run()
    assert app.selectbox(key="setting").value == "webp:quality=50"
    assert not app.exception


def test_runs_with_equal_labels_are_distinguished(runs_dir: Path) -> None:
    for steps in (10, 20):
        pilot_folder(runs_dir, pilot_config(steps=steps), 0, 0.4)
    app = drawn(tradeoff_page)
    options = app.multiselect(key="compared").options
    assert len(set(options)) == len(options) == 2


def test_notes_changed_elsewhere_are_kept(runs_dir: Path) -> None:
    run = pilot_folder(runs_dir, pilot_config(), 0, 0.4)
    run.note("first")

    def page() -> None:
        from pathlib import Path as Folder

        import streamlit as st

        from toolkit.runs.folder import RunFolder as Run
        from toolkit.ui.components.history import _one

        _one(Run(Folder(st.session_state["path"])), "done")

    app = drawn(page, path=str(run.path))
    assert app.text_area[0].value == "first"
    run.note("written on the command line")
    app.run()
    assert app.text_area[0].value == run.notes == "written on the command line"
    app.text_area[0].set_value("and here").run()
    assert not app.exception
    assert run.notes == "and here"


def test_report_page_without_pilots_says_what_to_do(runs_dir: Path) -> None:
    assert len(drawn(report_page).info) == 1


def test_the_report_is_shown_and_its_command_repeats_it(runs_dir: Path) -> None:
    names = []
    for seed in (0, 1):
        for codec, align, last in (("raw", "none", 0.30), ("jpeg:quality=50", "both", 0.52)):
            names.append(pilot_folder(runs_dir, pilot_config(codec=codec, align=align), seed, last + 0.01 * seed).name)
    app = drawn(report_page, report_title="For the board", report_author="Ann")
    assert len(app.get("download_button")) == 3
    (command,) = [code.value for code in app.code]
    assert command.startswith("recallrate report pilot-")
    assert all(name in command for name in names)
    assert command.endswith("-o report.pdf --lang en --title 'For the board' --author Ann")
    app.button_group(key="report_settings_2").set_value([]).run()
    assert "at least one run" in app.error[0].value


def made_bundle(folder: Path) -> Path:
    """The manifest and card of a bundle, without files that the page does not open."""
    folder.mkdir()
    names = ("model_card.md", "memory.recall", "monitor.npz", "network.pt")
    for name in names:
        (folder / name).write_text("# A card")
    facts = {
        "format": 1,
        "codec": "jpeg:quality=50",
        "align": "both",
        "result": {"last_accuracy": 0.5},
        "baseline": {"images": 200, "false_alarms": 1e-4},
        "files": {name: sha256_of(folder / name) for name in names},
    }
    write_manifest(folder, facts)
    return folder


def test_monitor_page_says_what_to_do_and_refuses_other_folders(tmp_path: Path) -> None:
    assert "Enter the folder of a bundle" in drawn(monitor_page).info[0].value
    assert "is not a bundle" in drawn(monitor_page, bundle=str(tmp_path)).error[0].value
    folder = made_bundle(tmp_path / "bundle")
    assert "Nothing has been checked" in drawn(monitor_page, bundle=str(folder)).info[0].value
    (folder / "model_card.md").write_text("# Another card")
    assert "has been changed" in drawn(monitor_page, bundle=str(folder)).error[0].value


def test_monitor_page_shows_the_history_and_the_alarm(tmp_path: Path) -> None:
    folder = made_bundle(tmp_path / "bundle")
    for first, height in ((0, 0.5), (3, 1.5)):
        heights = {"stored_bytes": height, "features": 0.1}
        readings = [
            {"image": f"{n}.png", **{f"{name}_height": value for name, value in heights.items()}} for n in range(3)
        ]
        append(
            folder,
            {
                "time": 0.0,
                "folder": "new",
                "images": 3,
                "seen": first + 3,
                "alarm": height > 1,
                "unreadable": {},
                "alarms": {"stored_bytes": "1.png"} if height > 1 else {},
                "heights": heights,
                "readings": readings,
            },
        )
    app = drawn(monitor_page, bundle=str(folder))
    assert "Stored bytes (1.png)" in app.error[0].value
    assert list(app.dataframe[0].value["stored_bytes"]) == [1.5, 0.5]
    assert app.code[0].value.startswith(f"recallrate monitor {folder} FOLDER")
