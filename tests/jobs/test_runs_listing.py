"""Which runs the pages, the commands and the report use."""

from __future__ import annotations

import os
from pathlib import Path

from run_samples import finished_probe, pilot_config, pilot_folder

from toolkit.foundation.files import write_json
from toolkit.jobs.listing import list_runs


def test_runs_are_listed_by_kind_newest_first(tmp_path: Path) -> None:
    pilots = [pilot_folder(tmp_path, pilot_config(), seed) for seed in range(3)]
    for age, run in enumerate(pilots):
        os.utime(run.config_path, (1e9 - age, 1e9 - age))
    probe = finished_probe(tmp_path)
    assert list_runs(tmp_path) == [probe, *pilots]
    assert list_runs(tmp_path, "pilot") == pilots
    assert list_runs(tmp_path, "jpeg") == list_runs(tmp_path / "none") == []


def test_damaged_runs_and_runs_from_a_newer_version_are_left_out(tmp_path: Path) -> None:
    whole, newer, damaged, of_no_kind = (pilot_folder(tmp_path, pilot_config(), seed) for seed in range(4))
    write_json(newer.config_path, {"format": 99, "kind": "pilot"})
    damaged.result_path.write_text("{")
    write_json(of_no_kind.config_path, {"kind": "pilot", "seed": 0, "config": {"codec": "none such"}})
    assert list_runs(tmp_path) == [whole]
