"""Every command finds a run by any name that a command has printed, and never changes the target of a link."""

from __future__ import annotations

import csv
import io
import json
import os
import zipfile
from pathlib import Path
from typing import Any

import pytest
from cli_samples import call
from run_samples import finished_training, pilot_config, pilot_folder

from toolkit.runs import supervision
from toolkit.runs.folder import RunFolder
from toolkit.runs.queue import tickets


@pytest.fixture
def runs_dir(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Finished, failed and cancelled pilots in a separate folder; the default folder is empty."""
    monkeypatch.setattr(supervision, "ensure", lambda *_: None)
    monkeypatch.setenv("RECALLRATE_RUNS", str(tmp_path / "default"))
    folder = tmp_path / "there" / "runs"
    pilot_folder(folder, pilot_config(), 0, 0.5)
    pilot_folder(folder, pilot_config(), 1).log("failed", reason="the loss is nan")
    pilot_folder(folder, pilot_config(), 2).request_cancel()
    monkeypatch.chdir(tmp_path)
    return folder


def name_of(seed: int) -> str:
    return pilot_config().run_name(seed)


def ways(runs_dir: Path, seed: int) -> list[tuple[str, ...]]:
    """The ways to name a run."""
    name = name_of(seed)
    relative = os.path.relpath(runs_dir / name)
    given = ("--runs-dir", str(runs_dir))
    return [
        (name, *given),
        (name[-16:], *given),
        (name[: -len("2")] + str(seed), *given),
        (str(runs_dir / name),),
        (relative,),
        (f"./{relative}/",),
        (str(runs_dir / name), *given),
        (f"{runs_dir}/../runs/{name}",),
    ]


def test_a_run_is_shown_noted_and_exported_by_path_name_or_part(
    capsys: pytest.CaptureFixture[str], runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for number, way in enumerate(ways(runs_dir, 0)):
        status, out, err = call(capsys, "runs", "show", *way, "--json", "-")
        assert status == 0, (way, err)
        assert json.loads(out)["folder"] == str(runs_dir / name_of(0))
        assert call(capsys, "runs", "note", way[0], f"note {number}", *way[1:])[0] == 0
        assert RunFolder(runs_dir / name_of(0)).notes == f"note {number}"
        assert call(capsys, "runs", "logs", *way)[0] == 0
        assert call(capsys, "runs", "export", *way, "-o", tmp_path / f"{number}.zip")[0] == 0
        with zipfile.ZipFile(tmp_path / f"{number}.zip") as archive:
            assert f"{name_of(0)}/result.json" in archive.namelist()
            (row,) = csv.DictReader(io.StringIO(archive.read("results.csv").decode()))
            assert row["last_accuracy"] == "0.5"
    monkeypatch.chdir(runs_dir)
    assert call(capsys, "runs", "show", name_of(0))[0] == 0, "a folder in the working folder, without a separator"
    monkeypatch.chdir(runs_dir / name_of(0))
    assert call(capsys, "runs", "show", "./")[0] == 0


def test_resumed_and_retried_runs_are_queued_in_their_own_folder(
    capsys: pytest.CaptureFixture[str], runs_dir: Path
) -> None:
    for way in ways(runs_dir, 2):
        assert call(capsys, "runs", "resume", *way)[0] == 0, way
        assert [ticket.run.path for ticket in tickets(runs_dir)] == [runs_dir / name_of(2)]
        assert call(capsys, "runs", "cancel", *way)[0] == 0, way
        tickets(runs_dir)[0].remove()
    assert call(capsys, "runs", "retry", runs_dir / name_of(1))[0] == 0
    assert [ticket.run.name for ticket in tickets(runs_dir)] == [name_of(1)]
    assert not (runs_dir.parents[1] / "default").exists()


def test_a_run_named_twice_counts_once_and_runs_of_one_name_are_not_mixed(
    capsys: pytest.CaptureFixture[str], runs_dir: Path, tmp_path: Path
) -> None:
    path = runs_dir / name_of(0)
    given = ("--runs-dir", runs_dir)
    status, _, err = call(capsys, "runs", "export", path, name_of(0), *given, "-o", tmp_path / "one.zip")
    assert (status, "wrote 1 runs" in err) == (0, True)
    other = pilot_folder(tmp_path / "other", pilot_config(), 0, 0.9).path
    status, _, err = call(capsys, "runs", "export", path, other, "-o", tmp_path / "two.zip")
    assert (status, "two runs are named" in err) == (2, True)
    assert not (tmp_path / "two.zip").exists()


def test_a_path_that_is_not_a_run_is_refused_in_one_line(capsys: pytest.CaptureFixture[str], runs_dir: Path) -> None:
    for name in (runs_dir, "./there/", runs_dir / "nothing", "nothing"):
        status, _, err = call(capsys, "runs", "show", name)
        assert (status, len(err.splitlines())) == (2, 1), name


def test_printed_run_paths_work_from_any_folder(
    capsys: pytest.CaptureFixture[str], runs_dir: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(runs_dir.parent)
    pilot = ("pilot", "demo", "--initial", 5, "--increment", 5, "--steps", 10)
    status, out, err = call(capsys, *pilot, "--runs-dir", "runs", "--json", "-", "--csv", tmp_path / "pilot.csv")
    assert status == 0, err
    place = json.loads(out)["runs"][0]["run_dir"]
    assert place == str(runs_dir / name_of(0))
    assert f"run folder: {place}" in err
    (row,) = csv.DictReader(io.StringIO((tmp_path / "pilot.csv").read_text()))
    assert row["run_dir"] == place
    (tmp_path / "moved").mkdir()
    moved = Path(place).rename(tmp_path / "moved" / name_of(0))
    monkeypatch.chdir("/")
    for where in (place, moved):
        status, out, err = call(capsys, "report", where, "-o", tmp_path / "report.pdf", "--json", "-")
        if where == place:
            assert (status, len(err.splitlines())) == (2, 1), "it has been moved"
    assert status == 0, err
    assert json.loads(out)["pilots"][0]["runs"][0]["run_dir"] == str(moved)
    assert (tmp_path / "report.pdf").read_bytes().startswith(b"%PDF")
    training = finished_training(tmp_path / "trainings")
    arguments = training.config["config"]
    status, out, err = call(
        capsys,
        "jpeg",
        "train",
        "demo",
        "--size",
        32,
        "--controls",
        "none",
        "--steps",
        arguments["steps"],
        "--runs-dir",
        tmp_path / "trainings",
        "--json",
        "-",
    )
    assert status == 0, err
    assert json.loads(out)["runs"][0]["run_dir"] == str(training.path)
    assert f"seed 0: {training.path}" in err


def test_a_damaged_run_is_listed_with_the_reason_and_does_not_affect_others(
    capsys: pytest.CaptureFixture[str], runs_dir: Path, tmp_path: Path
) -> None:
    (runs_dir / name_of(2) / "result.json").write_text('"x"')
    pilot_folder(runs_dir, pilot_config(codec="png"), 0, 0.4)
    status, out, err = call(capsys, "runs", "list", "--runs-dir", runs_dir)
    assert (status, len(out.splitlines())) == (0, 4)
    (line,) = [line for line in out.splitlines() if line.startswith("damaged")]
    assert f"({name_of(2)} is damaged: result.json: it must be an object, got 'x')" in line
    _, out, _ = call(capsys, "runs", "list", "--state", "damaged", "--runs-dir", runs_dir, "--json", "-")
    assert [row["run_dir"] for row in json.loads(out)["runs"]] == [str(runs_dir / name_of(2))]
    for command in (("show",), ("resume",), ("retry",)):
        status, _, err = call(capsys, "runs", *command, runs_dir / name_of(2))
        assert (status in (1, 2), len(err.splitlines())) == (True, 1), command
    status, out, err = call(capsys, "report", runs_dir, "-o", tmp_path / "report.pdf", "--json", "-")
    assert status == 0, err
    assert {"run": name_of(2), "state": "damaged"} in json.loads(out)["unfinished"]
    assert call(capsys, "runs", "rm", runs_dir / name_of(2))[0] == 0


@pytest.mark.parametrize("output", ["out.zip", "out"])
def test_an_export_skips_links_and_pipes(
    capsys: pytest.CaptureFixture[str], runs_dir: Path, tmp_path: Path, output: str
) -> None:
    run = runs_dir / name_of(0)
    secret = tmp_path / "secret"
    secret.mkdir()
    (secret / "key").write_text("of another user")
    (run / "environment.json").symlink_to(secret / "key")
    (run / "folder").symlink_to(secret)
    (run / "inner").mkdir()
    (run / "inner" / "link").symlink_to(secret / "key")
    (run / "inner" / "kept").write_text("kept")
    os.mkfifo(run / "pipe")
    os.utime(run / "inner" / "kept", (0, 0))  # before the first date of a .zip
    status, _, err = call(capsys, "runs", "export", run, "-o", tmp_path / output)
    assert status == 0, err
    for name in ("environment.json", "folder", "inner/link", "pipe"):
        assert f"left out {run.name}/{name}: " in err
    if output == "out":
        found: dict[str, Any] = {
            path.relative_to(tmp_path / "out").as_posix(): path.read_text()
            for path in (tmp_path / "out").rglob("*")
            if path.is_file()
        }
    else:
        with zipfile.ZipFile(tmp_path / output) as archive:
            found = {name: archive.read(name).decode() for name in archive.namelist()}
    assert {name.removeprefix(f"{run.name}/") for name in found} == {
        "results.csv",
        "config.json",
        "result.json",
        "inner/kept",
    }
    assert "of another user" not in "".join(found.values())


def test_results_may_go_to_links_and_pipes_but_not_folders(
    capsys: pytest.CaptureFixture[str], runs_dir: Path, tmp_path: Path
) -> None:
    listed = ("runs", "list", "--runs-dir", runs_dir)
    (tmp_path / "link.json").symlink_to("target.json")
    assert call(capsys, *listed, "--json", tmp_path / "link.json", "--csv", "/dev/null")[0] == 0
    assert len(json.loads((tmp_path / "target.json").read_text())["runs"]) == 3
    assert os.readlink(tmp_path / "link.json") == "target.json"
    status, out, _ = call(capsys, *listed, "--json", "/dev/stdout")
    assert len(json.loads(out)["runs"]) == 3, "as with -: nothing else is on standard output"
    ours, theirs = os.pipe()
    assert call(capsys, *listed, "--csv", f"/dev/fd/{theirs}")[0] == 0
    os.close(theirs)
    with os.fdopen(ours) as file:
        assert len(list(csv.DictReader(file))) == 3
    for option in ("--json", "--csv"):
        status, _, err = call(capsys, *listed, option, tmp_path)
        assert (status, err) == (2, f"recallrate: {tmp_path} is a folder: name a file to write\n")
    status, _, err = call(capsys, "report", runs_dir, "-o", tmp_path)
    assert (status, err) == (2, f"recallrate: {tmp_path} is a folder: name a file to write\n")
    (tmp_path / "report.pdf").symlink_to("there/report.pdf")
    assert call(capsys, "report", runs_dir, "-o", tmp_path / "report.pdf")[0] == 0
    assert (runs_dir.parent / "report.pdf").read_bytes().startswith(b"%PDF")
    assert (tmp_path / "report.pdf").is_symlink()
