"""Sections on the results of a study: the answer, the evidence for it, and example images."""

from __future__ import annotations

import math
from collections.abc import Sequence

import numpy as np

from toolkit.codecs.spec import short_spec
from toolkit.data.images import png_bytes
from toolkit.foundation.sizes import format_size
from toolkit.language.catalogue import Language
from toolkit.learning.metrics import accuracy_after
from toolkit.pilots.contents import PilotSummary
from toolkit.pilots.results import storage_of
from toolkit.report.blocks import (
    Block,
    bullets,
    figure_block,
    fit,
    gain_in_words,
    heading,
    paragraph,
    percent,
    setting,
    table,
)
from toolkit.report.facts import Examples, Study
from toolkit.report.gain import gain_over
from toolkit.report.images import strip
from toolkit.study.sentences import all_sentences, in_brief

_MEASURES = ("last_accuracy", "average_incremental_accuracy", "forgetting")
_SIDE = 128
"""Minimum side in pixels of a small image in the report; each pixel stays a square."""


def answer(study: Study, say: Language, money: str = "") -> list[Block]:
    """The answer in a few sentences; that of a study ends with the ``money``."""
    if study.race is not None:
        return [_answer_block([*(one.said(say) for one in in_brief(study.race)), money], say)]
    pilot, raw = study.pilot, study.raw
    facts = {"setting": setting(pilot), "fit": fit(pilot), "budget": format_size(pilot["budget_bytes"])}
    if raw is None or raw is pilot:
        sentences = [
            say("report.answer_what", **facts),
            say("report.answer_accuracy", accuracy=percent(pilot)),
            say("report.answer_no_raw" if raw is None else _about_raw(study)),
        ]
    else:
        gain = gain_over(pilot, raw)
        sentences = [
            say("report.answer_what_against_raw", raw=fit(raw), **facts),
            say(
                "report.answer_accuracy_against_raw",
                accuracy=percent(pilot),
                raw=percent(raw),
                gain=gain_in_words(gain, say),
            ),
        ]
        if study.by_advice and gain.points < 0:
            sentences[0] = say("report.answer_not_borne_out", raw=fit(raw), **facts)
        if not gain.seeds:
            sentences.append(say("report.answer_other_seeds"))
        elif gain.half is None:
            sentences.append(say("report.answer_one_seed"))
        else:
            sentences.append(
                say("report.answer_certain" if gain.certain else "report.answer_uncertain", seeds=gain.seeds)
            )
    sentences += [one.said(say) for one in study.findings]
    return [_answer_block(sentences, say)]


def _answer_block(sentences: Sequence[str], say: Language) -> Block:
    return {"kind": "answer", "text": ("" if say.code == "ja" else " ").join(sentences)}


def _about_raw(study: Study) -> str:
    """The sentence for a recommendation of raw pixels."""
    second = study.runner_up
    if second is None:
        return "report.answer_only_raw"
    if study.fits:
        return "report.answer_raw_fits"
    better = second["mean"]["last_accuracy"] > study.pilot["mean"]["last_accuracy"]
    return "report.answer_raw_advised" if better else "report.answer_is_raw"


def recommendation(study: Study, say: Language) -> list[Block]:
    """The setting in four figures, and why it is recommended."""
    pilot, raw, second = study.pilot, study.raw, study.runner_up
    times = f"{study.raw_image_bytes / study.exemplar_bytes:.1f}"
    items = [
        (say("report.setting"), short_spec(pilot["codec"]), f"{say('column.align')}: {pilot['align']}"),
        (say("report.fit"), fit(pilot), "" if raw is None else say("report.against_raw", raw=fit(raw))),
        (say("report.accuracy"), *_accuracy(study, say)),
        (say("report.exemplar"), f"{study.exemplar_bytes:,.0f}", say("report.exemplar_note", times=times)),
    ]
    metrics = [{"name": name, "value": value, "note": note} for name, value, note in items]
    reasons = [say(f"report.align_{pilot['align']}")]
    if study.race is not None:
        brief = {str(one) for one in in_brief(study.race)}
        reasons += [one.said(say) for one in all_sentences(study.race) if str(one) not in brief]
        return [heading(say("report.recommendation")), {"kind": "metrics", "items": metrics}, bullets(reasons)]
    if study.by_advice and study.advice is not None:
        reasons.append(say("report.by_advice", rule=study.advice["recommended"]["rule"]))
    elif study.fits:
        reasons.append(say("report.by_fit"))
    else:
        reasons.append(say("report.by_result", count=len(study.peers)))
    for one in study.lossless:
        gain = gain_in_words(gain_over(pilot, one), say)
        reasons.append(say("report.over_lossless", setting=short_spec(one["codec"]), fit=fit(one), gain=gain))
    if second is not None:
        reasons.append(say("report.runner_up", setting=setting(second), accuracy=percent(second), fit=fit(second)))
    expected = study.advice["recommended"]["expected_gain"] if study.by_advice and study.advice is not None else None
    if expected is not None and raw is not None:
        measured = gain_in_words(gain_over(pilot, raw), say)
        reasons.append(say("report.expected", gain=f"{expected:+.1f}", measured=measured))
    return [heading(say("report.recommendation")), {"kind": "metrics", "items": metrics}, bullets(reasons)]


def _accuracy(study: Study, say: Language) -> tuple[str, str]:
    """The recommended setting's accuracy, and what it is a mean of; two seeds of a race give no useful interval."""
    pilot, seeds = study.pilot, len(study.pilot["runs"])
    if study.race is None:
        return percent(pilot), say("report.accuracy_note", seeds=seeds)
    if (test := study.race["test"]) is not None:
        note = say("report.accuracy_note_test", images=test["images"])
        return f"{100 * test['arms'][0]['last_accuracy']:.1f} %", note
    return f"{100 * pilot['mean']['last_accuracy']:.1f} %", say("report.accuracy_note_race", seeds=seeds)


def tradeoff(study: Study, say: Language, files: dict[str, bytes]) -> list[Block]:
    from toolkit.report.plots import (  # matplotlib takes half a second to import
        stages_svg,
        tradeoff_svg,
    )

    peers, pilot = study.peers, study.pilot
    files["tradeoff.svg"] = tradeoff_svg(peers, next(n for n, one in enumerate(peers) if one is pilot), say)
    sizes = [storage_of(one, "exemplar_bytes") for one in peers]
    accuracies = [one["mean"]["last_accuracy"] for one in peers]
    alt = say(
        "report.tradeoff_alt",
        count=len(peers),
        low=f"{min(accuracies):.1%}",
        high=f"{max(accuracies):.1%}",
        least=f"{min(sizes):,.0f}",
        most=f"{max(sizes):,.0f}",
        setting=setting(pilot),
        accuracy=percent(pilot),
    )
    caption = say("report.tradeoff_caption", budget=format_size(pilot["budget_bytes"]), method=pilot["method"])
    lines: dict[str, PilotSummary] = {}
    for one in (pilot, study.raw, study.runner_up):
        if one is not None:
            lines.setdefault(setting(one), one)
    series = {name: _after_stages(one) for name, one in lines.items()}
    files["stages.svg"] = stages_svg(series, say)
    values = ", ".join(f"{name} {values[-1]:.1%}" for name, values in series.items())
    return [
        heading(say("report.tradeoff")),
        figure_block("tradeoff.svg", alt, caption),
        figure_block("stages.svg", say("report.stages_alt", values=values), say("report.stages_caption")),
    ]


def _after_stages(pilot: PilotSummary) -> list[float]:
    """Accuracy over all classes seen so far after each stage, mean over seeds."""
    curves = [
        [
            accuracy_after(run["accuracy_matrix"], run["stage_classes"], stage)
            for stage in range(len(run["accuracy_matrix"]))
        ]
        for run in pilot["runs"]
    ]
    return [float(value) for value in np.mean(curves, axis=0)]


def _stored(pilot: PilotSummary) -> str:
    """Bytes per exemplar; a dash if there are none."""
    size = storage_of(pilot, "exemplar_bytes")
    return "-" if math.isnan(size) else f"{size:,.0f}"


def all_settings(study: Study, say: Language) -> list[Block]:
    several_budgets = len({one["budget_bytes"] for one in study.pilots}) > 1
    several_methods = len({one["method"] for one in study.pilots}) > 1
    head = [
        say("column.setting"),
        *([say("column.method")] if several_methods else []),
        *([say("report.column_budget")] if several_budgets else []),
        say("storage.exemplar_bytes"),
        say("column.exemplars_per_class"),
        say("column.seeds"),
        *(f"{say(f'metric.{metric}')}, %" for metric in _MEASURES),
    ]
    rows = [
        [
            setting(one),
            *([one["method"]] if several_methods else []),
            *([format_size(one["budget_bytes"])] if several_budgets else []),
            _stored(one),
            fit(one),
            str(len(one["runs"])),
            *(percent(one, metric).removesuffix(" %") for metric in _MEASURES),
        ]
        for one in study.pilots
    ]
    widths = [0] + [1] * (len(head) - 1)
    text = say("report.settings_text" if study.same_seeds else "report.settings_text_seeds")
    return [heading(say("report.settings")), paragraph(text), table(head, rows, widths, marked=study.chosen)]


def examples(study: Study, examples: Examples | str, say: Language, files: dict[str, bytes]) -> list[Block]:
    blocks = [heading(say("report.examples"))]
    if isinstance(examples, str):
        return [*blocks, paragraph(say("report.no_examples", reason=examples))]
    raw = say("report.examples_original", stored=f"{study.raw_image_bytes:,}")
    captions = {"originals.png": (examples.originals, raw)}
    for n, (codec, (decoded, stored, psnr)) in enumerate(examples.coded.items()):
        quality = "" if psnr is None or math.isinf(psnr) else say("report.examples_psnr", psnr=f"{psnr:.1f}")
        caption = say("report.examples_caption", setting=short_spec(codec), stored=f"{stored:,.0f}", psnr=quality)
        captions[f"coded-{n}.png"] = (decoded, caption)
    for name, (images, caption) in captions.items():
        files[name] = png_bytes(strip(images, _SIDE), optimize=True)
        blocks.append(figure_block(name, say("report.examples_alt", count=len(images), what=caption), caption))
    return blocks


def matrix(study: Study, say: Language) -> list[Block]:
    runs = study.pilot["runs"]
    mean = np.mean(
        [
            [[*row, *([np.nan] * (len(run["accuracy_matrix"]) - len(row)))] for row in run["accuracy_matrix"]]
            for run in runs
        ],
        axis=0,
    )
    values = [[None if math.isnan(value) else float(value) for value in row] for row in mean]
    return [
        heading(say("report.matrix")),
        paragraph(
            say("report.matrix_text", setting=setting(study.pilot), forgetting=percent(study.pilot, "forgetting"))
        ),
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
    ]
