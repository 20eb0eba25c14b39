"""A study in words, tables and pictures: blocks that the template sets on paper, all text as plain strings."""

from __future__ import annotations

import io
import json
import math
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from typing import Any

import numpy as np
from PIL import Image

from toolkit.codecs.spec import short_spec
from toolkit.data.catalog import short_name
from toolkit.foundation.errors import UsageError
from toolkit.foundation.sizes import format_size
from toolkit.language.catalogue import ENGLISH, Language
from toolkit.learning.metrics import accuracy_after
from toolkit.pilots.results import setting_name
from toolkit.report.cost import Coding, Fleet, Prices, yearly
from toolkit.report.figures.pilots import storage_of
from toolkit.report.images import strip
from toolkit.report.study import Examples, Gain, Study, gain_over, show_examples

LONGEST_TITLE = 200
_MEASURES = ("last_accuracy", "average_incremental_accuracy", "forgetting")
_SIDE = 128
"""Pixels of a small image's side in the report, at least: each pixel stays a square."""

Block = dict[str, Any]


@dataclass(frozen=True)
class Report:
    """What goes on paper.

    Attributes:
        title, byline, author, footer: plain text.
        language: ``en`` or ``ja``.
        moment: when the last of its runs was finished: the document's date, so that the same runs give the same bytes.
        blocks: in order; what each kind has, :mod:`template.typ` reads.
        files: figures and pictures by name.
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
    study: Study, say: Language = ENGLISH, *, title: str = "", author: str = "", fleet: Fleet | None = None,
    prices: Prices | None = None,
) -> Report:  # fmt: skip
    """Say what a study says.

    Args:
        study: as :func:`~toolkit.report.study.gather_study` gives it.
        say: the language.
        title: by default one is made from the dataset.
        author: may be empty.
        fleet, prices: what the year's cost assumes.

    Raises:
        UsageError: a title or author that is too long.
    """
    title, author = (_one_line(name, text) for name, text in (("title", title), ("author", author)))
    name, runs = short_name(study.dataset), [run for pilot in study.pilots for run in pilot["runs"]]
    moment = _last_finish(study)
    files: dict[str, bytes] = {}
    examples = show_examples(study)
    blocks = [
        *_answer(study, say), *_recommendation(study, say), *_tradeoff(study, say, files), *_settings(study, say),
        *_examples(study, examples, say, files), *_matrix(study, say),
        *_cost(study, say, fleet or Fleet(), prices or Prices()), *_protocol(study, say),
        *_limits(study, examples, say), *_checklist(study, examples, say),
        *_reproduction(study, say),
    ]  # fmt: skip
    byline = say(
        "report.byline", author=say("report.by", author=author) if author else "", dataset=name, size=study.size,
        classes=sum(study.pilot["runs"][0]["stage_classes"]), runs=len(runs), date=moment.date().isoformat(),
    )  # fmt: skip
    title = title or say("report.title", dataset=name)
    return Report(title, byline, author, say("report.footer"), say.code, moment, blocks, files)


def _last_finish(study: Study) -> datetime:
    """When the last run was finished, to the second; the epoch where no run says so."""
    times = [event["time"] for run, _, _ in study.comparison.runs for event in run.events()
             if event["event"] == "finished"]  # fmt: skip
    return datetime.fromtimestamp(int(max(times, default=0)), UTC)


def _one_line(what: str, text: str) -> str:
    text = " ".join("".join(char if char.isprintable() else " " for char in text).split())
    if len(text) > LONGEST_TITLE:
        raise UsageError(f"{what}: at most {LONGEST_TITLE} characters, got {len(text)}")
    return text


def _percent(pilot: dict[str, Any], metric: str = "last_accuracy") -> str:
    """``41.8 ± 2.1 %``; without the interval where one seed has none."""
    mean, half = pilot["mean"][metric], pilot["ci95"][metric]
    return f"{100 * mean:.1f} %" if half is None else f"{100 * mean:.1f} ± {100 * half:.1f} %"


def _fit(pilot: dict[str, Any]) -> str:
    return f"{pilot['mean']['exemplars_per_class']:.1f}"


def _name(pilot: dict[str, Any]) -> str:
    return setting_name(pilot["codec"], pilot["align"])


def _heading(text: str) -> Block:
    return {"kind": "heading", "text": text}


def _text(text: str) -> Block:
    return {"kind": "text", "text": text}


def _bullets(items: Sequence[str]) -> Block:
    return {"kind": "bullets", "items": list(items)}


def _table(
    head: Sequence[str], rows: Sequence[Sequence[str]], widths: Sequence[int], *, words: bool = False,
    marked: int | None = None,
) -> Block:  # fmt: skip
    """A table; ``widths`` are shares, 0 for as wide as needed; ``words`` aligns all columns left."""
    return {
        "kind": "table", "head": list(head), "rows": [list(row) for row in rows], "widths": list(widths),
        "words": words, "marked": marked,
    }  # fmt: skip


def _figure(name: str, alt: str, caption: str, width: int = 100) -> Block:
    return {"kind": "figure", "file": name, "alt": alt, "caption": caption, "width": width}


def _gain(gain: Gain, say: Language) -> str:
    if gain.half is None:
        return say("report.gain", points=f"{gain.points:+.1f}")
    return say("report.gain_interval", points=f"{gain.points:+.1f}", half=f"{gain.half:.1f}", seeds=gain.seeds)


def _answer(study: Study, say: Language) -> list[Block]:
    """The answer in three sentences."""
    pilot, raw = study.pilot, study.raw
    facts = {"setting": _name(pilot), "fit": _fit(pilot), "budget": format_size(pilot["budget_bytes"])}
    if raw is None or raw is pilot:
        sentences = [say("report.answer_what", **facts), say("report.answer_accuracy", accuracy=_percent(pilot)),
                     say("report.answer_no_raw" if raw is None else _about_raw(study))]  # fmt: skip
    else:
        gain = gain_over(pilot, raw)
        sentences = [
            say("report.answer_what_against_raw", raw=_fit(raw), **facts),
            say(
                "report.answer_accuracy_against_raw", accuracy=_percent(pilot), raw=_percent(raw),
                gain=_gain(gain, say),
            ),
        ]
        if study.by_advice and gain.points < 0:
            sentences[0] = say("report.answer_not_borne_out", raw=_fit(raw), **facts)
        if not gain.seeds:
            sentences.append(say("report.answer_other_seeds"))
        elif gain.half is None:
            sentences.append(say("report.answer_one_seed"))
        else:
            sentences.append(
                say("report.answer_certain" if gain.certain else "report.answer_uncertain", seeds=gain.seeds)
            )
    space = "" if say.code == "ja" else " "
    return [{"kind": "answer", "text": space.join(sentences)}]


def _about_raw(study: Study) -> str:
    """What can be said when raw pixels are recommended."""
    second = study.runner_up
    if second is None:
        return "report.answer_only_raw"
    better = second["mean"]["last_accuracy"] > study.pilot["mean"]["last_accuracy"]
    return "report.answer_raw_advised" if better else "report.answer_is_raw"


def _recommendation(study: Study, say: Language) -> list[Block]:
    pilot, raw, second = study.pilot, study.raw, study.runner_up
    raw_bytes = 3 * study.size**2
    times = f"{raw_bytes / study.exemplar_bytes:.1f}"
    items = [
        (say("report.setting"), short_spec(pilot["codec"]), f"{say('column.align')}: {pilot['align']}"),
        (say("report.fit"), _fit(pilot), "" if raw is None else say("report.against_raw", raw=_fit(raw))),
        (say("report.accuracy"), _percent(pilot), say("report.accuracy_note", seeds=len(pilot["runs"]))),
        (say("report.exemplar"), f"{study.exemplar_bytes:,.0f}", say("report.exemplar_note", times=times)),
    ]
    metrics = [{"name": name, "value": value, "note": note} for name, value, note in items]
    reasons = [say(f"report.align_{pilot['align']}")]
    if study.by_advice and study.advice is not None:
        reasons.append(say("report.by_advice", rule=study.advice["recommended"]["rule"]))
    else:
        reasons.append(say("report.by_result", count=len(study.peers)))
    if second is not None:
        reasons.append(say("report.runner_up", setting=_name(second), accuracy=_percent(second), fit=_fit(second)))
    expected = study.advice["recommended"]["expected_gain"] if study.by_advice and study.advice is not None else None
    if expected is not None and raw is not None:
        measured = _gain(gain_over(pilot, raw), say)
        reasons.append(say("report.expected", gain=f"{expected:+.1f}", measured=measured))
    return [_heading(say("report.recommendation")), {"kind": "metrics", "items": metrics}, _bullets(reasons)]


def _tradeoff(study: Study, say: Language, files: dict[str, bytes]) -> list[Block]:
    from toolkit.report.plots import (  # matplotlib: half a second that other pages can do without
        stages_svg,
        tradeoff_svg,
    )

    peers, pilot = study.peers, study.pilot
    files["tradeoff.svg"] = tradeoff_svg(peers, next(n for n, one in enumerate(peers) if one is pilot), say)
    sizes = [storage_of(one, "exemplar_bytes") for one in peers]
    accuracies = [one["mean"]["last_accuracy"] for one in peers]
    alt = say(
        "report.tradeoff_alt", count=len(peers), low=f"{min(accuracies):.1%}", high=f"{max(accuracies):.1%}",
        least=f"{min(sizes):,.0f}", most=f"{max(sizes):,.0f}", setting=_name(pilot), accuracy=_percent(pilot),
    )  # fmt: skip
    caption = say("report.tradeoff_caption", budget=format_size(pilot["budget_bytes"]), method=pilot["method"])
    lines: dict[str, dict[str, Any]] = {}
    for one in (pilot, study.raw, study.runner_up):
        if one is not None:
            lines.setdefault(_name(one), one)
    series = {name: _after_stages(one) for name, one in lines.items()}
    files["stages.svg"] = stages_svg(series, say)
    values = ", ".join(f"{name} {values[-1]:.1%}" for name, values in series.items())
    return [
        _heading(say("report.tradeoff")), _figure("tradeoff.svg", alt, caption),
        _figure("stages.svg", say("report.stages_alt", values=values), say("report.stages_caption")),
    ]  # fmt: skip


def _after_stages(pilot: dict[str, Any]) -> list[float]:
    """Accuracy over all classes so far after each stage, mean over seeds."""
    curves = [
        [accuracy_after(run["accuracy_matrix"], run["stage_classes"], stage)
         for stage in range(len(run["accuracy_matrix"]))]
        for run in pilot["runs"]
    ]  # fmt: skip
    return [float(value) for value in np.mean(curves, axis=0)]


def _stored(pilot: dict[str, Any]) -> str:
    """Bytes an exemplar; a dash where there are none."""
    size = storage_of(pilot, "exemplar_bytes")
    return "-" if math.isnan(size) else f"{size:,.0f}"


def _settings(study: Study, say: Language) -> list[Block]:
    several_budgets = len({one["budget_bytes"] for one in study.pilots}) > 1
    several_methods = len({one["method"] for one in study.pilots}) > 1
    head = [
        say("column.setting"), *([say("column.method")] if several_methods else []),
        *([say("report.column_budget")] if several_budgets else []), say("storage.exemplar_bytes"),
        say("column.exemplars_per_class"), say("column.seeds"),
        *(f"{say(f'metric.{metric}')}, %" for metric in _MEASURES),
    ]  # fmt: skip
    rows = [
        [
            _name(one), *([one["method"]] if several_methods else []),
            *([format_size(one["budget_bytes"])] if several_budgets else []),
            _stored(one), _fit(one), str(len(one["runs"])),
            *(_percent(one, metric).removesuffix(" %") for metric in _MEASURES),
        ]
        for one in study.pilots
    ]  # fmt: skip
    widths = [0] + [1] * (len(head) - 1)
    text = say("report.settings_text" if study.same_seeds else "report.settings_text_seeds")
    return [_heading(say("report.settings")), _text(text), _table(head, rows, widths, marked=study.chosen)]


def _examples(study: Study, examples: Examples | str, say: Language, files: dict[str, bytes]) -> list[Block]:
    blocks = [_heading(say("report.examples"))]
    if isinstance(examples, str):
        return [*blocks, _text(say("report.no_examples", reason=examples))]
    captions = {"originals.png": (examples.originals, say("report.examples_original", stored=f"{3 * study.size**2:,}"))}
    for n, (codec, (decoded, stored, psnr)) in enumerate(examples.coded.items()):
        quality = "" if psnr is None or math.isinf(psnr) else say("report.examples_psnr", psnr=f"{psnr:.1f}")
        caption = say("report.examples_caption", setting=short_spec(codec), stored=f"{stored:,.0f}", psnr=quality)
        captions[f"coded-{n}.png"] = (decoded, caption)
    for name, (images, caption) in captions.items():
        files[name] = _png(strip(images, _SIDE))
        blocks.append(_figure(name, say("report.examples_alt", count=len(images), what=caption), caption))
    return blocks


def _png(pixels: np.ndarray) -> bytes:
    stream = io.BytesIO()
    Image.fromarray(pixels).save(stream, "PNG", optimize=True)
    return stream.getvalue()


def _matrix(study: Study, say: Language) -> list[Block]:
    runs = study.pilot["runs"]
    mean = np.mean([[[*row, *([np.nan] * (len(run["accuracy_matrix"]) - len(row)))] for row in run["accuracy_matrix"]]
                    for run in runs], axis=0)  # fmt: skip
    values = [[None if math.isnan(value) else float(value) for value in row] for row in mean]
    return [
        _heading(say("report.matrix")),
        _text(say("report.matrix_text", setting=_name(study.pilot), forgetting=_percent(study.pilot, "forgetting"))),
        {
            "kind": "matrix",
            "corner": say("report.corner"),
            "head": [
                say("report.stage_classes", stage=n + 1, count=count)
                for n, count in enumerate(runs[0]["stage_classes"])
            ],
            "rows": [say("report.after", stage=n + 1) for n in range(len(values))],
            "values": values,
            "shown": [["" if value is None else f"{100 * value:.0f}" for value in row] for row in values],
        },
    ]  # fmt: skip


def _protocol(study: Study, say: Language) -> list[Block]:
    common, run = study.comparison.common, study.pilot["runs"][0]
    classes = " + ".join(map(str, run["stage_classes"]))
    seeds = ", ".join(str(one["seed"]) for one in study.pilot["runs"])
    chosen = say("report.test_untouched" if study.by_advice else "report.test_chosen")
    return [
        _heading(say("report.protocol")),
        _bullets(
            [
                say("report.protocol_stages", stages=len(run["stage_classes"]), classes=classes, seeds=seeds),
                say(
                    "report.protocol_training", network=run["network"], steps=f"{run['optimizer_steps']:,}",
                    batch=common["batch_size"], method=study.pilot["method"], selection=common["selection"],
                ),
                say("report.protocol_bytes", budget=format_size(study.pilot["budget_bytes"])),
                say(f"report.align_{study.pilot['align']}"), say("report.protocol_metrics"),
                say("report.protocol_test", chosen=chosen),
            ]
        ),
    ]  # fmt: skip


def _cost(study: Study, say: Language, fleet: Fleet, prices: Prices) -> list[Block]:
    pilot, raw, row = study.pilot, study.raw, study.probed()
    change = 0.0 if raw is None else gain_over(pilot, raw).points
    encode_us, decode_us = (0.0, 0.0) if row is None else (row["encode_us"], row["decode_us"])
    coding = Coding(3 * study.size**2, study.exemplar_bytes, encode_us, decode_us, pilot["align"] == "both", change)
    year = yearly(fleet, prices, coding)
    rows = [
        [say("report.cost_stored"), format_size(year.stored_before), format_size(year.stored_after)],
        [say("report.cost_moved"), format_size(year.sent_before), format_size(year.sent_after)],
    ]
    notes = [
        say(
            "report.cost_saved", storage=f"{year.storage_saved:,.2f}", transfer=f"{year.transfer_saved:,.2f}",
            coding=f"{year.coding_cost:,.2f}", accuracy=f"{year.accuracy_value + 0.0:,.2f}", saved=f"{year.saved:,.2f}",
        )
    ]  # fmt: skip
    if year.break_even_error is not None:
        notes.append(say("report.break_even_error", price=f"{year.break_even_error:,.6g}"))
    if year.break_even_points is not None:
        notes.append(say("report.break_even_points", points=f"{year.break_even_points:,.3g}"))
    if raw is None:
        notes.append(say("report.cost_no_raw"))
    if row is None:
        notes.append(say("report.cost_no_times"))
    notes.append(
        say(
            "report.cost_assumption", devices=f"{fleet.devices:g}", images=f"{fleet.images_a_day:g}",
            days=f"{fleet.retention_days:g}", copies=f"{fleet.copies:g}", inferences=f"{fleet.inferences_a_day:g}",
            storage=f"{prices.storage:g}", transfer=f"{prices.transfer:g}", core=f"{prices.core_hour:g}",
            error=f"{prices.error:g}",
        )
    )  # fmt: skip
    head = [say("report.cost_item"), say("report.cost_without"), short_spec(pilot["codec"])]
    return [
        _heading(say("report.cost")), _text(say("report.cost_text")), _table(head, rows, [2, 1, 1]), _bullets(notes)
    ]  # fmt: skip


def _limits(study: Study, examples: Examples | str, say: Language) -> list[Block]:
    pilot = study.pilot
    items = [say("report.limit_seeds", seeds=len(pilot["runs"])), say("report.limit_scale")]
    original, coded = (_percent(pilot, f"accuracy_on_{images}") for images in ("original", "coded"))
    items.append(say("report.limit_shift", original=original, coded=coded))
    if pilot["align"] == "both":
        items.append(say("report.limit_both"))
    items += [say("report.limit_lossy"), say("report.limit_personal")]
    if study.unfinished:
        listed = ", ".join(f"{name} ({say(f'status.{state}')})" for name, state in study.unfinished)
        items.append(say("report.limit_unfinished", runs=listed))
    if study.apart:
        items.append(say("report.limit_apart", labels="; ".join(study.apart)))
    if not isinstance(examples, str) and examples.notes:
        items.append(say("report.limit_notes", notes="; ".join(examples.notes)))
    return [_heading(say("report.limits")), _bullets(items)]


def _checklist(study: Study, examples: Examples | str, say: Language) -> list[Block]:
    """Thresholds for means of 100 images lie four standard errors from the mean here."""
    pilot = study.pilot
    items = [say("report.check_verify"), say("report.check_budget", budget=f"{pilot['budget_bytes']:,}")]
    if not isinstance(examples, str):
        sizes, mean = examples.image_bytes, float(examples.image_bytes.mean())
        apart = 4 * float(sizes.std()) / 10
        items.append(
            say(
                "report.check_bytes", mean=f"{mean:,.0f}", high=f"{np.quantile(sizes, 0.99):,.0f}",
                least=f"{mean - apart:,.0f}", most=f"{mean + apart:,.0f}",
            )
        )  # fmt: skip
        finite = examples.image_psnr[np.isfinite(examples.image_psnr)]
        if len(finite):
            mean = float(finite.mean())
            items.append(
                say("report.check_psnr", mean=f"{mean:.1f}", least=f"{mean - 4 * float(finite.std()) / 10:.1f}")
            )
    half = pilot["ci95"]["last_accuracy"]
    least = pilot["mean"]["last_accuracy"] - (0.03 if half is None else max(half, 0.01))
    items += [say("report.check_accuracy", least=f"{100 * least:.1f} %"), say("report.check_repeat")]
    return [_heading(say("report.checklist")), _bullets(items)]


def _reproduction(study: Study, say: Language) -> list[Block]:
    blocks = [
        _heading(say("report.reproduction")), _text(say("report.reproduction_text")),
        {"kind": "code", "lines": study.comparison.commands()},
    ]  # fmt: skip
    seed, config = study.pilot["runs"][0]["seed"], study.pilot["config"]
    folder = next(run for run, one, number in study.comparison.runs
                  if number == seed and one.model_dump(mode="json") == config)  # fmt: skip
    try:
        made = json.loads((folder.path / "environment.json").read_text())
        facts = {name: made[name] for name in ("python", "processor", "threads", "device")}
        libraries = ", ".join(f"{name} {version}" for name, version in made["libraries"].items())
    except (OSError, ValueError, KeyError):
        return [*blocks, _text(say("report.no_environment"))]
    text = say("report.reproduction_environment", libraries=libraries, **facts)
    if made.get("git"):
        text += " " + say("report.reproduction_commit", commit=made["git"]["commit"][:12])
    return [*blocks, _text(text)]
