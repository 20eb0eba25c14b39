"""MkDocs builds the site, including linked files outside ``docs/``."""

from __future__ import annotations

import logging
from pathlib import Path

import pytest
from doc_pages import PAGES, ROOT

pytest.importorskip("mkdocs", reason="mkdocs is not installed")
pytest.importorskip("material", reason="mkdocs-material is not installed")


def test_the_site_has_every_page_and_what_they_link_to(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    from mkdocs.commands.build import build
    from mkdocs.config import load_config

    monkeypatch.setenv("NO_MKDOCS_2_WARNING", "1")
    with caplog.at_level(logging.WARNING, "mkdocs"):
        build(load_config(str(ROOT / "mkdocs.yml"), site_dir=str(tmp_path)))
    assert not [record.getMessage() for record in caplog.records]
    for page in PAGES[1:]:
        name = "" if page.path.stem == "index" else page.path.stem
        assert (tmp_path / name / "index.html").is_file(), page.name
    assert (tmp_path / "notebooks" / "studies" / "results" / "road.svg").is_file()
    assert [path.name for path in tmp_path.rglob("*.py")] == ["continue_training.py"]
