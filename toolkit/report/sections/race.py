"""The section on the race of a study: who started, who was dropped when, what was not tried, and the test."""

from __future__ import annotations

from toolkit.codecs.spec import short_spec
from toolkit.language.catalogue import Language
from toolkit.report.blocks import Block, bullets, heading, paragraph, table
from toolkit.report.facts import Study
from toolkit.study.contents import ArmResult, StudyResult
from toolkit.study.sentences import left_after, name_of


def race(study: Study, say: Language) -> list[Block]:
    """Nothing if the pilots are not those of a study."""
    if study.race is None:
        return []
    found, decision = study.race, study.race["decision"]
    started = [row for row in found["arms"] if row["started"]]
    head = [
        say("study.arm"),
        say("storage.exemplar_bytes"),
        say("column.exemplars_per_class"),
        say("column.seeds"),
        f"{say('metric.last_accuracy')}, %",
        say("study.near", eps=f"{decision['eps']:g}"),
        say("study.left"),
    ]
    rows = [_row(row, say) for row in started]
    chosen = [n for n, row in enumerate(started) if name_of(row) == name_of(decision)]
    return [
        heading(say("study.race")),
        paragraph(say("study.race_text", rounds=len(found["rounds"]), pilots=decision["pilots"])),
        table(head, rows, [0] + [1] * (len(head) - 1), marked=chosen[0] if chosen else None),
        bullets(_remarks(found, say)),
    ]


def _row(row: ArmResult, say: Language) -> list[str]:
    return [
        name_of(row),
        f"{row['file_bytes']:,.0f}",
        f"{row['exemplars_per_class']:.1f}",
        str(row["seeds"]),
        "-" if row["last_accuracy"] is None else f"{100 * row['last_accuracy']:.1f}",
        f"{100 * row['within_eps']:.0f} %",
        left_after(row, say) or "-",
    ]


def _remarks(found: StudyResult, say: Language) -> list[str]:
    """What was not tried, what failed, and how sure the accuracies themselves are."""
    items = [say("study.references")]
    waiting = [name_of(row) for row in found["arms"] if not row["started"]]
    if waiting:
        items.append(say("study.not_started", count=len(waiting), settings="; ".join(waiting)))
    items += [
        say("study.left_out", setting=short_spec(one["codec"]), reason=one["reason"]) for one in found["not_tried"]
    ]
    items += [say("study.failed", setting=name_of(row), reason=row["error"]) for row in found["arms"] if row["error"]]
    if found["test"] is not None and found["test"]["images"]:
        accuracy, images = found["test"]["arms"][0]["last_accuracy"], found["test"]["images"]
        half = 196 * (accuracy * (1 - accuracy) / images) ** 0.5
        items.append(say("study.test_error", images=images, half=f"{half:.1f}"))
    return items
