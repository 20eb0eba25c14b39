"""The documentation as data: pages with their prose, links, headings and code blocks."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

ROOT = Path(__file__).parents[2]
_FENCE = re.compile(r"^```(\w*)\n(.*?)^```$", re.MULTILINE | re.DOTALL)
_LINK = re.compile(r"!?\[([^\]]*)\]\(([^)\s]+)\)")
_INLINE_CODE = re.compile(r"`([^`\n]+)`")
_HEADING = re.compile(r"^#+ (.+)$", re.MULTILINE)
_ITEM = re.compile(r"^(?:[-*>#]+|\d+\.) ")
_SENTENCE_END = re.compile(r"(?<=[.!?])[*\"')\]]*\s+(?=[*\"'(\[]*[A-Z0-9`])")


@dataclass(frozen=True)
class Block:
    """A fenced block: its first line, language and text."""

    line: int
    language: str
    text: str


@dataclass(frozen=True)
class DocPage:
    """A Markdown file, by its path from the repository's root."""

    name: str

    @property
    def path(self) -> Path:
        return ROOT / self.name

    @cached_property
    def text(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def blocks(self) -> list[Block]:
        return [
            Block(self.text.count("\n", 0, found.start()) + 1, found[1], found[2])
            for found in _FENCE.finditer(self.text)
        ]

    @cached_property
    def outside_blocks(self) -> str:
        return _FENCE.sub("", self.text)

    @property
    def links(self) -> list[str]:
        """Targets of links and pictures."""
        return [target for _, target in _LINK.findall(_INLINE_CODE.sub("", self.outside_blocks))]

    @property
    def anchors(self) -> set[str]:
        """Anchors of links: headings as written by GitHub and MkDocs."""
        return {_anchor(title) for title in _HEADING.findall(self.outside_blocks)}

    @property
    def inline_code(self) -> list[str]:
        return [code.replace(r"\|", "|") for code in _INLINE_CODE.findall(self.outside_blocks)]

    def sentences(self) -> Iterator[str]:
        """Sentences of paragraphs, items and table cells; a piece of code counts as one word."""
        for paragraph in self._paragraphs():
            plain = _LINK.sub(r"\1", _INLINE_CODE.sub("Code", paragraph))
            yield from (sentence for sentence in _SENTENCE_END.split(plain) if sentence.strip())

    def _paragraphs(self) -> Iterator[str]:
        pending: list[str] = []
        for line in [*self.outside_blocks.splitlines(), ""]:
            begins_anew = not line.strip() or line.startswith("|") or _ITEM.match(line.lstrip())
            if pending and (begins_anew or pending[0].startswith("#")):
                yield _ITEM.sub("", " ".join(pending))
                pending = []
            if line.startswith("|"):
                yield from (cell.strip() for cell in line.replace(r"\|", " ").strip("|").split("|"))
            elif line.strip():
                pending.append(line.strip())


def _anchor(title: str) -> str:
    words = re.sub(r"[^\w\- ]", "", _INLINE_CODE.sub(r"\1", title).strip().lower())
    return words.replace(" ", "-")


README = DocPage("README.md")
PAGES = [
    README,
    *(DocPage(name) for name in ("CONTRIBUTING.md", "CHANGELOG.md")),
    *(DocPage(f"docs/{path.name}") for path in sorted((ROOT / "docs").glob("*.md"))),
]
