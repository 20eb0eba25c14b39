"""Pages show all other runs if a run folder is damaged."""

from __future__ import annotations

import shutil
from collections.abc import Callable
from pathlib import Path

import pytest
from drawn_pages import cost_page, drawn, images_page, jpeg_page, pilot_page, probe_page, report_page, tradeoff_page
from run_samples import (
    finished_advice,
    finished_images,
    finished_probe,
    finished_training,
    pilot_config,
    pilot_folder,
)

from toolkit.runs.folder import RunFolder

HARMS = {"config.json": "[" * 9999, "result.json": '"x"', "events.jsonl": '{"event": "failed"}\n'}


@pytest.fixture
def with_damaged_ones(runs_dir: Path) -> Path:
    """A finished run of every kind, and a copy of each for every file, with that file damaged."""
    runs = [make(runs_dir) for make in (finished_probe, finished_advice, finished_images, finished_training)]
    runs += [pilot_folder(runs_dir, pilot_config(codec=codec), 0, 0.5) for codec in ("raw", "png", "jpeg:quality=50")]
    for run in runs:
        for number, (name, harm) in enumerate(HARMS.items()):
            copy = RunFolder(shutil.copytree(run.path, run.path.with_name(f"{run.name}-copy{number}")))
            (copy.path / name).write_text(harm)
    return runs_dir


SLOW = [
    pytest.param(page, marks=pytest.mark.slow)
    for page in (probe_page, images_page, pilot_page, jpeg_page, cost_page, report_page)
]


@pytest.mark.usefixtures("with_damaged_ones")
@pytest.mark.parametrize("page", [tradeoff_page, *SLOW])
def test_damaged_runs_do_not_change_a_page(page: Callable[[], None], runs_dir: Path) -> None:
    def shown() -> list[list[str]]:
        app = drawn(page)
        options = [str(box.options) for box in app.selectbox if box.key != "history_state"]
        said = [[str(one.value) for one in kind] for kind in (app.caption, app.metric, app.error)]
        return [*said, options]

    with_them = shown()
    for path in runs_dir.glob("*-copy*"):
        shutil.rmtree(path)
    assert with_them == shown()


@pytest.mark.usefixtures("with_damaged_ones")
def test_the_history_lists_damaged_runs_by_name() -> None:
    app = drawn(pilot_page)
    (listed,) = [frame.value for frame in app.dataframe if "notes" in frame.value]
    damaged = listed[listed["state"] == "damaged"]
    assert len(damaged) == 9
    assert all("-copy" in name for name in damaged["setting"])
    assert sorted(listed[listed["state"] == "done"]["setting"]) == ["jpeg:quality=50", "png", "raw"]
