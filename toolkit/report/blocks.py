"""Building blocks of a report for the template, and phrases shared by its sections."""

from __future__ import annotations

from collections.abc import Sequence

from toolkit.language.catalogue import Language
from toolkit.pilots.contents import PilotSummary
from toolkit.pilots.results import setting_name
from toolkit.report.gain import Gain

Block = dict[str, object]
"""A block of the template, which reads its fields by ``kind``."""


def heading(text: str) -> Block:
    return {"kind": "heading", "text": text}


def paragraph(text: str) -> Block:
    return {"kind": "text", "text": text}


def bullets(items: Sequence[str]) -> Block:
    return {"kind": "bullets", "items": list(items)}


def table(
    head: Sequence[str],
    rows: Sequence[Sequence[str]],
    widths: Sequence[int],
    *,
    words: bool = False,
    marked: int | None = None,
) -> Block:
    """A table. ``widths`` are column shares, 0 for as wide as the content; ``words`` aligns all columns left."""
    return {
        "kind": "table",
        "head": list(head),
        "rows": [list(row) for row in rows],
        "widths": list(widths),
        "words": words,
        "marked": marked,
    }


def figure_block(name: str, alt: str, caption: str, width: int = 100) -> Block:
    return {"kind": "figure", "file": name, "alt": alt, "caption": caption, "width": width}


def percent(pilot: PilotSummary, metric: str = "last_accuracy") -> str:
    """``41.8 ± 2.1 %``, or without the interval for a single seed."""
    mean, half = pilot["mean"][metric], pilot["ci95"][metric]
    return f"{100 * mean:.1f} %" if half is None else f"{100 * mean:.1f} ± {100 * half:.1f} %"


def fit(pilot: PilotSummary) -> str:
    return f"{pilot['mean']['exemplars_per_class']:.1f}"


def setting(pilot: PilotSummary) -> str:
    return setting_name(pilot["codec"], pilot["align"])


def gain_in_words(gain: Gain, say: Language) -> str:
    if gain.half is None:
        return say("report.gain", points=f"{gain.points:+.1f}")
    return say("report.gain_interval", points=f"{gain.points:+.1f}", half=f"{gain.half:.1f}", seeds=gain.seeds)
