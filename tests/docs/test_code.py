"""Code in the documentation works: Python blocks run, commands parse, and short ones run on the demo."""

from __future__ import annotations

import ast
import re
import shlex

import pytest
import typer
from doc_pages import PAGES, ROOT, Block, DocPage

from toolkit.cli import run
from toolkit.cli.commands import app
from toolkit.foundation import threads

SLOW = {"README.md"}
"""Pages whose Python blocks train a network."""
RUN_HERE = [page for page in PAGES if page.name != "docs/extending.md"]
"""Pages whose code is run by ``test_extending.py``."""
PYTHON = [(page, block) for page in RUN_HERE for block in page.blocks if block.language == "python"]
_COMMENT = re.compile(r"\s+# .*$", re.MULTILINE)


def command_lines(page: DocPage) -> list[str]:
    """Lines of blocks without a language."""
    blocks = [_COMMENT.sub("", block.text) for block in page.blocks if not block.language]
    return [line for text in blocks for line in text.splitlines()]


SHOWN = {(page.name, line) for page in RUN_HERE for line in command_lines(page)}
COMMANDS = sorted(SHOWN | {(page.name, code) for page in RUN_HERE for code in page.inline_code})
RECALLRATE = [(name, line) for name, line in COMMANDS if line.startswith("recallrate ")]
SCRIPTS = [(name, line) for name, line in COMMANDS if re.match(r"(?:\w+=\S+ )?(?:python|pytest) ", line)]
QUICK = {"docs/production.md": "recallrate cost", "docs/neural-codecs.md": "recallrate neural list"}
TRAINING = {
    "README.md": "recallrate",
    "docs/advice.md": "recallrate advise",
    "docs/codecs.md": "recallrate probe",
    "docs/methods.md": "recallrate pilot",
    "docs/production.md": "recallrate memory",
}
"""Beginnings of the lines to run, by page; those that train a network are slow."""


@pytest.fixture(autouse=True)
def restored(tmp_path: object, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in an empty folder, and restore the number of threads, which commands set."""
    monkeypatch.chdir(str(tmp_path))
    monkeypatch.setattr(threads, "_threads", threads._threads)


def marked(pages: list[DocPage]) -> list[object]:
    return [pytest.param(page, id=page.name, marks=[pytest.mark.slow] * (page.name in SLOW)) for page in pages]


@pytest.mark.parametrize(("page", "block"), PYTHON, ids=[f"{page.name}:{block.line}" for page, block in PYTHON])
def test_a_python_block_uses_only_public_names(page: DocPage, block: Block) -> None:
    modules = [node for node in ast.walk(ast.parse(block.text)) if isinstance(node, ast.ImportFrom)]
    assert not [node.module for node in modules if (node.module or "").startswith("toolkit.")]


@pytest.mark.parametrize("page", marked(list(dict.fromkeys(page for page, _ in PYTHON))))
def test_the_python_blocks_of_a_page_run_in_order(page: DocPage, capsys: pytest.CaptureFixture[str]) -> None:
    names: dict[str, object] = {"__name__": "__main__"}
    for block in page.blocks:
        if block.language == "python":
            exec(compile(block.text, f"{page.name}:{block.line}", "exec"), names)


@pytest.mark.parametrize(("name", "line"), RECALLRATE, ids=[f"{name}: {line}" for name, line in RECALLRATE])
def test_a_command_parses(name: str, line: str) -> None:
    words = [word for word in shlex.split(line)[1:] if word != "--help"]  # prints and exits
    command = typer.main.get_command(app)
    context = command.make_context("recallrate", [], resilient_parsing=True)
    while hasattr(command, "resolve_command") and words:
        _, command, words = command.resolve_command(context, words)
    try:
        command.make_context("recallrate", words, parent=context)
    except typer.exceptions.TyperException as error:
        # text may omit arguments, a code block may not
        if (name, line) in SHOWN or not error.format_message().startswith("Missing"):
            raise


@pytest.mark.parametrize(("name", "line"), SCRIPTS, ids=[f"{name}: {line}" for name, line in SCRIPTS])
def test_a_named_script_exists(name: str, line: str) -> None:
    files = [word for word in shlex.split(line) if "/" in word and "=" not in word and not word.startswith("DATA")]
    assert all((ROOT / file).exists() for file in files)


@pytest.mark.parametrize(
    ("name", "beginning"),
    [*QUICK.items(), *(pytest.param(*item, marks=pytest.mark.slow) for item in TRAINING.items())],
)
def test_commands_run_on_the_demo(name: str, beginning: str, capsys: pytest.CaptureFixture[str]) -> None:
    lines = [line for line in command_lines(DocPage(name)) if line.startswith(beginning)]
    # DATASET, RUN: there is none; torchvision's are downloaded
    possible = [line for line in lines if not re.search(r"\b[A-Z]{3,}\b|torchvision:", line)]
    assert possible
    for line in possible:
        words = shlex.split(line)[1:]
        shortened = ["--steps", "2", "--seeds", "0"] if words[0] == "pilot" else []
        assert run([*words, *shortened]) == 0, line
