"""Exported folders: one per class, whatever the class names."""

from __future__ import annotations

import json
import unicodedata
from pathlib import Path

import pytest
from hypothesis import given
from hypothesis import strategies as st
from memory_samples import pictures

from toolkit.cli import run as recallrate
from toolkit.foundation.errors import UsageError
from toolkit.memory.export import export_files, folder_names
from toolkit.memory.store import ExemplarMemory

NAMES = [
    "a b",
    "a_b",
    "C#",
    "C++",
    "C",
    "c",
    "x" * 300,
    "ü" * 200,
    "CON",
    "nul.txt",
    "com1",
    "..",
    "",
    "/etc/passwd",
    "é",
    "e\u0301",
    "classes.json",
    "a_b-1",
    "tr.",
    "ﬁ",
    "fi",
    "\n",
    "a\0b",
]


def test_every_class_has_a_folder_of_its_own_and_the_map_names_it(tmp_path: Path) -> None:
    names = dict(enumerate(NAMES))
    with ExemplarMemory(tmp_path / "m.recall", 900_000, "png") as memory:
        memory.add_images({label: pictures(2, seed=label) for label in names}, names)
        assert export_files(memory, tmp_path / "out") == (2 * len(NAMES), [])
    folders = [path for path in (tmp_path / "out").iterdir() if path.is_dir()]
    assert [len(list(folder.iterdir())) for folder in folders] == [2] * len(NAMES)
    classes = json.loads((tmp_path / "out" / "classes.json").read_text())
    assert {entry["label"]: entry["class"] for entry in classes.values()} == names
    assert set(classes) == {folder.name for folder in folders}


@given(st.lists(st.text(max_size=12), max_size=8))
def test_folders_differ_on_file_systems_that_ignore_case_and_unicode_form(names: list[str]) -> None:
    found = list(folder_names(dict(enumerate(names))).values())
    seen = {unicodedata.normalize("NFKD", unicodedata.normalize("NFKD", name).casefold()) for name in found}
    assert len(seen) == len(names)
    for name in found:
        assert 0 < len(name.encode()) <= 255
        assert not set(name) & set('/\\:*?"<>|\0')
        assert not name.startswith(".")
        assert not name.endswith((".", " "))


@pytest.mark.parametrize("name", ["CON", "con", "Aux.txt", "LPT9", "com1.tar.gz", "nul"])
def test_names_that_windows_keeps_for_devices_are_not_used(name: str) -> None:
    assert folder_names({3: name}) == {3: f"_{name}"}


def test_a_nonempty_folder_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path, out = tmp_path / "m.recall", tmp_path / "out"
    with ExemplarMemory(path, 20_000, "raw") as memory:
        memory.add_images({0: pictures(2)}, {0: "cat"})
    out.mkdir()
    (out / "mine.txt").touch()
    assert recallrate(["memory", "export", str(path), "-o", str(out)]) == 2
    assert "not an empty folder" in capsys.readouterr().err
    (out / "mine.txt").unlink()
    assert recallrate(["memory", "export", str(path), "-o", str(out)]) == 0
    assert "wrote 2 files to" in capsys.readouterr().err
    with ExemplarMemory(path) as memory, pytest.raises(UsageError, match="not an empty folder"):
        export_files(memory, out)
