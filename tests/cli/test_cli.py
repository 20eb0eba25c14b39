"""The command line as used by scripts: JSON on standard output, messages on standard error, exit statuses."""

from __future__ import annotations

import csv
import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from cli_samples import call
from PIL import Image

from toolkit.cli import run


def call_json(capsys: pytest.CaptureFixture[str], *arguments: object) -> Any:
    status, out, err = call(capsys, *arguments, "--json", "-")
    assert status == 0, err
    return json.loads(out)


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """Two classes of eight noisy 20-pixel images, and one file that is not an image."""
    rng = np.random.default_rng(0)
    root = tmp_path / "images"
    for name, level in (("dark", 60), ("light", 180)):
        (root / name).mkdir(parents=True)
        for index in range(8):
            pixels = np.clip(level + rng.integers(-40, 40, (20, 20, 3)), 0, 255).astype(np.uint8)
            Image.fromarray(pixels).save(root / name / f"{index}.png")
    (root / "dark" / "broken.jpg").write_text("this is no picture")
    return root


def test_data_reports_classes_bytes_and_quarantine(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    facts = call_json(capsys, "data", folder, "--size", 16)
    assert [(row["class"], row["train"] + row["test"]) for row in facts["classes"]] == [("dark", 8), ("light", 8)]
    assert [(item["file"].split("/")[-1], item["reason"]) for item in facts["quarantine"]] == [
        ("broken.jpg", "not an image in a known format")
    ]
    assert any("20%" in note for note in facts["notes"])


def test_strict_makes_a_broken_file_a_failure(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    status, out, err = call(capsys, "data", folder, "--strict", "--json", "-")
    assert (status, out) == (1, "")
    assert "broken.jpg" in err
    assert len(err.splitlines()) == 1


def test_csv_has_one_row_per_class(capsys: pytest.CaptureFixture[str], folder: Path) -> None:
    status, out, _ = call(capsys, "data", folder, "--csv", "-")
    assert status == 0
    assert [row["class"] for row in csv.DictReader(io.StringIO(out))] == ["dark", "light"]


def test_probe_prints_the_table_and_writes_files(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = (
        "probe",
        "demo",
        "--size",
        16,
        "--codecs",
        "raw;jpeg:quality={20,80}",
        "--budget",
        "4img",
        "--images",
        40,
        "--extractor",
        "self",
        "--threads",
        1,
    )
    status, out, _ = call(capsys, *arguments, "--json", tmp_path / "p.json", "--csv", tmp_path / "p.csv")
    assert status == 0
    assert "jpeg:quality=20" in out
    table = json.loads((tmp_path / "p.json").read_text())
    assert [setting["codec"] for setting in table["settings"]] == ["raw", "jpeg:quality=20", "jpeg:quality=80"]
    assert table["settings"][0]["exemplars_per_class"] == 4
    rows = list(csv.DictReader((tmp_path / "p.csv").open()))
    assert [float(row["stored_bytes"]) for row in rows] == [setting["stored_bytes"] for setting in table["settings"]]


def test_pilot_runs_seeds_and_resumes(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    arguments = (
        "pilot",
        "demo",
        "--size",
        16,
        "--initial",
        5,
        "--increment",
        5,
        "--codec",
        "jpeg:quality=50",
        "--budget",
        "3img",
        "--align",
        "both",
        "--steps",
        2,
        "--seeds",
        "0,1",
        "--runs-dir",
        tmp_path,
    )
    report = call_json(capsys, *arguments)
    assert [entry["seed"] for entry in report["runs"]] == [0, 1]
    assert report["align"] == "both"
    assert report["ci95"]["last_accuracy"] is not None
    assert all(entry["memory_bytes"] <= report["budget_bytes"] for entry in report["runs"])
    assert call_json(capsys, *arguments)["runs"] == report["runs"]


def test_memory_build_inspect_verify_export(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "m.recall"
    built = call_json(
        capsys,
        "memory",
        "build",
        "demo",
        "-o",
        path,
        "--size",
        16,
        "--codec",
        "jpeg:quality=40,entropy=huffman",
        "--budget",
        "3img",
        "--extractor",
        "self",
    )
    assert built["memory_bytes"] <= built["budget_bytes"]
    assert call_json(capsys, "memory", "inspect", path) == built
    assert call_json(capsys, "memory", "verify", path) == {"exemplars": built["exemplars"], "damaged": []}
    assert call(capsys, "memory", "export", path, "-o", tmp_path / "out")[0] == 0
    files = list((tmp_path / "out").rglob("*.jpg"))
    assert len(files) == built["exemplars"]
    assert Image.open(files[0]).size == (16, 16)
    assert (tmp_path / "out" / "disc-rising").is_dir()

    data = bytearray(path.read_bytes())
    stored = files[0].read_bytes()
    tail = data.index(stored[-40:-2])  # the end of the scan is stored unchanged
    data[tail + 10] ^= 0x55
    path.write_bytes(data)
    status, out, err = call(capsys, "memory", "verify", path, "--json", "-")
    assert status == 1
    assert len(json.loads(out)["damaged"]) == 1
    assert "1 of" in err
    assert call(capsys, "memory", "build", "demo", "-o", path, "--codec", "png", "--budget", "3img")[0] == 2


def test_a_sharded_memory_has_the_same_commands(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    path = tmp_path / "memory"
    wanted = ["--size", 16, "--codec", "jpeg:quality=40", "--budget", "3img", "--selection", "random"]
    built = call_json(capsys, "memory", "build", "demo", "-o", path, *wanted, "--shards", 2, "--workers", 1)
    assert built["memory_bytes"] <= built["budget_bytes"]
    assert call_json(capsys, "memory", "inspect", path) == built
    intact = {"exemplars": built["exemplars"], "damaged": []}
    assert call_json(capsys, "memory", "verify", path / "manifest.json") == intact
    assert call(capsys, "memory", "export", path, "-o", tmp_path / "out")[0] == 0
    assert len(list((tmp_path / "out").rglob("*.jpg"))) == built["exemplars"]
    status, _, err = call(capsys, "memory", "build", "demo", "-o", tmp_path / "m", *wanted, "--backend", "ray")
    assert (status, "add --shards N" in err) == (2, True)
    unreachable = ["--shards", 2, "--backend", "ray", "--address", "127.0.0.1:1"]
    pytest.importorskip("ray")
    status, _, err = call(capsys, "memory", "build", "demo", "-o", tmp_path / "m", *wanted, *unreachable)
    assert (status, err.count("\n")) == (1, 1)
    assert "no Ray cluster answers at 127.0.0.1:1" in err


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["data", "/no/such/folder"], "does not exist"),
        (["data", "torchvision:MNIST"], "CIFAR10"),
        (["data", "demo", "--size", "4"], "8..1024"),
        (["data", "demo", "--threads", "-1"], "threads"),
        (["probe", "demo", "--codecs", "jpg"], "choose one of"),
        (["probe", "demo", "--codecs", "jpeg:quality=500"], "1..100"),
        (["probe", "demo", "--codecs", "jpeg:speed=5"], "quality"),
        (["probe", "demo", "--budget", "plenty"], "20img"),
        (["probe", "demo", "--extractor", "magic"], "stage0"),
        (["pilot", "demo", "--codec", "raw", "--seeds", "a,b"], "0,1,2"),
        (["pilot", "demo", "--codec", "raw", "--initial", "11"], "1..10"),
        (["pilot", "demo", "--codec", "raw", "--budget", "10"], "smallest that works"),
        (["pilot", "demo", "--codec", "raw", "--align", "some"], "train"),
        (["pilot", "demo", "--codec", "raw", "--device", "tpu"], "cpu"),
        (["memory", "inspect", "/no/such/memory"], "does not exist"),
        (
            ["memory", "build", "demo", "-o", "x.recall", "--codec", "raw", "--budget", "1img", "--selection", "best"],
            "herding",
        ),
        (["pilot", "demo", "--codec", "raw", "--set", "speed=9"], "schedule"),
        (["pilot", "demo", "--codec", "raw", "--set", "schedule=linear"], "cosine"),
        (["pilot", "demo", "--recipe", "magic"], "pycil-icarl"),
        (["pilot", "demo", "--method", "magic"], "finetune, joint, replay"),
        (["pilot", "demo", "--set", "speed=3"], "speed=3"),
        (["nonsense"], "nonsense"),
        (["probe"], "Missing argument 'dataset'. (`recallrate probe --help` shows the options)"),
        (["probe", "demo", "--seed", "4294967296"], "--seed"),
        (["probe", "demo", "--json", "-", "--csv", "-"], "cannot both take standard output"),
        (["probe", "demo", "--json", "/"], "/ is a folder"),
        (["regret", "--extractor", "self"], "--runs-dir"),
        (["regret", "--runs-dir", "/no/such/folder"], "is not a folder of runs"),
    ],
)
def test_wrong_usage_exits_2_and_names_accepted_values(
    capsys: pytest.CaptureFixture[str], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, arguments: list[str], said: str
) -> None:
    monkeypatch.chdir(tmp_path)
    status, out, err = call(capsys, *arguments)
    assert (status, out) == (2, "")
    assert said in err
    assert len(err.splitlines()) == 1
    assert list(tmp_path.iterdir()) == []


def test_a_command_group_without_a_command_shows_its_help(capsys: pytest.CaptureFixture[str]) -> None:
    status, out, err = call(capsys, "memory")
    assert (status, err) == (2, "")
    assert "inspect" in out


def test_a_failure_is_one_line_and_debug_shows_the_traceback(
    capsys: pytest.CaptureFixture[str], folder: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def broken(*args: object, **kwargs: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("toolkit.data.catalog.load_dataset", broken)
    assert run(["data", str(folder)]) == 1
    assert capsys.readouterr().err == "recallrate: [Errno 28] No space left on device\n"
    assert run(["data", str(folder)], debug=True) == 1
    assert "Traceback" in capsys.readouterr().err


def test_a_warning_is_one_line_without_source_location() -> None:
    code = (
        "import warnings\nfrom toolkit import cli\n"
        "cli.run = lambda *_: warnings.warn('two\\nlines', stacklevel=2)\ncli.main(['data'])"
    )
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    assert done.stderr == "recallrate: warning: two lines\n"


def test_an_unwritable_runs_folder_is_reported_in_one_line(capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    status, _, err = call(
        capsys,
        "pilot",
        "demo",
        "--size",
        16,
        "--codec",
        "raw",
        "--budget",
        "2img",
        "--steps",
        1,
        "--runs-dir",
        tmp_path / "file" / "runs",
    )
    assert status == 1
    assert "cannot write" in err
    assert len(err.strip().splitlines()) == 1
