"""Every link of the documentation leads to an existing file, and to an existing heading if it names one."""

from __future__ import annotations

import pytest
from doc_pages import PAGES, ROOT, DocPage

LINKS = [(page, link) for page in PAGES for link in dict.fromkeys(page.links)]
WITHIN = [(page, link) for page, link in LINKS if "://" not in link]


@pytest.mark.parametrize(("page", "link"), WITHIN, ids=[f"{page.name} {link}" for page, link in WITHIN])
def test_a_link_within_the_repository_has_a_target(page: DocPage, link: str) -> None:
    target, _, anchor = link.partition("#")
    path = (page.path.parent / target).resolve() if target else page.path
    assert path.is_relative_to(ROOT)
    assert path.exists(), f"{target} is missing"
    if anchor:
        assert anchor in DocPage(path.relative_to(ROOT).as_posix()).anchors


def test_external_links_use_https() -> None:
    assert not [link for _, link in LINKS if "://" in link and not link.startswith("https://")]


def test_every_page_is_linked_from_the_index_or_the_readme() -> None:
    linked = {
        (page.path.parent / link.partition("#")[0]).resolve()
        for page, link in WITHIN
        if page.name in ("README.md", "docs/index.md")
    }
    assert {page.path for page in PAGES} - linked <= {ROOT / "README.md", ROOT / "docs" / "index.md"}
