"""Probes, advice and the look at single images as data, and the functions from dataset spec to JSON."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, ClassVar, cast

from toolkit.codecs.spec import expand_grid, parse_codec
from toolkit.data.catalog import short_name
from toolkit.foundation.errors import UsageError
from toolkit.foundation.progress import Found, Progress, silent, unheard
from toolkit.probe.calibration import calibration
from toolkit.probe.contents import AdviceResult, ImagesResult, ProbeResult, Setting
from toolkit.runs.contents import Result, require
from toolkit.runs.folder import RunFolder
from toolkit.runs.request import Request, read_request, request_from

ALIGNS = ("none", "train", "both")
"""Which other images pass the codec: see ``PilotConfig``."""
ADVICE_IMAGES = 2000
"""With 4,800 the default rule said the same of Tiny-ImageNet-20, in 1.7 times the time."""
WITHIN = 1.0
"""Points of accuracy that the smallest budget may cost."""
VIEW_BYTES = 1024**3
"""Pixels that advice takes of a dataset at most."""


@dataclass(frozen=True)
class ProbeRequest(Request):
    """Everything that changes a probe's result; see ``recallrate probe --help`` for the meaning of each."""

    kind: ClassVar[str] = "probe"
    results: ClassVar[type[Result]] = ProbeResult
    said: ClassVar[tuple[str, ...]] = ("size", "codecs", "budget", "images")

    dataset: str
    size: int
    codecs: str
    budget: str
    extractor: str = "auto"
    layer: str | None = None
    initial: int | None = None
    images: int = 1000
    seed: int = 0
    device: str = "auto"
    strict: bool = False

    def subject(self) -> str:
        return short_name(self.dataset)

    def settled(self) -> dict[str, Any]:
        return self.as_dict() | {"codecs": expand_grid(self.codecs)}

    def run(self, progress: Progress = silent, found: Found = unheard) -> dict[str, Any]:
        return run_probe(self, progress, found)


@dataclass(frozen=True)
class AdviceRequest(ProbeRequest):
    """Everything that changes advice; see ``recallrate advise --help``."""

    kind: ClassVar[str] = "advise"
    results: ClassVar[type[Result]] = AdviceResult

    images: int = ADVICE_IMAGES
    extractor: str = "stage0"
    increment: int | None = None
    aligns: str = ",".join(ALIGNS)
    rule: str | None = None
    within: float = WITHIN

    def run(self, progress: Progress = silent, found: Found = unheard) -> dict[str, Any]:
        return run_advice(self, progress, found)


@dataclass(frozen=True)
class ImagesRequest(Request):
    """Everything that changes what is measured of single images; see ``recallrate images --help``."""

    kind: ClassVar[str] = "images"
    results: ClassVar[type[Result]] = ImagesResult
    said: ClassVar[tuple[str, ...]] = ("size", "codec", "images")

    dataset: str
    size: int
    codec: str
    extractor: str = "stage0"
    layer: str | None = None
    initial: int | None = None
    images: int = 400
    seed: int = 0
    device: str = "auto"
    strict: bool = False

    def subject(self) -> str:
        return f"{short_name(self.dataset)}-{self.codec.partition(':')[0]}"

    def settled(self) -> dict[str, Any]:
        return self.as_dict() | {"codec": str(parse_codec(self.codec))}

    def run(self, progress: Progress = silent, found: Found = unheard) -> dict[str, Any]:
        return run_images(self, progress)


PROBES: Mapping[str, type[ProbeRequest]] = {"probe": ProbeRequest, "advise": AdviceRequest}
"""What makes a probe table, by the kind of its run."""
REQUESTS: Mapping[str, type[Request]] = {**PROBES, "images": ImagesRequest}
"""By the kind of their run."""


def request_of(config: Mapping[str, Any]) -> ProbeRequest:
    """The probe or advice that a run folder's configuration holds."""
    return cast(ProbeRequest, request_from(PROBES, config))


def read_probe(run: RunFolder) -> ProbeRequest:
    """The request of a run folder with a probe or advice that is whole, rows found so far included.

    Raises:
        Damaged: a part of it is not what the toolkit writes.
        Newer: it is from a newer version of the toolkit.
    """
    request = cast(ProbeRequest, read_request(PROBES, run))
    if run.result is None:
        for part in run.found():
            require(Setting, part, run.path / "events.jsonl")
    return request


def parse_aligns(text: str) -> list[str]:
    """``none,both`` to a list.

    Raises:
        UsageError: none, or unknown ones.
    """
    aligns = [word.strip() for word in text.split(",") if word.strip()]
    if not aligns or not set(aligns) <= set(ALIGNS):
        raise UsageError(f"aligns must be one or more of {', '.join(ALIGNS)}, got {text!r}")
    return aligns


def rule_names() -> list[str]:
    """The rules that can recommend, the one of least regret first, without what it takes to ask them."""
    return [row["rule"] for row in calibration().regret]


def require_rule(name: str) -> None:
    """Refuse a rule that there is not.

    Raises:
        UsageError: it is unknown.
    """
    if name not in rule_names():
        raise UsageError(f"unknown rule {name!r}: choose one of {', '.join(rule_names())}")


def run_probe(request: ProbeRequest, progress: Progress = silent, found: Found = unheard) -> dict[str, Any]:
    """The ``probe`` JSON for a request.

    Raises:
        UsageError: any part of the request is wrong.
        WorkError: the work failed.
    """
    # imported here so that the app can describe probes without loading torch
    from toolkit.data.catalog import load_dataset
    from toolkit.features.extractor import build_extractor
    from toolkit.memory.budget import budget_bytes
    from toolkit.probe.sweep import probe_codecs
    from toolkit.training.device import resolve_device

    codecs = expand_grid(request.codecs)
    device = resolve_device(request.device)
    dataset = load_dataset(request.dataset, request.size, strict=request.strict, progress=progress)
    budget = budget_bytes(request.budget, len(dataset.class_names), dataset.raw_image_bytes)
    extractor = build_extractor(
        request.extractor, dataset, device=device, layer=request.layer, initial=request.initial, seed=request.seed,
        progress=progress,
    )  # fmt: skip
    return probe_codecs(
        dataset, codecs, budget=budget, extractor=extractor, images=request.images, seed=request.seed,
        progress=progress, found=found,
    )  # fmt: skip


def run_advice(request: AdviceRequest, progress: Progress = silent, found: Found = unheard) -> dict[str, Any]:
    """The ``advise`` JSON for a request.

    Raises:
        UsageError: any part of the request is wrong.
        WorkError: the work failed.
    """
    codecs, aligns = expand_grid(request.codecs), parse_aligns(request.aligns)
    if not 0 <= request.within < math.inf:
        raise UsageError(f"within must be a number of points, 0 or more, got {request.within}")
    if request.rule is not None:
        require_rule(request.rule)

    from toolkit.data.catalog import load_dataset
    from toolkit.data.dataset import validation_view
    from toolkit.features.extractor import build_extractor
    from toolkit.memory.budget import budget_bytes
    from toolkit.probe.advice import advise
    from toolkit.probe.evidence import gather
    from toolkit.training.device import resolve_device

    device = resolve_device(request.device)
    dataset = load_dataset(request.dataset, request.size, strict=request.strict, progress=progress)
    budget = budget_bytes(request.budget, len(dataset.class_names), dataset.raw_image_bytes)
    view = validation_view(dataset, VIEW_BYTES)
    extractor = build_extractor(
        request.extractor, view, device=device, layer=request.layer, initial=request.initial, seed=request.seed,
        progress=progress,
    )  # fmt: skip
    table, evidence = gather(
        view, codecs, budget=budget, extractor=extractor, images=request.images, initial=request.initial,
        increment=request.increment, class_sizes=dataset.train_class_sizes(), aligns=aligns, seed=request.seed,
        progress=progress, found=found,
    )  # fmt: skip
    return advise(table, evidence, rule=request.rule, within=request.within, progress=progress)


def run_images(request: ImagesRequest, progress: Progress = silent) -> dict[str, Any]:
    """The ``images`` JSON for a request.

    Raises:
        UsageError: any part of the request is wrong.
        WorkError: the work failed.
    """
    from toolkit.data.catalog import load_dataset
    from toolkit.features.extractor import build_extractor
    from toolkit.probe.images import measure_images
    from toolkit.training.device import resolve_device

    parse_codec(request.codec)
    device = resolve_device(request.device)
    dataset = load_dataset(request.dataset, request.size, strict=request.strict, progress=progress)
    extractor = build_extractor(
        request.extractor, dataset, device=device, layer=request.layer, initial=request.initial, seed=request.seed,
        progress=progress,
    )  # fmt: skip
    return measure_images(
        dataset, request.codec, extractor, images=request.images, seed=request.seed, progress=progress
    )
