"""Rules of the architecture: rooms import only downwards, and heavy libraries load only when used."""

from __future__ import annotations

import ast
import subprocess
import sys
from graphlib import CycleError, TopologicalSorter
from pathlib import Path

import pytest

import toolkit

ROOT = Path(toolkit.__file__).parent
FLOORS = {
    "foundation": 0,
    "language": 1,
    "data": 1,
    "jpeg": 1,
    "runs": 1,
    "codecs": 2,
    "memory": 3,
    "training": 3,
    "features": 4,
    "probe": 5,
    "learning": 5,
    "robustness": 5,
    "codec_training": 5,
    "advice": 6,
    "jpeg_dl": 6,
    "pilots": 7,
    "study": 8,
    "production": 8,
    "jobs": 9,
    "report": 10,
    "ui": 11,
    "cli": 12,
}
HEAVY = {"compressai", "numba", "timm", "ray", "foolbox", "typst", "torchvision"}


def imported(path: Path) -> set[str]:
    """Every module named in an import statement anywhere in a file, inside functions and under TYPE_CHECKING too."""
    names: set[str] = set()
    for node in ast.walk(ast.parse(path.read_text())):
        if isinstance(node, ast.Import):
            names.update(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.module:
            names.add(node.module)
            names.update(f"{node.module}.{alias.name}" for alias in node.names)
    return names


SOURCES = sorted(path for path in ROOT.rglob("*.py") if path.parent != ROOT)


@pytest.mark.parametrize("path", SOURCES, ids=lambda path: path.relative_to(ROOT).as_posix())
def test_a_room_imports_only_from_itself_and_from_lower_floors(path: Path) -> None:
    room = path.relative_to(ROOT).parts[0]
    for name in imported(path):
        parts = name.split(".")
        if parts[0] != "toolkit" or len(parts) < 2 or parts[1] not in FLOORS or parts[1] == room:
            continue
        assert FLOORS[parts[1]] < FLOORS[room], f"{room} (floor {FLOORS[room]}) imports {name}"


def module_of(path: Path) -> str:
    parts = path.relative_to(ROOT.parent).with_suffix("").parts
    return ".".join(parts[:-1] if parts[-1] == "__init__" else parts)


def test_no_files_form_an_import_cycle() -> None:
    files = {module_of(path): path for path in ROOT.rglob("*.py")}
    # a name imported from a module is that module, not the package around it; toolkit itself loads on demand
    known = {name: {one for one in imported(path) if one in files} - {name, "toolkit"} for name, path in files.items()}
    with_names = {
        name: {one for one in imports if not any(other.startswith(f"{one}.") for other in imports)}
        for name, imports in known.items()
    }
    try:
        TopologicalSorter(with_names).prepare()
    except CycleError as error:
        pytest.fail(f"these files import each other: {' <- '.join(error.args[1])}")


def test_only_the_app_and_the_command_line_import_streamlit_or_typer() -> None:
    for path in SOURCES:
        room = path.relative_to(ROOT).parts[0]
        if room not in ("cli", "ui"):
            assert not {name.split(".")[0] for name in imported(path)} & {"streamlit", "typer", "click"}, path


def loaded_after(statement: str) -> set[str]:
    code = f"{statement}\nimport sys; print(*sys.modules)"
    done = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    return {name.split(".")[0] for name in done.stdout.split()}


def test_importing_the_toolkit_imports_no_heavy_library() -> None:
    assert not loaded_after("import toolkit") & (HEAVY | {"torch", "streamlit", "numpy", "PIL", "imagecodecs"})


def test_the_help_of_the_command_line_needs_no_torch() -> None:
    loaded = loaded_after("from toolkit.cli import run\nrun(['--help'])\nrun(['data', '--help'])")
    assert not loaded & (HEAVY | {"torch", "streamlit"})


@pytest.mark.parametrize(
    "module",
    [
        "toolkit.runs.folder",
        "toolkit.runs.index",
        "toolkit.pilots.config",
        "toolkit.jobs.worker",
        "toolkit.jobs.supervisor",
        "toolkit.jobs.sweep",
        "toolkit.probe.request",
        "toolkit.advice.request",
        "toolkit.advice.rules.registry",
        "toolkit.learning.catalog",
        "toolkit.jobs.kinds",
        "toolkit.jobs.listing",
        "toolkit.runs.start",
        "toolkit.data.catalog",
        "toolkit.codecs.spec",
    ],
)
def test_modules_used_by_the_app_do_not_import_torch(module: str) -> None:
    assert not loaded_after(f"import {module}") & (HEAVY | {"torch"})


def test_optional_libraries_load_only_when_used() -> None:
    assert not loaded_after("import toolkit.pilots.pilot, toolkit.features.extractor") & HEAVY


def test_every_public_name_exists() -> None:
    for name in toolkit.__all__:
        assert getattr(toolkit, name) is not None
    with pytest.raises(AttributeError, match="nothing_of_the_kind"):
        toolkit.nothing_of_the_kind  # noqa: B018


FACES = ("ui/views", "cli")
"""Rooms whose names are fixed: a page's ``page``, a command's name."""


def test_a_public_name_is_defined_once() -> None:
    places: dict[str, set[str]] = {}
    for path in SOURCES:
        where = path.relative_to(ROOT).as_posix()
        if where.startswith(FACES):
            continue
        for node in ast.parse(path.read_text()).body:
            if isinstance(node, (ast.FunctionDef, ast.ClassDef)) and not node.name.startswith("_"):
                places.setdefault(node.name, set()).add(where)
    del places["main"]  # of modules that are started as processes
    assert not {name: where for name, where in places.items() if len(where) > 1}
