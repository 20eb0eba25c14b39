"""Datasets on the command line: splits named by the user, and notes printed on opening."""

from __future__ import annotations

import json
import os
import shlex
from pathlib import Path

import numpy as np
import pytest
from cli_samples import call
from PIL import Image
from typer.main import get_command

from toolkit.cli import run
from toolkit.cli.commands import app
from toolkit.data.spec import with_splits

OPENING = ("data", "probe", "images", "advise", "pilot", "memory build", "jpeg train", "neural train")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Splits of two classes under unknown names, and an unrelated folder beside them."""
    rng = np.random.default_rng(0)
    for name, count in {"A/dark": 8, "A/light": 8, "B/dark": 3, "B/light": 3, "C/dark": 1}.items():
        (tmp_path / "set" / name).mkdir(parents=True)
        for index in range(count):
            level = 60 if name.endswith("dark") else 180
            pixels = np.clip(level + rng.integers(-40, 40, (16, 16, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(tmp_path / "set" / name / f"{index}.png")
    return tmp_path / "set"


def test_every_command_that_opens_a_dataset_accepts_its_splits() -> None:
    for words in OPENING:
        parameters = _command(words).params
        assert any(parameter.name == "dataset" for parameter in parameters), words
        assert {"--train", "--test"} <= {option for parameter in parameters for option in parameter.opts}, words


def _command(words: str):  # type: ignore[no-untyped-def]
    command = get_command(app)
    for word in words.split():
        command = command.commands[word]
    return command


def test_data_opens_the_splits_that_are_named(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    status, out, err = call(capsys, "data", folder, "--train", "A", "--test", "B", "--size", 16, "--json", "-")
    assert status == 0, err
    facts = json.loads(out)
    assert (facts["train_images"], facts["test_images"]) == (16, 6)
    assert facts["dataset"] == f"{folder}?train=A&test=B"
    status, out, err = call(capsys, "data", facts["dataset"], "--size", 16, "--json", "-")
    assert json.loads(out) == facts
    assert call(capsys, "data", folder, "--test", "B")[0] == 2
    assert call(capsys, "data", "demo", "--train", "A")[0] == 2


def test_notes_and_left_out_files_are_printed_and_in_the_json(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    os.mkfifo(folder / "A/dark/pipe\n.png")
    status, out, err = call(capsys, "data", folder, "--train", "A", "--size", 16, "--json", "-")
    assert status == 0, err
    facts = json.loads(out)
    assert facts["quarantine"] == [{"file": r"A/dark/pipe\n.png", "reason": "neither a file nor a folder"}]
    assert "no test split" in facts["notes"][0]
    assert r"left out: A/dark/pipe\n.png: neither a file nor a folder" in err.splitlines()
    assert f"note: {facts['notes'][0]}" in err.splitlines()
    memory = folder.parent / "memory.recall"
    status, _, err = call(
        capsys,
        "memory",
        "build",
        folder,
        "--train",
        "A",
        "-o",
        memory,
        "--codec",
        "png",
        "--budget",
        "1MB",
        "--size",
        16,
        "--selection",
        "random",
    )
    assert status == 0, err
    assert r"left out: A/dark/pipe\n.png: neither a file nor a folder" in err.splitlines()


def test_an_unknown_layout_exits_2_with_one_line(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    (folder / "C").rename(folder / "train")
    status, out, err = call(capsys, "data", folder)
    assert (status, out, len(err.splitlines())) == (2, "", 1)
    assert "read train as a training split, A, B as neither" in err
    assert "--train FOLDER --test FOLDER" in err


def test_a_run_stores_its_splits_and_resumes_from_any_folder(
    capsys: pytest.CaptureFixture[str], folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(folder.parent)
    given = [
        "--size",
        16,
        "--initial",
        2,
        "--increment",
        1,
        "--budget",
        "2img",
        "--steps",
        2,
        "--batch-size",
        4,
        "--network",
        "resnet8",
        "--runs-dir",
        tmp_path / "runs",
        "--json",
        "-",
    ]
    status, out, err = call(capsys, "pilot", folder.name, "--train", "A", "--test", "B", *given)
    assert status == 0, err
    (first,) = json.loads(out)["runs"]
    config = json.loads((tmp_path / "runs" / first["run_dir"] / "config.json").read_text())["config"]
    assert config["dataset"] == with_splits(str(folder), "A", "B")
    monkeypatch.chdir("/")
    status, out, err = call(
        capsys, "runs", "show", Path(first["run_dir"]).name, "--runs-dir", tmp_path / "runs", "--json", "-"
    )
    assert status == 0, err
    command = shlex.split(json.loads(out)["command"])
    assert command[:3] == ["recallrate", "pilot", with_splits(str(folder), "A", "B")]
    assert run([*command[1:], "--runs-dir", str(tmp_path / "runs"), "--json", str(tmp_path / "again.json")]) == 0
    (again,) = json.loads((tmp_path / "again.json").read_text())["runs"]
    assert again == first
