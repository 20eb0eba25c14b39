"""Finished pilots as problems for evaluating the rules of the advice."""

from __future__ import annotations

import json
import time
from collections.abc import Mapping, Sequence
from contextlib import suppress
from dataclasses import replace

import numpy as np

from toolkit.advice.calibration import ADVICE_IMAGES
from toolkit.advice.evidence import Choice, Evidence
from toolkit.advice.gather import gather
from toolkit.advice.problem import Problem
from toolkit.advice.request import VIEW_BYTES
from toolkit.advice.rules.base import ask_rule
from toolkit.advice.rules.fitted import PARAMETRIC
from toolkit.advice.rules.quantities import tabulate
from toolkit.advice.rules.registry import RULES
from toolkit.codecs.spec import is_lossless, short_spec
from toolkit.data.catalog import load_dataset, short_name
from toolkit.data.dataset import validation_view
from toolkit.data.scenario import class_order_from_seed
from toolkit.features.extractor import build_extractor
from toolkit.foundation.errors import WorkError
from toolkit.foundation.image_size import WrittenSize
from toolkit.foundation.progress import Progress, silent
from toolkit.pilots.config import PilotConfig
from toolkit.pilots.contents import PilotSummary
from toolkit.pilots.request import PilotRequest
from toolkit.pilots.results import aggregate_pilots, comparisons, describe
from toolkit.runs.folder import RunFolder
from toolkit.training.device import resolve_device

LEAST_CHOICES = 3
"""Minimum number of choices, including raw, for a meaningful regret."""


def problems_in(runs: Sequence[RunFolder]) -> list[list[PilotSummary]]:
    """Pilots as ``pilot`` JSONs, by problem: pilots that differ only in codec, alignment and seed.

    Pilots tested on held-out images are left out. Means are compared over the seeds of raw pixels. Choices that lack
    one of them are left out, as are problems without raw pixels or with fewer than :data:`LEAST_CHOICES` choices, and
    damaged runs.

    Args:
        runs: pilot run folders, newest first.
    """
    places: dict[tuple[str, WrittenSize], None] = {}
    for run in runs:
        with suppress(WorkError):
            config = PilotRequest.of(run).config
            if not config.held_out:  # the rules are judged on those images
                places[config.dataset, config.size] = None
    found: dict[str, list[PilotSummary]] = {}
    for dataset, size in places:
        for comparison in comparisons(runs, dataset, size):
            if comparison.common["held_out"]:
                continue
            for pilot in comparison.pilots():
                key = json.dumps([comparison.key, pilot["budget_bytes"], pilot["method"]])
                found.setdefault(key, []).append(pilot)
    alike = [_over_the_same_seeds(pilots) for pilots in found.values()]
    return [pilots for pilots in alike if len(pilots) >= LEAST_CHOICES]


def _over_the_same_seeds(pilots: Sequence[PilotSummary]) -> list[PilotSummary]:
    """Pilots with every seed of raw, over those seeds; empty without raw. Each lossless codec appears once."""
    of_raw = [{run["seed"] for run in pilot["runs"]} for pilot in pilots if pilot["codec"] == "raw"]
    if not of_raw:
        return []
    seeds = max(of_raw, key=len)
    chosen: dict[tuple[str, str], PilotSummary] = {}
    for pilot in pilots:
        runs = [run for run in pilot["runs"] if run["seed"] in seeds]
        align = "none" if is_lossless(pilot["codec"]) else pilot["align"]
        if len(runs) == len(seeds):
            config = PilotConfig.model_validate(pilot["config"])
            chosen.setdefault((pilot["codec"], align), aggregate_pilots(config, runs))
    return list(chosen.values())


def problem_name(config: PilotConfig) -> str:
    """Dataset, size, stages, non-default fields, budget and method in words."""
    what = describe(config.model_dump(mode="json"))
    return f"{short_name(config.dataset)}, {config.size} px, {what}, {config.budget}, {config.method}"


def tell_apart(configs: Sequence[Mapping[str, object]]) -> list[str]:
    """Names of the problems, with the dataset's path where two names would be equal."""
    parsed = [PilotConfig.model_validate(config) for config in configs]
    names = [problem_name(config) for config in parsed]
    return [
        f"{name} ({config.dataset})" if names.count(name) > 1 else name
        for name, config in zip(names, parsed, strict=True)
    ]


def measure_problem(
    pilots: Sequence[PilotSummary],
    *,
    extractor: str = "stage0",
    images: int = ADVICE_IMAGES,
    seed: int = 0,
    progress: Progress = silent,
) -> Problem:
    """Score the choices measured by pilots with every rule.

    Args:
        pilots: ``pilot`` JSONs of one problem, raw among them, with the dataset's path in their configuration.
        extractor, images: see :func:`~toolkit.advice.request.run_advice`.
        seed: seed of the advice: class order, extractor weights and images.
        progress: told about the work.

    Raises:
        UsageError, WorkError: as raised by advice.
    """
    config = PilotConfig.model_validate(pilots[0]["config"])
    dataset = load_dataset(config.dataset, config.size, progress=progress)
    started = time.perf_counter()  # work shared by advice and pilots is not counted
    view = validation_view(dataset, VIEW_BYTES)
    order = config.class_order or tuple(class_order_from_seed(len(dataset.class_names), seed))
    judge_network = build_extractor(
        extractor,
        view,
        device=resolve_device(config.device),
        initial=config.initial,
        class_order=order,
        seed=seed,
        afresh=True,
        progress=progress,
    )
    _, evidence = gather(
        view,
        list(dict.fromkeys(pilot["codec"] for pilot in pilots)),
        budget=pilots[0]["budget_bytes"],
        extractor=judge_network,
        images=images,
        initial=config.initial,
        increment=config.increment,
        class_order=order,
        class_sizes=dataset.train_class_sizes(),
        seed=seed,
        progress=progress,
    )
    probe_seconds = time.perf_counter() - started
    by_choice = {choice: pilot for pilot in pilots if (choice := _choice(evidence, pilot)) is not None}
    evidence = replace(evidence, only=tuple(by_choice))
    asked_rules = [ask_rule(rule, evidence) for rule in RULES.values()]
    return Problem(
        name=problem_name(config),
        dataset=short_name(config.dataset),
        codecs=tuple(short_spec(evidence.settings[choice.setting].codec) for choice in by_choice),
        aligns=tuple(choice.align for choice in by_choice),
        by_seed=np.array([_by_seed(pilot) for pilot in by_choice.values()]),
        scores={one.rule: one.scores for one in asked_rules if one.rule not in PARAMETRIC},
        seconds={one.rule: one.seconds for one in asked_rules},
        quantities=tabulate(evidence, dict.fromkeys(name for one in PARAMETRIC.values() for name in one.quantities)),
        exemplars=evidence.by_setting(evidence.exemplars_per_class),
        probe_seconds=probe_seconds,
        pilot_seconds=float(sum(run["seconds"] for pilot in pilots for run in pilot["runs"])),
    )


def _by_seed(pilot: PilotSummary) -> list[float]:
    """Last accuracy of each run, in the order of the seeds."""
    return [run["last_accuracy"] for run in sorted(pilot["runs"], key=lambda run: run["seed"])]


def _choice(evidence: Evidence, pilot: PilotSummary) -> Choice | None:
    """The choice that a pilot measured; None if the evidence lacks it. Lossless codecs have one alignment."""
    for index, setting in enumerate(evidence.settings):
        if setting.codec == pilot["codec"]:
            return Choice(index, "none" if setting.lossless else pilot["align"])
    return None
