"""The index agrees with the run folders, whatever happens to it."""

from __future__ import annotations

import sqlite3
from pathlib import Path

import pytest

from toolkit.foundation.errors import UsageError
from toolkit.foundation.files import write_json
from toolkit.runs import index
from toolkit.runs.folder import RunFolder
from toolkit.runs.index import Filter, query
from toolkit.runs.queue import enqueue


@pytest.fixture
def runs_dir(tmp_path: Path) -> Path:
    """Three pilots, one of them done and one failed, and a probe."""
    for name, codec, method in (("a", "raw", "replay"), ("b", "jpeg:quality=50", "icarl"), ("c", "png", "replay")):
        config = {"dataset": "/data/birds", "codec": codec, "method": method, "align": "none", "budget": "20img"}
        RunFolder.create(tmp_path / f"pilot-{name}", "pilot", {"seed": 3, "config": config})
    RunFolder.create(tmp_path / "probe-d", "probe", {"dataset": "demo", "codecs": "raw;png", "seed": 0})
    write_json(tmp_path / "pilot-a" / "result.json", {"last_accuracy": 0.5, "seconds": 7.0})
    RunFolder(tmp_path / "pilot-b").log("failed", reason="the loss is nan")
    return tmp_path


def names(runs_dir: Path, **wanted: object) -> set[str]:
    return {row["name"] for row in query(runs_dir, Filter(**wanted))}  # type: ignore[arg-type]


def test_rows_match_the_run_folders(runs_dir: Path) -> None:
    rows = {row["name"]: row for row in query(runs_dir)}
    assert [rows[f"pilot-{name}"]["state"] for name in "abc"] == ["done", "failed", "lost"]
    assert (rows["pilot-a"]["last_accuracy"], rows["pilot-a"]["seed"]) == (0.5, 3)
    assert rows["pilot-b"]["error"] == "the loss is nan"
    assert (rows["probe-d"]["codec"], rows["probe-d"]["kind"]) == ("raw;png", "probe")
    assert query(runs_dir / "none") == []


@pytest.mark.parametrize(
    ("wanted", "found"),
    [
        ({"kind": "pilot"}, {"pilot-a", "pilot-b", "pilot-c"}),
        ({"state": "failed"}, {"pilot-b"}),
        ({"dataset": "birds", "method": "replay"}, {"pilot-a", "pilot-c"}),
        ({"codec": "jpeg"}, {"pilot-b"}),
        ({"text": "PILOT-C"}, {"pilot-c"}),
        ({"since": 4e9}, set()),
        ({"sweep": "night"}, set()),
    ],
)
def test_filters(runs_dir: Path, wanted: dict[str, object], found: set[str]) -> None:
    assert names(runs_dir, **wanted) == found


def test_an_unknown_state_is_refused() -> None:
    with pytest.raises(UsageError, match="queued, running, done"):
        Filter(state="over")


def test_changes_in_a_folder_are_visible_at_once(runs_dir: Path) -> None:
    assert names(runs_dir, state="queued") == set()
    run = RunFolder(runs_dir / "pilot-c")
    enqueue([run], runs_dir)
    run.note("Look again")
    run.join_sweep("night")
    assert (
        names(runs_dir, state="queued") == names(runs_dir, text="look") == names(runs_dir, sweep="night") == {run.name}
    )
    with run.running():
        assert names(runs_dir, state="running") == {run.name}, "a live state is judged, not stored"
    run.path.rename(runs_dir / "pilot-e")
    assert names(runs_dir, kind="pilot") == {"pilot-a", "pilot-b", "pilot-e"}


@pytest.mark.parametrize("harm", ["missing", "damaged", "another version"])
def test_an_unusable_index_is_rebuilt_and_notes_survive(runs_dir: Path, harm: str) -> None:
    RunFolder(runs_dir / "pilot-a").note("kept")
    before = query(runs_dir)
    path = runs_dir / "index.sqlite"
    if harm == "missing":
        path.unlink()
    elif harm == "damaged":
        path.write_bytes(b"no database, but long enough to look like one" * 100)
    else:
        with sqlite3.connect(path) as other:
            other.execute("PRAGMA user_version=99")
            other.execute("DROP TABLE runs")
        other.close()
    assert query(runs_dir) == before
    assert names(runs_dir, text="kept") == {"pilot-a"}
    with sqlite3.connect(path) as made:
        assert made.execute("PRAGMA user_version").fetchone() == (index.VERSION,)
        assert made.execute("PRAGMA journal_mode").fetchone() == ("wal",)
    made.close()


def test_a_folder_from_a_newer_version_is_listed_with_the_reason(runs_dir: Path) -> None:
    write_json(runs_dir / "pilot-c" / "config.json", {"format": 99, "kind": "pilot"})
    (row,) = query(runs_dir, Filter(state="unreadable"))
    assert row["name"] == "pilot-c"
    assert "newer version" in row["error"]
