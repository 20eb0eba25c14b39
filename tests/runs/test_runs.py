"""Run folders: status from files and live processes, the same for every observer."""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path

import pytest

from toolkit.foundation.errors import WorkError
from toolkit.jobs import worker
from toolkit.pilots.config import make_pilot_config
from toolkit.probe.request import ProbeRequest
from toolkit.runs.folder import FORMAT, RunFolder, training_slot
from toolkit.runs.queue import Ticket, enqueue, tickets


def folder(tmp_path: Path, name: str = "pilot-x") -> RunFolder:
    return RunFolder.create(tmp_path / name, "pilot", {"seed": 0, "config": {"codec": "raw"}})


def test_the_last_event_determines_the_status(tmp_path: Path) -> None:
    run = folder(tmp_path)
    assert run.status() == "lost", "nobody has it queued"
    enqueue([run], tmp_path)
    assert run.status() == "queued"
    Ticket(run, 0).remove()
    run.log("started")
    assert run.status() == "lost"
    run.log("progress", what="training", done=1, total=2)
    assert run.progress() is not None
    assert run.status() == "lost"
    run.log("failed", reason="it broke")
    assert (run.status(), run.error()) == ("failed", "it broke")
    run.request_cancel()
    assert run.status() == "cancelled"
    run.clear_cancel()
    run.result_path.write_text("{}")
    assert run.status() == "done"


def test_a_diverging_loss_of_any_size_is_no_damage(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.log("started")
    for loss in (1e30, float("inf"), float("nan")):
        run.log("progress", what="training", done=1, total=2, loss=loss)
    run.log("failed", reason="the loss is nan")
    assert [event.get("loss") for event in run.events() if event["event"] == "progress"] == [1e30, None, None]
    assert run.status() == "failed"


def test_a_run_is_running_while_a_process_holds_its_lock_and_lost_after_a_kill(tmp_path: Path) -> None:
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
    assert run.status() == "lost"


def test_a_claimed_run_is_running_and_queued_again_after_its_release(tmp_path: Path) -> None:
    run = folder(tmp_path)
    enqueue([run], tmp_path)
    with run.claimed():
        assert run.status() == "running"
        with pytest.raises(WorkError, match="claimed by another worker"), run.claimed():
            pass
    assert run.status() == "queued"


def test_checking_a_lock_never_makes_it_look_held(tmp_path: Path) -> None:
    run = folder(tmp_path)
    with run.running():
        pass
    fcntl = pytest.importorskip("fcntl")
    with (run.path / ".lock").open() as someone_who_asks:
        fcntl.flock(someone_who_asks, fcntl.LOCK_SH)
        assert not run.is_running()


def test_the_queue_keeps_its_order_and_requeued_runs_go_last(tmp_path: Path) -> None:
    first, second = folder(tmp_path, "pilot-z"), folder(tmp_path, "pilot-a")
    enqueue([first, second], tmp_path)
    assert [ticket.run for ticket in tickets(tmp_path)] == [first, second]
    enqueue([first], tmp_path)
    assert [ticket.run for ticket in tickets(tmp_path)] == [second, first]
    (second.path / ".queue").write_text("dam")
    assert [ticket.run for ticket in tickets(tmp_path)] == [second, first], "a damaged ticket still counts"


def test_tries_count_only_attempts_without_a_new_checkpoint(tmp_path: Path) -> None:
    run = folder(tmp_path)
    enqueue([run], tmp_path)
    (ticket,) = tickets(tmp_path)
    once = ticket.next_try()
    twice = once.next_try()
    assert (once.tries, twice.tries) == (1, 2)
    (run.path / "checkpoint.pt").write_text("")
    assert twice.next_try().tries == 1


def test_a_folder_from_a_newer_version_is_refused(tmp_path: Path) -> None:
    run = folder(tmp_path)
    assert json.loads(run.config_path.read_text())["format"] == FORMAT
    run.config_path.write_text(json.dumps({"format": FORMAT + 1, "kind": "pilot"}))
    with pytest.raises(WorkError, match=rf"pilot-x was written by a newer version .*format {FORMAT + 1}"):
        _ = run.config
    assert worker.main([str(run.path)]) == 1


def test_a_folder_without_a_version_is_read(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.config_path.write_text(json.dumps({"kind": "pilot", "seed": 0, "config": {"codec": "raw"}}))
    assert folder(tmp_path).config == {"kind": "pilot", "seed": 0, "config": {"codec": "raw"}}


def test_a_line_truncated_by_a_kill_is_skipped(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.log("started")
    with (run.path / "events.jsonl").open("a") as file:
        file.write('{"event": "prog')
    assert [event["event"] for event in run.events()] == ["started"]
    run.log("finished")
    assert [event["event"] for event in run.events()] == ["started", "finished"], "it does not spoil the next one"


def test_the_last_event_is_found_at_the_end_of_a_long_log(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.log("queued")
    for step in range(1500):
        run.log("progress", what="training", done=step, total=1500)
    assert (run.last_event() or {})["event"] == "queued"
    assert (run.progress() or {})["done"] == 1499


def test_notes_and_sweeps_are_kept_in_the_folder(tmp_path: Path) -> None:
    run = folder(tmp_path)
    run.note(" the good one ")
    run.join_sweep("first")
    run.join_sweep("second")
    run.join_sweep("first")
    assert (run.notes, run.origin) == ("the good one", {"sweeps": ["first", "second"]})
    run.note("")
    assert run.notes == ""


def test_a_folder_is_reopened_only_for_the_same_request(tmp_path: Path) -> None:
    run = folder(tmp_path)
    assert folder(tmp_path) == run
    with pytest.raises(WorkError, match="another run"):
        RunFolder.create(run.path, "pilot", {"seed": 1, "config": {"codec": "raw"}})


def test_waiting_for_a_slot_is_reported(tmp_path: Path) -> None:
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


def test_the_worker_runs_probes_and_pilots_and_continues_after_a_failure(tmp_path: Path) -> None:
    config = make_pilot_config(dataset="demo", size=16, initial=5, increment=5, codec="raw", budget="2img", steps=1)
    wrong = config.model_copy(update={"budget": "10"})
    request = ProbeRequest("demo", 16, "raw;png", "2img", extractor="self", images=20)
    runs = [
        RunFolder.create(tmp_path / name, kind, body)
        for name, kind, body in (
            ("pilot-wrong", "pilot", {"seed": 0, "config": wrong.model_dump(mode="json")}),
            ("probe-a", "probe", request.contents()),
            ("pilot-right", "pilot", {"seed": 0, "config": config.model_dump(mode="json")}),
            ("pilot-cancelled", "pilot", {"seed": 1, "config": config.model_dump(mode="json")}),
        )
    ]
    runs[3].request_cancel()
    assert worker.main([str(run.path) for run in runs]) == 1
    assert [run.status() for run in runs] == ["failed", "done", "done", "cancelled"]
    assert "smallest that works" in str(runs[0].error())
    assert [setting["codec"] for setting in json.loads(runs[1].result_path.read_text())["settings"]] == ["raw", "png"]


def test_a_field_added_later_does_not_create_another_run(tmp_path: Path) -> None:
    RunFolder.create(tmp_path / "pilot-a", "pilot", {"seed": 0, "config": {"steps": 5}})
    reopened = RunFolder.create(tmp_path / "pilot-a", "pilot", {"seed": 0, "config": {"steps": 5, "new": False}})
    assert reopened.config["config"] == {"steps": 5}
    with pytest.raises(WorkError, match="already contains another run"):
        RunFolder.create(tmp_path / "pilot-a", "pilot", {"seed": 0, "config": {"steps": 6, "new": False}})
