"""The public names: the stub matches them, and their page in the documentation is up to date."""

from __future__ import annotations

import importlib.util
import inspect
from pathlib import Path
from types import ModuleType

import pytest
from mypy import api

import toolkit

ROOT = Path(__file__).parents[1]


@pytest.fixture(scope="module")
def make_api() -> ModuleType:
    spec = importlib.util.spec_from_file_location("make_api", ROOT / "docs" / "make_api.py")
    assert spec is not None
    assert spec.loader is not None
    made = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(made)
    return made


def test_the_stub_has_exactly_the_public_names_with_their_modules(make_api: ModuleType) -> None:
    assert make_api.public_names() == toolkit._PUBLIC
    assert {"__version__", *make_api.public_names()} == set(toolkit.__all__)


@pytest.mark.slow
def test_a_type_checker_knows_the_public_names(tmp_path: Path) -> None:
    file = tmp_path / "snippet.py"
    file.write_text(
        "import toolkit\n"
        "reveal_type(toolkit.budget_bytes('20img', 10, 3072))\n"
        "reveal_type(toolkit.load_dataset('demo', 32).train)\n"
        "toolkit.psnr(1, 2, reduction='mean')\n"
        "toolkit.no_such_name\n"
    )
    said, _, _ = api.run(["--config-file", str(ROOT / "pyproject.toml"), "--cache-dir", str(tmp_path), str(file)])
    assert 'Revealed type is "int"' in said
    assert 'Revealed type is "toolkit.data.dataset.' in said
    assert 'incompatible type "int"; expected "Tensor"' in said
    assert 'has no attribute "no_such_name"' in said


@pytest.mark.parametrize("name", toolkit.__all__[1:])
def test_every_public_name_is_documented(name: str) -> None:
    assert inspect.getdoc(getattr(toolkit, name))


def test_the_page_is_up_to_date(make_api: ModuleType) -> None:
    assert make_api.PAGE.read_text(encoding="utf-8") == make_api.page(), "run python docs/make_api.py"
