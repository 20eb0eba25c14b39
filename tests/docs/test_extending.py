"""docs/extending.md: every example is installed as the page says, with its row in its table, and run."""

from __future__ import annotations

import importlib
import json
import re
import shlex
import sys
import tomllib
from pathlib import Path
from types import ModuleType
from typing import Any

import numpy as np
import pytest
from streamlit.testing.v1 import AppTest

from toolkit.advice.rules.registry import RULES, rule_names
from toolkit.cli import run
from toolkit.cli.commands import app
from toolkit.codecs.registry import CODECS
from toolkit.codecs.spec import expand_grid, parse_codec
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.language.catalogue import LANGUAGES, language
from toolkit.learning.catalog import METHODS
from toolkit.memory.store import ExemplarMemory
from toolkit.ui import shell

ROOT = Path(__file__).parents[2]
PAGE = (ROOT / "docs" / "extending.md").read_text(encoding="utf-8")
ONE_THREAD = ("--threads", "1")
"""A task this small takes longer with several threads, and far longer next to other tests."""
BLOCK = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)


def module_name(path: str) -> str:
    return path.removesuffix(".py").replace("/", ".")


class Example:
    """A section of the page, with its new file installed as a module.

    Attributes:
        module: the new file.
        row: the code to add to a table.
        names: what the row sees: its imports, and what its file has.
        texts: for each catalogue, by dotted key.
        commands: lines for a shell.
    """

    def __init__(self, title: str, monkeypatch: pytest.MonkeyPatch) -> None:
        section = PAGE.split(f"\n## {title}\n")[1].split("\n## ")[0]
        self.texts: dict[str, dict[str, str]] = {}
        self.commands: list[str] = []
        for kind, text in BLOCK.findall(section):
            path = text.split("\n", 1)[0].removeprefix("# ")
            if kind == "toml":
                found = tomllib.loads(text)
                self.texts[path] = {f"{part}.{key}": said for part in found for key, said in found[part].items()}
            elif kind == "":
                self.commands += text.splitlines()
            elif (ROOT / path).exists():
                self._read_row(path, text)
            else:
                self._install(path, text, monkeypatch)

    def _install(self, path: str, text: str, monkeypatch: pytest.MonkeyPatch) -> None:
        assert (ROOT / path).parent.is_dir()
        self.module = ModuleType(module_name(path))
        package, _, name = self.module.__name__.rpartition(".")
        monkeypatch.setitem(sys.modules, self.module.__name__, self.module)
        monkeypatch.setattr(importlib.import_module(package), name, self.module, raising=False)
        exec(compile(text, path, "exec"), vars(self.module))

    def _read_row(self, path: str, text: str) -> None:
        lines = text.splitlines()[1:]
        imports = [line for line in lines if line.startswith("from ")]
        self.row = "\n".join(lines[len(imports) :])
        self.names = {**vars(importlib.import_module(module_name(path)))}
        exec("\n".join(imports), self.names)

    def entry(self) -> Any:
        """The row of a table of kinds."""
        return eval(f"({self.row})", self.names)[0]

    def run(self, *more: str) -> None:
        """Run the command lines in this process with further arguments."""
        assert self.commands
        for line in self.commands:
            program, *arguments = shlex.split(line)
            assert program == "recallrate"
            assert run([*arguments, *more]) == 0


def photograph(height: int, width: int, count: int = 3) -> np.ndarray:
    x, y = np.meshgrid(np.arange(width), np.arange(height))
    return np.stack([np.stack([4 * x + k, 3 * y, 2 * (x + y)], axis=2) for k in range(count)]).astype(np.uint8)


def test_a_codec(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    example = Example("A codec", monkeypatch)
    kind = example.entry()
    monkeypatch.setitem(CODECS, kind.name, kind)
    assert expand_grid("raw;bits:keep={2,4}") == ["raw", "bits:keep=2", "bits:keep=4"]
    with pytest.raises(UsageError, match=r"bits: keep must be 1..7, got '8'"):
        parse_codec("bits:keep=8")

    images = photograph(20, 24)
    codec, elsewhere = parse_codec("bits:keep=3"), parse_codec("bits:keep=3")
    payloads = codec.encode(images)
    elsewhere.load_shared(codec.shared_state())
    assert (elsewhere.decode(payloads, (20, 24)) == images // 32 * 32).all()
    assert codec.encode(images[1:2]) == payloads[1:2]
    assert (codec.shared_bytes(), codec.weights_bytes(), codec.lossless, codec.extension) == (4, 0, False, "")
    with pytest.raises(UsageError, match=r"bits:keep=3: all images must have \(height, width\) \(20, 24\)"):
        codec.encode(photograph(24, 20))
    for damaged in (payloads[0][:-6], b"", b"nothing", payloads[0][:4]):
        with pytest.raises(WorkError, match="a stored exemplar"):
            codec.decode([damaged])

    with ExemplarMemory(tmp_path / "m.recall", 16_000, "downscale:factor=2|bits:keep=4") as memory:
        memory.add_images({0: images, 1: images[:1]})
        assert memory.verify() == []
    example.run(*ONE_THREAD)


def test_a_method(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("RECALLRATE_RUNS", str(tmp_path))
    example = Example("A method", monkeypatch)
    kind = example.entry()
    monkeypatch.setitem(METHODS, kind.name, kind)
    example.run(*ONE_THREAD)
    (folder,) = tmp_path.glob("pilot-*")
    result = json.loads((folder / "result.json").read_text())
    assert 0 <= result["last_accuracy"] <= 1
    with ExemplarMemory(folder / "memory.recall") as memory:
        assert {len(extra) for extra in memory.extras()} == {1}
        stored = sum(map(len, memory.all_payloads()[0]))
        assert memory.content_bytes == stored + (2 + 1) * len(memory) + memory.codec.shared_bytes()


def test_a_rule(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    example = Example("A rule", monkeypatch)
    rule = example.entry()
    monkeypatch.setitem(RULES, rule.name, rule)
    assert rule_names()[-1] == "smallest"
    assert rule_names()[0] == "predicted-gain"
    example.run(*ONE_THREAD, "--json", str(tmp_path / "advice.json"))
    advice = json.loads((tmp_path / "advice.json").read_text())
    recommended, fewest = advice["recommended"], min(row["stored_bytes"] for row in advice["settings"])
    assert recommended["rule"] == "smallest"
    assert next(row["stored_bytes"] for row in advice["settings"] if row["codec"] == recommended["codec"]) == fewest
    assert recommended["interval"] is None
    assert not any(reason["key"].startswith("reason.regret") for reason in recommended["sentences"]["reasons"])
    assert "rule smallest was never compared with pilots: the error of its picks is not known" in advice["notes"]


def test_a_rule_appears_in_the_app(monkeypatch: pytest.MonkeyPatch) -> None:
    rule = Example("A rule", monkeypatch).entry()
    monkeypatch.setitem(RULES, rule.name, rule)

    def probe_page() -> None:
        from toolkit.ui.views import probe

        probe.page()

    drawn = AppTest.from_function(probe_page, default_timeout=120).run()
    assert not drawn.exception
    assert "smallest" in drawn.selectbox(key="probe_rule").options


def test_a_page(monkeypatch: pytest.MonkeyPatch) -> None:
    example = Example("A page", monkeypatch)
    for code in LANGUAGES:
        for key, text in example.texts[f"toolkit/language/{code}.toml"].items():
            monkeypatch.setitem(language(code).texts, key, text)  # type: ignore[arg-type]
    row = eval(f"{{{example.row}}}", example.names)
    ((name, (page, _)),) = row.items()
    monkeypatch.setattr(shell, "PAGES", {**shell.PAGES, **row})
    assert page is example.module.page

    app = AppTest.from_file(str(ROOT / "app.py"), default_timeout=120).run()
    assert not app.exception
    assert app.session_state["pages"][name].title == "Sizes"

    def draw() -> None:
        from toolkit.ui.views import sizes  # type: ignore[attr-defined]

        sizes.page()

    drawn = AppTest.from_function(draw, default_timeout=120).run()
    assert not drawn.exception
    assert [title.value for title in drawn.title] == ["Sizes"]
    assert int(drawn.metric[0].value.replace(",", "")) > 0
    assert drawn.code[0].value == "recallrate data demo --size 32"


def test_a_command(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    monkeypatch.setattr(app, "registered_commands", list(app.registered_commands))
    example = Example("A command", monkeypatch)
    exec(example.row, example.names)
    example.run()
    found = json.loads(capsys.readouterr().out)
    assert len(found["classes"]) == 10
    assert run(["classes", "--help"]) == 0
    assert "Count the images of each class." in capsys.readouterr().out


def test_the_table_names_the_files_of_the_examples() -> None:
    rows = re.findall(r"^\| a (\w+) \| `([^`]+)` \| .*`(toolkit/[^`]+)` \|", PAGE, re.MULTILINE)
    assert [kind for kind, _, _ in rows] == ["codec", "method", "rule", "page", "command"]
    for kind, new, table in rows:
        section = PAGE.split(f"\n## A {kind}\n")[1].split("\n## ")[0]
        paths = [
            text.split("\n", 1)[0].removeprefix("# ") for found, text in BLOCK.findall(section) if found == "python"
        ]
        assert table in paths
        assert Path(new).parent in {Path(path).parent for path in paths}
