"""The supervisor and its workers, including real kills."""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
import supervisor_samples as samples
from supervisor_samples import fake_run, until

from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.files import write_json
from toolkit.foundation.threads import set_threads
from toolkit.jobs import slots, supervisor, worker
from toolkit.jobs.supervisor import Settings, Supervisor
from toolkit.pilots import plan
from toolkit.pilots.results import reproducible
from toolkit.runs import supervision
from toolkit.runs.folder import RunFolder
from toolkit.runs.locks import ProcessName, holding
from toolkit.runs.queue import enqueue, tickets
from toolkit.runs.start import pending_of

pytestmark = pytest.mark.kills

FAST = Settings(slots=1, threads=1, backoff=0.01)
FAKE = (sys.executable, samples.__file__)


@pytest.fixture
def fakes(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers do what their runs' requests say."""
    monkeypatch.setattr(slots, "WORKER", FAKE)


def started(run: RunFolder) -> int:
    return sum(event["event"] == "started" for event in run.events())


def worker_of(run: RunFolder) -> ProcessName:
    """The run's worker, once it has written its process name."""
    until(lambda: run.is_running() and (ProcessName.read(run.path / ".worker") or ProcessName(0, "")).alive())
    name = ProcessName.read(run.path / ".worker")
    assert name is not None
    return name


@contextmanager
def working(runs_dir: Path, settings: Settings = FAST) -> Iterator[Supervisor]:
    """A supervisor working in a thread; the block must let its queue become empty."""
    boss = Supervisor(runs_dir, settings)
    thread = threading.Thread(target=boss.work)
    thread.start()
    try:
        yield boss
        thread.join(120)
        assert not thread.is_alive()
    finally:
        boss.stop.set()
        thread.join()


@contextmanager
def working_process(runs_dir: Path) -> Iterator[subprocess.Popen[bytes]]:
    """A supervisor process with workers that do what the requests say."""
    code = (
        "import sys; from toolkit.jobs import slots, supervisor\n"
        f"slots.WORKER = {FAKE!r}\nsys.exit(supervisor.main(sys.argv[1:]))"
    )
    process = subprocess.Popen([sys.executable, "-c", code, str(runs_dir), "--threads", "1", "--backoff", "0.01"])
    try:
        yield process
    finally:
        process.kill()
        process.wait()


def test_a_run_whose_worker_was_killed_has_the_same_result(tmp_path: Path) -> None:
    from toolkit.pilots.foreground import run_pilot

    choices = {
        "dataset": "demo",
        "size": 16,
        "initial": 5,
        "increment": 5,
        "steps": 40,
        "batch_size": 16,
        "checkpoint_every": 2,
        "network": "resnet8",
    }
    (planned,) = plan.plan(["jpeg:quality=40"], ["train"], ["3img"], [1], **choices)
    run = planned.folder(tmp_path / "killed")
    enqueue([run], tmp_path / "killed")
    with working(tmp_path / "killed"):
        until((run.path / "checkpoint.pt").exists)
        worker_of(run).send(signal.SIGKILL)
    assert started(run) == 2
    set_threads(1)
    try:
        expected = run_pilot(planned.config, planned.seed, tmp_path / "whole")
    finally:
        set_threads(0)
    result = json.loads(run.result_path.read_text())
    assert reproducible(result) == reproducible(expected)
    environment = json.loads((run.path / "environment.json").read_text())
    assert environment["attempt"] == 2
    assert environment["peak_memory_bytes"] > 1e8
    assert environment["command"].startswith("recallrate pilot demo")


@pytest.mark.usefixtures("fakes")
def test_runs_start_in_queue_order_and_a_failure_stops_no_other(tmp_path: Path) -> None:
    runs = [fake_run(tmp_path, name, do=do) for name, do in (("z", "fail"), ("b", "refuse"), ("a", "finish"))]
    enqueue(runs, tmp_path)
    assert [ticket.run.name for ticket in tickets(tmp_path)] == ["z", "b", "a"]
    assert Supervisor(tmp_path, FAST).work()
    assert [run.status() for run in runs] == ["failed", "failed", "done"]
    assert [run.error() for run in runs[:2]] == ["FloatingPointError: the loss is nan", "no such codec"]
    assert [started(run) for run in runs] == [1, 1, 1], "what the work itself says is final"
    assert runs[0].events()[-1]["time"] <= runs[1].events()[-1]["time"] <= runs[2].events()[-1]["time"]
    assert tickets(tmp_path) == []


@pytest.mark.usefixtures("fakes")
def test_a_run_may_lose_its_process_often_if_it_progresses_each_time(tmp_path: Path) -> None:
    hopeless = fake_run(tmp_path, "hopeless", do="die", deaths=100)
    steady = fake_run(tmp_path, "steady", do="die", deaths=4, saves=True)
    enqueue([hopeless, steady], tmp_path)
    Supervisor(tmp_path, FAST).work()
    assert (hopeless.status(), started(hopeless)) == ("failed", 3)
    assert hopeless.error() == "its process was lost 3 times without progress, last: killed by SIGKILL"
    assert (steady.status(), started(steady)) == ("done", 5)


@pytest.mark.usefixtures("fakes")
def test_a_hung_process_is_killed_and_its_run_retried(tmp_path: Path) -> None:
    run = fake_run(tmp_path, "hangs", do="die", deaths=1, signal=int(signal.SIGSTOP))
    enqueue([run], tmp_path)
    Supervisor(tmp_path, Settings(slots=1, threads=1, backoff=0.01, silence=8)).work()
    assert run.status() == "done"
    assert any("no heartbeat" in event.get("how", "") for event in run.events())


@pytest.mark.usefixtures("fakes")
def test_a_cancelled_run_is_killed_if_it_does_not_stop_and_can_be_resumed(tmp_path: Path) -> None:
    run, waiting = fake_run(tmp_path, "deaf", do="wait"), fake_run(tmp_path, "waits")
    enqueue([run, waiting], tmp_path)
    with working(tmp_path):
        until(lambda: started(run))
        waiting.request_cancel()
        run.request_cancel()
    assert (run.status(), waiting.status(), started(waiting)) == ("cancelled", "cancelled", 0)
    assert tickets(tmp_path) == []
    (run.path / "go").touch()
    enqueue([run], tmp_path)
    assert run.status() == "queued"
    Supervisor(tmp_path, FAST).work()
    assert run.status() == "done"


@pytest.mark.usefixtures("fakes")
def test_a_probe_does_not_wait_behind_pilots(tmp_path: Path) -> None:
    pilots = [fake_run(tmp_path, f"pilot-{number}", do="wait") for number in range(2)]
    probe = fake_run(tmp_path, "probe-x", "probe")
    enqueue([*pilots, probe], tmp_path)
    with working(tmp_path):
        until(lambda: probe.status() == "done")
        assert pilots[1].status() == "queued"
        for pilot in pilots:
            (pilot.path / "go").touch()


@pytest.mark.usefixtures("fakes")
def test_a_killed_supervisor_leaves_its_worker_and_the_next_adopts_it(tmp_path: Path) -> None:
    run, later = fake_run(tmp_path, "first", do="wait"), fake_run(tmp_path, "later")
    enqueue([run, later], tmp_path)
    with working_process(tmp_path) as boss:
        until(lambda: started(run))
        boss.kill()
        boss.wait()
    assert run.status() == "running"
    assert not supervision.lives(tmp_path)
    with working(tmp_path) as adopting:
        until(lambda: adopting._workers)
        assert adopting._workers["first"].child is None
        (run.path / "go").touch()
    assert [run.status(), later.status(), started(run)] == ["done", "done", 1]


def test_a_supervisor_that_is_asked_to_stop_leaves_its_worker_running(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run, later = fake_run(tmp_path, "first", do="wait"), fake_run(tmp_path, "later")
    enqueue([run, later], tmp_path)
    with working_process(tmp_path) as boss:
        until(lambda: started(run))
        boss.terminate()
        assert boss.wait(60) == 0
    assert supervision.was_stopped(tmp_path)
    (run.path / "go").touch()
    until(lambda: run.status() == "done")
    assert later.status() == "queued", "the queue stays"
    monkeypatch.setattr(supervision.subprocess, "Popen", lambda *_, **__: None)
    supervision.ensure(tmp_path)
    assert not supervision.was_stopped(tmp_path), "another one is on its way"


def test_a_second_supervisor_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with holding(tmp_path / ".supervisor", ""):
        ProcessName.own().write(tmp_path / ".supervisor.json")
        assert supervisor.main([str(tmp_path)]) == 1
    error = capsys.readouterr().err
    assert f"has a supervisor: process {os.getpid()}" in error
    assert len(error.splitlines()) == 1


def test_traces_of_a_dead_process_are_ignored_even_if_its_pid_is_reused(tmp_path: Path) -> None:
    stranger = ProcessName(os.getpid(), "another boot 12345")
    stranger.write(tmp_path / ".supervisor.json")
    (tmp_path / ".supervisor").touch()
    assert not supervision.lives(tmp_path)
    run = fake_run(tmp_path, "left")
    stranger.write(run.path / ".worker")
    assert slots.WorkerProcess.adopted(run) is None
    stranger.send(signal.SIGKILL)  # would kill this test if the process name matched
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGINT)]
    try:
        assert supervisor.main([str(tmp_path)]) == 0
    finally:
        for number, handler in zip((signal.SIGTERM, signal.SIGINT), before, strict=True):
            signal.signal(number, handler)


@pytest.mark.usefixtures("fakes")
def test_a_run_queued_while_the_supervisor_exits_is_not_forgotten(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    run = fake_run(tmp_path, "late")

    def just_then(runs_dir: Path, state: str) -> None:
        if state == "ended" and run.status() == "lost":
            assert supervision.lives(runs_dir), "who queues a run now starts no supervisor"
            enqueue([run], runs_dir)

    monkeypatch.setattr(supervisor, "_write_state", just_then)
    monkeypatch.setattr(supervisor.signal, "signal", lambda *_: None)
    supervisor.supervise(tmp_path, FAST)
    assert run.status() == "done"


@pytest.mark.usefixtures("fakes")
def test_a_full_disk_delays_one_run_and_stops_neither_the_supervisor_nor_the_others(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    stuck, fine = fake_run(tmp_path, "stuck"), fake_run(tmp_path, "fine")
    enqueue([stuck, fine], tmp_path)

    def full(path: Path, value: object) -> None:
        if path.parent == stuck.path:
            raise WorkError("no space left on device")
        write_json(path, value)

    monkeypatch.setattr("toolkit.runs.queue.write_json", full)
    with working(tmp_path) as boss:
        until(lambda: fine.status() == "done")
        assert stuck.status() == "queued"
        assert started(stuck) == 0
        monkeypatch.undo()
        monkeypatch.setattr(slots, "WORKER", FAKE)
        boss._not_before.clear()
    assert stuck.status() == "done"


def test_the_missing_event_of_a_finished_run_is_added_once(tmp_path: Path) -> None:
    run = fake_run(tmp_path, "done")
    enqueue([run], tmp_path)
    write_json(run.result_path, {"seconds": 3.0})
    Supervisor(tmp_path, FAST).work()
    enqueue([run], tmp_path)
    Supervisor(tmp_path, FAST).work()
    assert [event["event"] for event in run.events()].count("finished") == 1


def test_a_run_from_a_newer_version_is_left_alone(tmp_path: Path) -> None:
    run = fake_run(tmp_path, "new")
    enqueue([run], tmp_path)
    write_json(run.config_path, {"format": 99, "kind": "pilot"})
    Supervisor(tmp_path, FAST).work()
    assert [event["event"] for event in run.events()] == ["queued"]


@pytest.mark.usefixtures("fakes")
def test_a_damaged_run_in_the_queue_delays_no_other(tmp_path: Path) -> None:
    broken, strange, fine = (fake_run(tmp_path, name) for name in ("broken", "strange", "fine"))
    enqueue([broken, strange, fine], tmp_path)
    (broken.path / "events.jsonl").write_text('{"event": "queued"}\n')
    for name in (".queue", ".lock", ".worker", ".heartbeat"):
        (strange.path / name).unlink(missing_ok=True)
        os.mkfifo(strange.path / name)
    assert broken.status() == "damaged"
    with working(tmp_path) as boss:
        until(lambda: fine.status() == "done")
        until(lambda: not any(ticket.run == broken for ticket in tickets(tmp_path)))
        assert pending_of([broken]) == []
        (strange.path / ".queue").unlink(missing_ok=True)
        boss._not_before.clear()


def test_a_worker_whose_run_is_taken_exits(tmp_path: Path) -> None:
    run = fake_run(tmp_path, "one")
    with run.claimed():
        assert worker.main([str(run.path)]) == worker.TAKEN


def test_each_training_slot_has_a_gpu_and_the_light_slot_none_of_its_own(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CUDA_VISIBLE_DEVICES", "2,5")
    found = slots.Slots()
    assert found.count == 2
    assert [found.environment(slot)["CUDA_VISIBLE_DEVICES"] for slot in ("0", "1", "light")] == ["2", "5", "2,5"]
    pilot, probe = fake_run(tmp_path, "pilot-a"), fake_run(tmp_path, "probe-a", "probe")
    busy = [slots.WorkerProcess(ProcessName.own(), "1")]
    assert [found.free(pilot, busy), found.free(probe, busy)] == ["0", "light"]
    busy.append(slots.WorkerProcess(ProcessName.own(), "7"))
    assert found.free(pilot, busy) is None, "an adopted worker counts"


@pytest.mark.parametrize("wrong", [{"slots": -1}, {"attempts": 0}, {"silence": 0.0}])
def test_invalid_settings_are_refused(wrong: dict[str, int]) -> None:
    with pytest.raises(UsageError, match="must be at least"):
        Settings(**wrong)  # type: ignore[arg-type]


def test_one_of_several_ranks_is_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("WORLD_SIZE", "4")
    with pytest.raises(UsageError, match="4 ranks"):
        worker.main([str(tmp_path)])
    assert supervisor.main([str(tmp_path)]) == 2
