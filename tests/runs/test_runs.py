"""Run folders: status from what is on disk and alive, whoever asks."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.foundation.errors import WorkError
from toolkit.pilots import worker
from toolkit.pilots.config import make_config
from toolkit.probe.request import ProbeRequest
from toolkit.runs.folder import RunFolder, list_runs, training_slot


def folder(tmp_path: Path, name: str = "pilot-x") -> RunFolder:
    return RunFolder.create(tmp_path / name, "pilot", {"seed": 0, "config": {"codec": "raw"}})


def test_the_last_event_tells_how_a_run_stands(tmp_path: Path) -> None:
    run = folder(tmp_path)
    assert run.status() == "queued"
    run.log("started")
    assert run.status() == "interrupted"
    run.log("progress", what="training", done=1, total=2)
    assert run.progress() is not None
    assert run.status() == "interrupted"
    run.log("failed", reason="it broke")
    assert (run.status(), run.error()) == ("failed", "it broke")
    run.request_cancel()
    assert run.status() == "cancelled"
    run.clear_cancel()
    run.result_path.write_text("{}")
    assert run.status() == "done"


def test_a_run_is_running_while_a_process_holds_it_and_interrupted_when_that_dies(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.log("started")
    code = (
        "import sys; from pathlib import Path; from toolkit.runs.folder import RunFolder\n"
        "with RunFolder(Path(sys.argv[1])).running():\n print('held', flush=True); sys.stdin.read()"
    )
    holder = subprocess.Popen(
        [sys.executable, "-c", code, str(run.path)], stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    )
    assert holder.stdout is not None
    holder.stdout.readline()
    assert run.status() == "running"
    with pytest.raises(WorkError, match="another process"), run.running():
        pass
    holder.kill()
    holder.wait()
    assert run.status() == "interrupted"


def test_a_queued_run_whose_worker_is_gone_is_interrupted(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    run = folder(tmp_path)
    run.log("queued")
    assert run.status() == "queued", "its worker may still be starting"
    monkeypatch.setattr("toolkit.runs.folder.WORKER_START_SECONDS", 0.0)
    with run.claimed():
        assert run.status() == "queued"
    assert run.status() == "interrupted"


def test_a_line_cut_short_by_a_kill_is_passed_over(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.log("started")
    with (run.path / "events.jsonl").open("a") as file:
        file.write('{"event": "prog')
    assert [event["event"] for event in run.events()] == ["started"]


def test_a_folder_is_reopened_for_the_same_request_only(tmp_path: Path) -> None:
    run = folder(tmp_path)
    assert folder(tmp_path) == run
    with pytest.raises(WorkError, match="another run"):
        RunFolder.create(run.path, "pilot", {"seed": 1, "config": {"codec": "raw"}})


def test_runs_are_listed_by_kind(tmp_path: Path) -> None:
    folder(tmp_path)
    RunFolder.create(tmp_path / "probe-y", "probe", {})
    assert {run.name for run in list_runs(tmp_path)} == {"pilot-x", "probe-y"}
    assert [run.name for run in list_runs(tmp_path, "probe")] == ["probe-y"]
    assert list_runs(tmp_path / "none") == []


def test_who_waits_for_the_slot_says_so(tmp_path: Path) -> None:
    told: list[str] = []
    with training_slot(tmp_path):
        code = (
            "import sys; from pathlib import Path; from toolkit.runs.folder import training_slot\n"
            "with training_slot(Path(sys.argv[1]), lambda what, *_: print(what, flush=True)): print('in', flush=True)"
        )
        other = subprocess.Popen([sys.executable, "-c", code, str(tmp_path)], stdout=subprocess.PIPE, text=True)
        assert other.stdout is not None
        told.append(other.stdout.readline())
    told.append(other.stdout.read())
    other.wait()
    assert "waiting" in told[0]
    assert told[1].strip() == "in"


def test_the_worker_carries_out_probes_and_pilots_and_goes_on_after_a_failure(tmp_path: Path) -> None:
    config = make_config(dataset="demo", size=16, initial=5, increment=5, codec="raw", budget="2img", steps=1)
    wrong = config.model_copy(update={"budget": "10"})
    request = ProbeRequest("demo", 16, "raw;png", "2img", extractor="self", images=20)
    runs = [
        RunFolder.create(tmp_path / name, kind, body)
        for name, kind, body in (
            ("pilot-wrong", "pilot", {"seed": 0, "config": wrong.model_dump(mode="json")}),
            ("probe-a", "probe", request.as_dict()),
            ("pilot-right", "pilot", {"seed": 0, "config": config.model_dump(mode="json")}),
            ("pilot-cancelled", "pilot", {"seed": 1, "config": config.model_dump(mode="json")}),
        )
    ]
    runs[3].request_cancel()
    assert worker.main([str(run.path) for run in runs]) == 1
    assert [run.status() for run in runs] == ["failed", "done", "done", "cancelled"]
    assert "smallest that works" in str(runs[0].error())
    assert [setting["codec"] for setting in json.loads(runs[1].result_path.read_text())["settings"]] == ["raw", "png"]
