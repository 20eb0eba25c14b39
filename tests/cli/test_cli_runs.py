"""``runs`` and ``sweep`` as used by scripts."""

from __future__ import annotations

import csv
import io
import json
import shlex
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cli_samples import call
from run_samples import pilot_result

from toolkit.foundation.files import write_json
from toolkit.pilots.config import make_pilot_config
from toolkit.pilots.request import PilotRequest
from toolkit.runs import supervision
from toolkit.runs.folder import RunFolder, run_folders
from toolkit.runs.queue import tickets

SWEEP = (
    "dataset: demo\nsize: 16\ninitial: 5\nincrement: 5\ncodecs: [raw, png]\nbudgets: 2img\nseeds: [0, 1]\nsteps: 3\n"
)


def planned(seed: int, **values: Any) -> PilotRequest:
    defaults = {
        "dataset": "demo",
        "size": 16,
        "initial": 5,
        "increment": 5,
        "codec": "raw",
        "budget": "2img",
        "steps": 3,
    }
    return PilotRequest(make_pilot_config(**defaults | values), seed)


def finish(run: RunFolder) -> None:
    write_json(run.result_path, pilot_result(run.config["seed"], 0.5, optimizer_steps=6, seconds=3.0))


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Four runs: seed 0 done, 1 failed, 2 cancelled, 3 lost. No supervisor is started for them."""
    monkeypatch.setattr(supervision, "ensure", lambda *_: None)
    folder = tmp_path / "runs"
    done, failed, cancelled, _ = (planned(seed).folder(folder) for seed in range(4))
    finish(done)
    failed.log("failed", reason="the loss is nan at step 25")
    cancelled.request_cancel()
    return folder


@pytest.fixture
def in_runs(capsys: pytest.CaptureFixture[str], runs_dir: Path) -> Any:
    def command(*words: object) -> tuple[int, str, str]:
        return call(capsys, "runs", *words, "--runs-dir", runs_dir)

    return command


def test_list_filters_and_writes_json_and_csv(in_runs: Any) -> None:
    status, out, _ = in_runs("list", "--json", "-")
    assert status == 0
    assert sorted(row["state"] for row in json.loads(out)["runs"]) == ["cancelled", "done", "failed", "lost"]
    _, out, _ = in_runs("list", "--state", "failed", "--csv", "-")
    (row,) = csv.DictReader(io.StringIO(out))
    assert row["error"] == "the loss is nan at step 25"
    _, out, err = in_runs("list", "--state", "done", "--since", "1h")
    assert out.split()[:2] == ["done", "50.0%"]
    assert "1 runs" in err


def test_show_ends_with_the_command_that_reproduces_the_run(in_runs: Any, runs_dir: Path) -> None:
    status, out, _ = in_runs("show", planned(0).run_name(), "--json", "-")
    assert status == 0
    facts = json.loads(out)
    assert (facts["state"], facts["result"]["last_accuracy"]) == ("done", 0.5)
    words = shlex.split(facts["command"])
    assert words[:3] == ["recallrate", "pilot", "demo"]
    assert words[-2:] == ["--seeds", "0"]
    assert in_runs("show", planned(0).run_name())[1].splitlines()[-1] == f"command: {facts['command']}"


def test_names_may_be_short_but_not_ambiguous(in_runs: Any) -> None:
    status, _, err = in_runs("show", "pilot-demo")
    assert status == 2
    assert "matches 4 runs" in err
    assert all(f"-s{seed}" in err for seed in range(4))
    status, _, err = in_runs("show", "nothing")
    assert (status, len(err.splitlines())) == (2, 1)


def test_resume_and_retry_queue_only_permitted_states(in_runs: Any, runs_dir: Path) -> None:
    for action, seed in (("resume", 1), ("retry", 2), ("resume", 0), ("cancel", 0)):
        status, _, err = in_runs(action, planned(seed).run_name())
        assert (status, len(err.splitlines())) == (2, 1), action
        assert "only" in err
    assert in_runs("resume", planned(2).run_name(), planned(3).run_name())[0] == 0
    assert in_runs("retry", planned(1).run_name())[0] == 0
    assert [ticket.run.name[-1] for ticket in tickets(runs_dir)] == ["2", "3", "1"]
    assert in_runs("cancel", planned(3).run_name())[0] == 0
    assert RunFolder(runs_dir / planned(3).run_name()).status() == "cancelled"


def test_a_changed_field_needs_a_fork_which_records_its_origin(in_runs: Any, runs_dir: Path) -> None:
    name = planned(2).run_name()
    status, _, err = in_runs("resume", name, "--set", "lr=0.05")
    assert status == 2
    assert "lr: 0.1 -> 0.05" in err
    assert "--fork" in err
    assert in_runs("resume", name, "--set", "speed=1")[0] == 2
    assert in_runs("resume", name, "--set", "lr=0.1")[0] == 2
    status, _, err = in_runs("resume", name, "--set", "lr=0.05", "--fork")
    assert status == 0
    assert "from the beginning" in err
    forked = RunFolder(runs_dir / planned(2, lr=0.05).run_name())
    assert (forked.origin, forked.status()) == ({"forked_from": name}, "queued")
    assert RunFolder(runs_dir / name).status() == "cancelled", "the old one stays as it was"


def test_rm_refuses_running_runs(in_runs: Any, runs_dir: Path) -> None:
    run = RunFolder(runs_dir / planned(3).run_name())
    with run.running():
        status, _, err = in_runs("rm", run.name)
        assert status == 2
        assert "is running" in err
    assert in_runs("rm", run.name)[0] == 0
    assert not run.path.exists()


def test_notes_can_be_searched_and_logs_are_shown(in_runs: Any) -> None:
    assert in_runs("note", planned(1).run_name(), "look here")[0] == 0
    assert "look here" in in_runs("list", "--text", "LOOK")[1]
    assert "failed reason=the loss is nan at step 25" in in_runs("logs", planned(1).run_name())[1]


def test_export_as_zip_and_as_folder(in_runs: Any, tmp_path: Path) -> None:
    names = [planned(0).run_name(), planned(1).run_name()]
    assert in_runs("export", *names, "-o", tmp_path / "runs.zip")[0] == 0
    with zipfile.ZipFile(tmp_path / "runs.zip") as archive:
        assert {"results.csv", f"{names[0]}/result.json", f"{names[1]}/events.jsonl"} <= set(archive.namelist())
        assert not any(Path(name).name.startswith(".") for name in archive.namelist())
        rows = list(csv.DictReader(io.StringIO(archive.read("results.csv").decode())))
    assert sorted(row["state"] for row in rows) == ["done", "failed"]
    assert in_runs("export", names[0], "-o", tmp_path / "out")[0] == 0
    assert (tmp_path / "out" / names[0] / "result.json").exists()
    assert in_runs("export", names[0], "-o", tmp_path / "out")[0] == 2


def test_a_run_from_a_newer_version_is_reported_in_one_line(in_runs: Any, runs_dir: Path) -> None:
    name = planned(3).run_name()
    write_json(runs_dir / name / "config.json", {"format": 99, "kind": "pilot"})
    assert "newer version" in in_runs("list", "--state", "unreadable")[1]
    status, _, err = in_runs("show", name)
    assert (status, len(err.splitlines())) == (1, 1)
    assert "newer version" in err


@pytest.fixture
def background(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fake supervisor: png fails, everything else succeeds."""

    def work(runs_dir: Path, settings: object = None) -> None:
        for ticket in tickets(runs_dir):
            if ticket.run.config["config"]["codec"] == "png":
                ticket.run.log("failed", reason="no png today")
            else:
                finish(ticket.run)
            ticket.remove()

    monkeypatch.setattr(supervision, "ensure", work)


def test_ctrl_c_leaves_a_sweep_running_and_names_the_command_to_follow_it(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, runs_dir: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def interrupted(*args: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr("toolkit.runs.follow.follow", interrupted)
    file = tmp_path / "night.yaml"
    file.write_text(SWEEP)
    status, _, err = call(capsys, "sweep", file, "--runs-dir", runs_dir)
    assert status == 0
    assert "continue in the background" in err
    assert f"recallrate runs list --sweep night --runs-dir {runs_dir}" in err
    assert len(tickets(runs_dir)) == 3


@pytest.mark.usefixtures("background")
def test_a_sweep_continues_after_failures_and_names_them(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    file = tmp_path / "night.yaml"
    file.write_text(SWEEP)
    sweep = ("sweep", file, "--runs-dir", tmp_path / "runs")
    status, out, err = call(capsys, *sweep, "--json", "-")
    assert status == 1
    report = json.loads(out)
    assert [(row["codec"], row["state"]) for row in report["runs"]] == [
        ("raw", "done"),
        ("raw", "done"),
        ("png", "failed"),
        ("png", "failed"),
    ]
    assert report["pilots"][0]["mean"]["last_accuracy"] == 0.5
    assert err.count("no png today") == 2
    assert call(capsys, "runs", "list", "--sweep", "night", "--runs-dir", tmp_path / "runs")[1].count("pilot-") == 4
    file.write_text(SWEEP.replace(", png", ""))
    assert call(capsys, *sweep)[0] == 0, "finished runs are not repeated"
    assert RunFolder(tmp_path / "runs" / report["runs"][0]["run"]).origin == {"sweeps": ["night"]}


def test_a_dry_run_lists_hours_and_bytes_and_creates_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, runs_dir: Path
) -> None:
    file = tmp_path / "night.yaml"
    file.write_text(SWEEP)
    before = run_folders(runs_dir)
    status, out, _ = call(capsys, "sweep", file, "--runs-dir", runs_dir, "--dry-run", "--json", "-")
    assert status == 0
    facts = json.loads(out)
    assert [row["state"] for row in facts["runs"]] == ["done", "failed", "new", "new"]
    assert {row["estimated_from"] for row in facts["runs"]} == {"finished runs"}
    assert facts["hours"] == pytest.approx(3 * (10 + 2 * 3 * 0.5) / 3600), "ten seconds to start each"
    assert facts["memory_bytes"] == sum(row["memory_bytes"] for row in facts["runs"])
    assert run_folders(runs_dir) == before


def test_a_dry_run_of_one_pilot_shows_its_estimate_and_runs_nothing(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("toolkit.pilots.estimate.warmup_seconds_per_step", lambda config, progress: 2.0)
    status, out, err = call(
        capsys,
        "pilot",
        "demo",
        "--size",
        16,
        "--initial",
        5,
        "--increment",
        5,
        "--steps",
        30,
        "--seeds",
        "0,1",
        "--runs-dir",
        tmp_path / "runs",
        "--dry-run",
        "--json",
        "-",
    )
    assert status == 0
    facts = json.loads(out)
    assert [row["estimated_from"] for row in facts["runs"]] == ["warm-up", "warm-up"]
    assert facts["hours"] == pytest.approx(2 * (10 + 2 * 30 * 2) / 3600)
    assert "2 of 2 runs to do" in err
    assert not (tmp_path / "runs").exists()


def test_detach_queues_and_returns(capsys: pytest.CaptureFixture[str], tmp_path: Path, runs_dir: Path) -> None:
    file = tmp_path / "night.yaml"
    file.write_text(SWEEP)
    status, _, err = call(capsys, "sweep", file, "--runs-dir", runs_dir, "--detach")
    assert status == 0
    assert "recallrate runs list --sweep night" in err
    assert len(tickets(runs_dir)) == 3


@pytest.mark.parametrize("command", [("sweep", "x.yaml"), ("pilot", "demo", "--codec", "raw")])
def test_torchrun_is_refused(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch, command: tuple[str, ...]
) -> None:
    monkeypatch.setenv("WORLD_SIZE", "2")
    status, _, err = call(capsys, *command)
    assert status == 2
    assert "torchrun with 2 ranks" in err
