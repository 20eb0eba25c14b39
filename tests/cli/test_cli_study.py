"""``study`` as used by scripts."""

from __future__ import annotations

import csv
import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import pytest
from cli_samples import call
from study_samples import Starter

from toolkit.runs.contents import require
from toolkit.runs.folder import RunFolder
from toolkit.study.contents import StudyResult

STUDY = ("study", "demo", "--size", 32, "--budget", "4img", "--codecs", "raw;png;jpeg:quality={50,90};webp:quality=50")


@pytest.fixture
def start(monkeypatch: pytest.MonkeyPatch) -> Starter:
    """Runs get known results, without a supervisor."""
    made = Starter()

    def in_queue(runs: Sequence[RunFolder], runs_dir: Path, **others: Any) -> None:
        made(runs, runs_dir)

    monkeypatch.setattr("toolkit.study.conduct.in_queue", in_queue)
    return made


def test_one_command_leads_to_a_decision_and_a_pdf(
    start: Starter, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    files = ("--json", tmp_path / "s.json", "--csv", tmp_path / "s.csv", "-o", tmp_path / "s.pdf")
    status, out, err = call(capsys, *STUDY, "--runs-dir", tmp_path / "runs", *files)
    assert status == 0
    assert "At most 13 pilots, about" in err, "said before the start"
    assert "Store exemplars as jpeg:quality=90, align both." in out
    assert "bundle export pilot-demo-jpeg-quality-90-both" in out
    found = json.loads((tmp_path / "s.json").read_text())
    require(StudyResult, found, tmp_path / "s.json")
    assert found["report"] == str(tmp_path / "s.pdf")
    assert (tmp_path / "s.pdf").read_bytes().startswith(b"%PDF")
    assert set(found["decision"]) >= {
        *("codec", "align", "eps", "probability_within_eps", "gain_over_raw", "gain_ci95", "gain_over_lossless"),
        *("runner_up", "difference_ci95", "pilots", "to_settle"),
    }
    with open(tmp_path / "s.csv") as file:
        assert next(csv.DictReader(file))["codec"] == "jpeg:quality=90"


def test_the_same_command_shows_the_decision_again(
    start: Starter, capsys: pytest.CaptureFixture[str], tmp_path: Path
) -> None:
    call(capsys, *STUDY, "--runs-dir", tmp_path)
    before = len(start.started)
    status, out, err = call(capsys, *STUDY, "--runs-dir", tmp_path, "--json", "-")
    assert (status, len(start.started)) == (0, before)
    assert json.loads(out)["decision"]["codec"] == "jpeg:quality=90"
    assert "Store exemplars as" in err


def test_a_dry_run_starts_nothing(start: Starter, capsys: pytest.CaptureFixture[str], tmp_path: Path) -> None:
    status, out, _ = call(capsys, *STUDY, "--runs-dir", tmp_path / "runs", "--dry-run", "--json", "-")
    assert status == 0
    assert json.loads(out)["pilots"] == 13
    assert start.started == []
    assert not (tmp_path / "runs").exists()


@pytest.mark.parametrize(
    ("words", "reason"),
    [
        (("--effort", "lazy"), "effort must be one of quick, usual, thorough, got 'lazy'"),
        (("--eps", -1), "eps must be 0 to 100"),
        (("--hours", 0), "hours must be more than 0"),
        (("--method", "finetune"), "finetune keeps none"),
        (("--set", "codec=png"), "--set takes NAME=VALUE"),
        (("--lang", "xx"), "language must be one of"),
        (("--backend", "spark"), "--backend must be local or ray"),
        (("--gpus", 1), "--address and --gpus need --backend ray"),
        (("--backend", "ray", "--address", "http://head:8265"), "of one of its nodes"),
        (("--budget", "many"), "many"),
        (("--tune", "head", "--network", "auto"), "random weights"),
    ],
)
def test_a_wrong_option_is_one_line(
    start: Starter, capsys: pytest.CaptureFixture[str], tmp_path: Path, words: tuple[object, ...], reason: str
) -> None:
    status, _, err = call(capsys, *STUDY, "--runs-dir", tmp_path, *words)
    assert status == 2
    assert reason in err
    assert len(err.strip().splitlines()) == 1
    assert start.started == []
