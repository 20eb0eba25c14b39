"""A study as text, tables and figures: blocks for the template, with all text as plain strings."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import UTC, datetime

from toolkit.data.catalog import short_name
from toolkit.foundation.errors import UsageError
from toolkit.language.catalogue import ENGLISH, Language
from toolkit.report.blocks import Block
from toolkit.report.cost import Fleet, Prices
from toolkit.report.facts import Study, show_examples
from toolkit.report.sections import conditions, results
from toolkit.report.sections.race import race

LONGEST_TITLE = 200


@dataclass(frozen=True)
class Report:
    """The contents of a report.

    Attributes:
        title, byline, author, footer: plain text.
        language: ``en`` or ``ja``.
        moment: time at which the last run finished. It dates the document, so the same runs give the same bytes.
        blocks: in order; ``template.typ`` reads the fields of each kind.
        files: figures and images by name.
    """

    title: str
    byline: str
    author: str
    footer: str
    language: str
    moment: datetime
    blocks: list[Block]
    files: dict[str, bytes]


def write_report(
    study: Study,
    say: Language = ENGLISH,
    *,
    title: str = "",
    author: str = "",
    fleet: Fleet | None = None,
    prices: Prices | None = None,
) -> Report:
    """Write the report of a study.

    Args:
        study: as :func:`~toolkit.report.facts.gather_study` gives it.
        say: the language.
        title: derived from the dataset by default.
        author: may be empty.
        fleet, prices: assumptions of the yearly cost.

    Raises:
        UsageError: a title or author that is too long.
    """
    title, author = (_one_line(name, text) for name, text in (("title", title), ("author", author)))
    name, runs = short_name(study.dataset), [run for pilot in study.pilots for run in pilot["runs"]]
    moment = _last_finish(study)
    files: dict[str, bytes] = {}
    examples = show_examples(study)
    blocks = [
        *results.answer(study, say, money=conditions.money(study, say, fleet or Fleet(), prices or Prices())),
        *results.recommendation(study, say),
        *race(study, say),
        *results.tradeoff(study, say, files),
        *results.all_settings(study, say),
        *results.examples(study, examples, say, files),
        *results.matrix(study, say),
        *conditions.cost(study, say, fleet or Fleet(), prices or Prices()),
        *conditions.protocol(study, say),
        *conditions.limits(study, examples, say),
        *conditions.checklist(study, examples, say),
        *conditions.reproduction(study, say),
    ]
    byline = say(
        "report.byline",
        author=say("report.by", author=author) if author else "",
        dataset=name,
        size=study.size,
        classes=sum(study.pilot["runs"][0]["stage_classes"]),
        runs=len(runs),
        date=moment.date().isoformat(),
    )
    title = title or say("report.title", dataset=name)
    return Report(title, byline, author, say("report.footer"), say.code, moment, blocks, files)


def _last_finish(study: Study) -> datetime:
    """Time at which the last run finished, to the second; the epoch if no run recorded it."""
    times = [
        event["time"] for run, _, _ in study.comparison.runs for event in run.events() if event["event"] == "finished"
    ]
    return datetime.fromtimestamp(int(max(times, default=0)), UTC)


def _one_line(what: str, text: str) -> str:
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    if len(text) > LONGEST_TITLE:
        raise UsageError(f"{what}: at most {LONGEST_TITLE} characters, got {len(text)}")
    return text
