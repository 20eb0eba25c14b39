"""Sections on the conditions of a study: cost, protocol, limits, checks in operation, and reproduction."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from toolkit.codecs.spec import short_spec
from toolkit.foundation.sizes import format_size
from toolkit.language.catalogue import Language
from toolkit.pilots.results import network_of
from toolkit.report.blocks import Block, bullets, heading, paragraph, percent, table
from toolkit.report.cost import Coding, Fleet, Prices, Year, yearly
from toolkit.report.facts import Examples, Study
from toolkit.report.gain import gain_over


def money(study: Study, say: Language, fleet: Fleet, prices: Prices) -> str:
    """What the recommended setting saves per year, in a sentence."""
    year = _year(study, fleet, prices)
    saved = year.storage_saved + year.transfer_saved - year.coding_cost
    before, after = format_size(year.stored_before), format_size(year.stored_after)
    return say("report.answer_money", saved=f"{saved:,.2f}", before=before, after=after)


def _year(study: Study, fleet: Fleet, prices: Prices) -> Year:
    pilot, raw, row = study.pilot, study.raw, study.probed()
    change = 0.0 if raw is None else gain_over(pilot, raw).points
    encode_us, decode_us = (0.0, 0.0) if row is None else (row["encode_us"], row["decode_us"])
    return yearly(
        fleet,
        prices,
        Coding(study.raw_image_bytes, study.exemplar_bytes, encode_us, decode_us, pilot["align"] == "both", change),
    )


def cost(study: Study, say: Language, fleet: Fleet, prices: Prices) -> list[Block]:
    """What is stored, moved and saved per year, against raw pixels."""
    pilot, raw, row = study.pilot, study.raw, study.probed()
    year = _year(study, fleet, prices)
    rows = [
        [say("report.cost_stored"), format_size(year.stored_before), format_size(year.stored_after)],
        [say("report.cost_moved"), format_size(year.sent_before), format_size(year.sent_after)],
    ]
    notes = [
        say(
            "report.cost_saved",
            storage=f"{year.storage_saved:,.2f}",
            transfer=f"{year.transfer_saved:,.2f}",
            coding=f"{year.coding_cost:,.2f}",
            accuracy=f"{year.accuracy_value + 0.0:,.2f}",
            saved=f"{year.saved:,.2f}",
        )
    ]
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
            "report.cost_assumption",
            devices=f"{fleet.devices:g}",
            images=f"{fleet.images_a_day:g}",
            days=f"{fleet.retention_days:g}",
            copies=f"{fleet.copies:g}",
            inferences=f"{fleet.inferences_a_day:g}",
            storage=f"{prices.storage:g}",
            transfer=f"{prices.transfer:g}",
            core=f"{prices.core_hour:g}",
            error=f"{prices.error:g}",
        )
    )
    head = [say("report.cost_item"), say("report.cost_without"), short_spec(pilot["codec"])]
    return [
        heading(say("report.cost")),
        paragraph(say("report.cost_text")),
        table(head, rows, [2, 1, 1]),
        bullets(notes),
    ]


def protocol(study: Study, say: Language) -> list[Block]:
    common, run = study.comparison.common, study.pilot["runs"][0]
    classes = " + ".join(map(str, run["stage_classes"]))
    seeds = ", ".join(str(one["seed"]) for one in study.pilot["runs"])
    how = "report.test_untouched" if study.by_advice else "report.test_chosen"
    if study.race is not None:
        how = "report.test_race" if study.race["test"] is not None else "report.test_race_stopped"
    chosen = say(how)
    return [
        heading(say("report.protocol")),
        bullets(
            [
                say("report.protocol_stages", stages=len(run["stage_classes"]), classes=classes, seeds=seeds),
                say(
                    "report.protocol_training",
                    network=network_of(run),
                    steps=f"{run['optimizer_steps']:,}",
                    batch=common["batch_size"],
                    method=study.pilot["method"],
                    selection=common["selection"],
                ),
                say("report.protocol_bytes", budget=format_size(study.pilot["budget_bytes"])),
                say(f"report.align_{study.pilot['align']}"),
                say("report.protocol_metrics"),
                say("report.protocol_test", chosen=chosen),
            ]
        ),
    ]


def limits(study: Study, examples: Examples | str, say: Language) -> list[Block]:
    pilot = study.pilot
    items = [say("report.limit_seeds", seeds=len(pilot["runs"])), say("report.limit_scale")]
    original, coded = (percent(pilot, f"accuracy_on_{images}") for images in ("original", "coded"))
    items.append(say("report.limit_shift", original=original, coded=coded))
    if pilot["align"] == "both":
        items.append(say("report.limit_both"))
    items += [say("report.limit_lossy"), say("report.limit_personal")]
    if study.unfinished:
        listed = ", ".join(f"{name} ({say(f'status.{state}')})" for name, state in study.unfinished)
        items.append(say("report.limit_unfinished", runs=listed))
    if study.apart:
        items.append(say("report.limit_apart", labels="; ".join(study.apart)))
    if len(encoders := study.comparison.encoders()) > 1:
        items.append(say("report.limit_encoders", versions="; ".join(encoders)))
    if not isinstance(examples, str) and examples.notes:
        items.append(say("report.limit_notes", notes="; ".join(examples.notes)))
    return [heading(say("report.limits")), bullets(items)]


def checklist(study: Study, examples: Examples | str, say: Language) -> list[Block]:
    """Thresholds for means of 100 images are four standard errors from the mean measured here."""
    pilot = study.pilot
    items = [say("report.check_verify"), say("report.check_budget", budget=f"{pilot['budget_bytes']:,}")]
    if not isinstance(examples, str):
        sizes, mean = examples.image_bytes, float(examples.image_bytes.mean())
        apart = 4 * float(sizes.std()) / 10
        items.append(
            say(
                "report.check_bytes",
                mean=f"{mean:,.0f}",
                high=f"{np.quantile(sizes, 0.99):,.0f}",
                least=f"{mean - apart:,.0f}",
                most=f"{mean + apart:,.0f}",
            )
        )
        finite = examples.image_psnr[np.isfinite(examples.image_psnr)]
        if len(finite):
            mean = float(finite.mean())
            items.append(
                say("report.check_psnr", mean=f"{mean:.1f}", least=f"{mean - 4 * float(finite.std()) / 10:.1f}")
            )
    half = pilot["ci95"]["last_accuracy"]
    least = pilot["mean"]["last_accuracy"] - (0.03 if half is None else max(half, 0.01))
    items += [say("report.check_accuracy", least=f"{100 * least:.1f} %"), say("report.check_repeat")]
    return [heading(say("report.checklist")), bullets(items)]


def reproduction(study: Study, say: Language) -> list[Block]:
    blocks: list[Block] = [
        heading(say("report.reproduction")),
        paragraph(say("report.reproduction_text")),
        {"kind": "code", "lines": study.comparison.commands()},
    ]
    seed, config = study.pilot["runs"][0]["seed"], study.pilot["config"]
    folder = next(
        run for run, one, number in study.comparison.runs if number == seed and one.model_dump(mode="json") == config
    )
    made: Mapping[str, Any] = folder.environment or {}
    try:
        facts = {name: made[name] for name in ("python", "processor", "threads", "device")}
        libraries = ", ".join(f"{name} {version}" for name, version in made["libraries"].items())
    except (KeyError, AttributeError):
        return [*blocks, paragraph(say("report.no_environment"))]
    text = say("report.reproduction_environment", libraries=libraries, **facts)
    if isinstance(git := made.get("git"), dict) and git.get("commit"):
        text += " " + say("report.reproduction_commit", commit=str(git["commit"])[:12])
    return [*blocks, paragraph(text)]
