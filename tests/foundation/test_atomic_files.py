"""Files that appear complete or not at all."""

from __future__ import annotations

import errno
import json
import os
from pathlib import Path
from typing import IO

import pytest

from toolkit.foundation.errors import WorkError
from toolkit.foundation.files import cache_root, default_runs_dir, read_json, write_atomically, write_json


def test_a_write_creates_folders_and_replaces_a_file(tmp_path: Path) -> None:
    path = tmp_path / "new" / "folders" / "file.bin"
    write_atomically(path, lambda file: file.write(b"one"))
    write_atomically(path, lambda file: file.write(b"two"))
    assert path.read_bytes() == b"two"
    assert list(path.parent.iterdir()) == [path]


def test_the_old_file_stays_readable_until_the_new_one_is_complete(tmp_path: Path) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")
    seen = []

    def write(file: IO[bytes]) -> None:
        file.write(b"new")
        file.flush()
        seen.append(path.read_bytes())

    write_atomically(path, write)
    assert seen == [b"old"]
    assert path.read_bytes() == b"new"


@pytest.mark.parametrize(
    ("failure", "expected"),
    [(OSError(errno.ENOSPC, os.strerror(errno.ENOSPC)), WorkError), (RuntimeError("no"), RuntimeError)],
)
def test_a_failed_write_leaves_the_old_file_and_no_other(
    failure: Exception, expected: type[Exception], tmp_path: Path
) -> None:
    path = tmp_path / "file.bin"
    path.write_bytes(b"old")

    def write(file: IO[bytes]) -> None:
        file.write(b"half of the ne")
        raise failure

    with pytest.raises(expected) as caught:
        write_atomically(path, write)
    assert path.read_bytes() == b"old"
    assert list(tmp_path.iterdir()) == [path]
    if expected is WorkError:
        assert str(caught.value) == f"cannot write {path}: No space left on device"


def test_a_folder_or_file_in_the_way_is_a_work_error(tmp_path: Path) -> None:
    (tmp_path / "folder").mkdir()
    (tmp_path / "file").touch()
    for path in (tmp_path / "folder", tmp_path / "file" / "below"):
        with pytest.raises(WorkError, match=f"cannot write {path}: "):
            write_atomically(path, lambda file: file.write(b"x"))
    assert sorted(path.name for path in tmp_path.iterdir()) == ["file", "folder"]


def test_json_is_sorted_indented_and_reads_back(tmp_path: Path) -> None:
    value = {"b": [1, 2.5, None], "a": {"é": "ü"}}
    write_json(tmp_path / "x.json", value)
    text = (tmp_path / "x.json").read_text()
    assert text.endswith("}\n")
    assert text.index('"a"') < text.index('"b"')
    assert json.loads(text) == value == read_json(tmp_path / "x.json")


def test_nonfinite_numbers_are_refused_before_writing(tmp_path: Path) -> None:
    with pytest.raises(ValueError, match=r"JSON compliant"):
        write_json(tmp_path / "x.json", {"a": float("nan")})
    assert not list(tmp_path.iterdir())


@pytest.mark.parametrize("content", [None, b"", b"{", b"\xff\xfe"])
def test_errors_name_missing_and_damaged_json_files(content: bytes | None, tmp_path: Path) -> None:
    path = tmp_path / "x.json"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(WorkError, match=r"x\.json") as caught:
        read_json(path)
    assert "\n" not in str(caught.value)


def test_the_environment_chooses_the_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("RECALLRATE_CACHE", str(tmp_path / "c"))
    monkeypatch.setenv("RECALLRATE_RUNS", str(tmp_path / "r"))
    assert (cache_root(), default_runs_dir()) == (tmp_path / "c", tmp_path / "r")
    monkeypatch.setenv("RECALLRATE_CACHE", "")
    monkeypatch.delenv("RECALLRATE_RUNS")
    assert cache_root().name == "recallrate"
    assert default_runs_dir().parts[-2:] == ("recallrate", "runs")
