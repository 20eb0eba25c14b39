"""MkDocs hook: what a page links to outside ``docs/`` (studies, contributing, notebooks) becomes part of the site.

In the repository a page links to ``../notebooks/studies/results/road.md``; in the site the same file is found at
``notebooks/studies/results/road.md``. Links to folders, which a site cannot show, become plain text.
"""

from __future__ import annotations

import re
from pathlib import Path

from mkdocs.config.defaults import MkDocsConfig
from mkdocs.structure.files import File, Files
from mkdocs.structure.pages import Page

_OUTSIDE = re.compile(r"\]\(\.\./([^)#\s]+)")
_TO_A_FOLDER = re.compile(r"\[([^\]]+)\]\(([^)#\s]+)\)")
_TOP = ("CONTRIBUTING.md", "CHANGELOG.md")


def on_files(files: Files, config: MkDocsConfig) -> Files:
    """Add the files that pages link to outside the documentation's folder."""
    root = Path(config.docs_dir).parent
    named = {name for page in Path(config.docs_dir).glob("*.md") for name in _OUTSIDE.findall(page.read_text())}
    for name in sorted(named | set(_TOP)):
        if (root / name).is_file():
            files.append(File.generated(config, name, abs_src_path=str(root / name)))
    return files


def on_page_markdown(markdown: str, page: Page, config: MkDocsConfig, files: Files) -> str:
    """Lead the page's links to where the files are in the site."""
    root = Path(config.docs_dir).parent
    if page.file.src_uri in _TOP:
        return markdown.replace("](docs/", "](")

    def without_folder(link: re.Match[str]) -> str:
        return link[1] if link[2].startswith("../") and (root / link[2][3:]).is_dir() else link[0]

    return _OUTSIDE.sub(r"](\1", _TO_A_FOLDER.sub(without_folder, markdown))
