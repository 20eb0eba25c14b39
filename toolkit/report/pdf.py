"""Typeset a report with Typst, as tagged PDF/UA-1 with embedded fonts. The same report gives the same bytes."""

from __future__ import annotations

import json
import shutil
import tempfile
import unicodedata
from collections.abc import Iterator
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

from toolkit.foundation.errors import WorkError, one_line
from toolkit.language.catalogue import language
from toolkit.report.contents import Report
from toolkit.report.fonts import FAMILY, FOLDER, REGULAR

_TEMPLATE = Path(__file__).with_name("template.typ")
_MONO = "DejaVu Sans Mono"
"""One of the fonts that come with Typst."""
MISSING = "□"
_LISTED = 20


def pdf_of(report: Report) -> bytes:
    """The report as PDF/UA-1.

    Raises:
        WorkError: it cannot be typeset.
    """
    made = _compile(report, format="pdf", pdf_standards=["ua-1"], timestamp=report.moment)
    assert isinstance(made, bytes)
    return made


def pages_of(report: Report, ppi: float = 96.0) -> list[bytes]:
    """The report's pages as PNG."""
    made = _compile(report, format="png", ppi=ppi)
    return made if isinstance(made, list) else [made]


def _compile(report: Report, **options: Any) -> bytes | list[bytes]:
    import typst

    covered = with_known_glyphs(report)
    with tempfile.TemporaryDirectory() as folder:
        root = Path(folder)
        for name, content in covered.files.items():
            (root / name).write_bytes(content)
        text = {
            "title": covered.title,
            "byline": covered.byline,
            "author": covered.author,
            "footer": covered.footer,
            "lang": covered.language,
            "font": FAMILY,
            "mono": [_MONO, FAMILY],
            "blocks": covered.blocks,
        }
        (root / "data.json").write_text(json.dumps(text, ensure_ascii=False, allow_nan=False), encoding="utf-8")
        shutil.copyfile(_TEMPLATE, root / "report.typ")
        try:
            made: bytes | list[bytes] = typst.compile(
                str(root / "report.typ"), root=folder, font_paths=[str(FOLDER)], ignore_system_fonts=True, **options
            )
        except RuntimeError as error:
            raise WorkError(f"the report could not be typeset: {one_line(error)}") from error
    return made


def with_known_glyphs(report: Report) -> Report:
    """Replace characters that the fonts lack by a box, and add a remark that lists them.

    Typst would silently draw nothing in their place.
    """
    known = _known_characters()
    strings = [report.title, report.byline, report.author, *_strings(report.blocks)]
    missing = sorted({char for text in strings for char in text if ord(char) not in known})
    if not missing:
        return report
    table = str.maketrans(dict.fromkeys(missing, MISSING))
    listed = [f"U+{ord(char):04X} {unicodedata.name(char, '').lower()}".strip() for char in missing[:_LISTED]]
    listed += ["..."] * (len(missing) > _LISTED)
    remark = language(report.language)("report.limit_glyphs", characters=", ".join(listed))
    blocks = [*_mapped(report.blocks, table), {"kind": "text", "text": remark}]
    return replace(
        report,
        title=report.title.translate(table),
        byline=report.byline.translate(table),
        author=report.author.translate(table),
        blocks=blocks,
    )


@cache
def _known_characters() -> frozenset[int]:
    """Characters in the regular font; Typst falls back to it for characters that the bold font lacks."""
    from fontTools.ttLib import TTFont

    with TTFont(REGULAR, lazy=True) as font:
        return frozenset(font.getBestCmap())


def _strings(part: object) -> Iterator[str]:
    if isinstance(part, str):
        yield part
    elif isinstance(part, dict):
        for value in part.values():
            yield from _strings(value)
    elif isinstance(part, list):
        for value in part:
            yield from _strings(value)


def _mapped(part: Any, table: dict[int, str]) -> Any:
    if isinstance(part, str):
        return part.translate(table)
    if isinstance(part, dict):
        return {key: _mapped(value, table) for key, value in part.items()}
    return [_mapped(value, table) for value in part] if isinstance(part, list) else part
