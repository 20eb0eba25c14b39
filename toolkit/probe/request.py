"""Probes and advice as data, and the functions that carry them out from dataset spec to JSON."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from collections.abc import Mapping
from dataclasses import asdict, dataclass, fields
from typing import Any

from toolkit.codecs.spec import expand_grid
from toolkit.data.catalog import short_name
from toolkit.foundation.errors import UsageError
from toolkit.foundation.progress import Progress, silent

ALIGNS = ("none", "train", "both")
"""Which other images pass the codec: see ``PilotConfig``."""
ADVICE_IMAGES = 5000
WITHIN = 1.0
"""Points of accuracy that the smallest budget may cost."""
VIEW_BYTES = 1024**3
"""Pixels that advice takes of a dataset at most."""


@dataclass(frozen=True)
class ProbeRequest:
    """Everything that changes a probe's result; see ``recallrate probe --help`` for the meaning of each."""

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

    def as_dict(self) -> dict[str, Any]:
        return asdict(self)

    @property
    def kind(self) -> str:
        """The command, and the kind of its run."""
        return "probe"

    def run_name(self) -> str:
        """Name of the run's folder: the same for the same request and the same contents of the files it names."""
        settled = self.as_dict() | {"codecs": expand_grid(self.codecs)}
        digest = hashlib.sha256(json.dumps(settled, sort_keys=True).encode()).hexdigest()[:8]
        dataset = re.sub(r"[^A-Za-z0-9.]+", "-", short_name(self.dataset)).strip("-")[:60]
        return f"{self.kind}-{dataset}-{digest}"

    def command(self) -> str:
        """The ``recallrate`` command that does the same."""
        words = ["recallrate", self.kind, self.dataset, "--size", str(self.size), "--codecs", self.codecs]
        words += ["--budget", self.budget, "--images", str(self.images)]
        said = ("dataset", "size", "codecs", "budget", "images", "strict")
        for field in fields(self):
            if field.name not in said and (value := getattr(self, field.name)) != field.default:
                words += [f"--{field.name}", str(value)]
        return shlex.join(words + ["--strict"] * self.strict)

    def run(self, progress: Progress = silent) -> dict[str, Any]:
        """The ``probe`` JSON.

        Raises:
            UsageError: any part of the request is wrong.
            WorkError: the work failed.
        """
        return run_probe(self, progress)


@dataclass(frozen=True)
class AdviceRequest(ProbeRequest):
    """Everything that changes advice; see ``recallrate advise --help``."""

    images: int = ADVICE_IMAGES
    extractor: str = "stage0"
    increment: int | None = None
    aligns: str = ",".join(ALIGNS)
    rule: str | None = None
    within: float = WITHIN

    @property
    def kind(self) -> str:
        """The command, and the kind of its run."""
        return "advise"

    def run(self, progress: Progress = silent) -> dict[str, Any]:
        """The ``advise`` JSON; raises as :meth:`ProbeRequest.run` does."""
        return run_advice(self, progress)


REQUESTS = {"probe": ProbeRequest, "advise": AdviceRequest}
"""By the kind of their run."""


def request_of(config: Mapping[str, Any]) -> ProbeRequest:
    """The request that a run folder's configuration holds."""
    values = dict(config)
    return REQUESTS[values.pop("kind")](**values)


def parse_aligns(text: str) -> list[str]:
    """``none,both`` to a list.

    Raises:
        UsageError: none, or unknown ones.
    """
    aligns = [word.strip() for word in text.split(",") if word.strip()]
    if not aligns or not set(aligns) <= set(ALIGNS):
        raise UsageError(f"aligns must be one or more of {', '.join(ALIGNS)}, got {text!r}")
    return aligns


def run_probe(request: ProbeRequest, progress: Progress = silent) -> dict[str, Any]:
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
        dataset, codecs, budget=budget, extractor=extractor, images=request.images, seed=request.seed, progress=progress
    )


def run_advice(request: AdviceRequest, progress: Progress = silent) -> dict[str, Any]:
    """The ``advise`` JSON for a request.

    Raises:
        UsageError: any part of the request is wrong.
        WorkError: the work failed.
    """
    from toolkit.data.catalog import load_dataset
    from toolkit.data.dataset import validation_view
    from toolkit.features.extractor import build_extractor
    from toolkit.memory.budget import budget_bytes
    from toolkit.probe.advice import advise
    from toolkit.probe.evidence import gather
    from toolkit.probe.rules import find_rule
    from toolkit.training.device import resolve_device

    codecs, aligns = expand_grid(request.codecs), parse_aligns(request.aligns)
    if request.rule is not None:
        find_rule(request.rule)
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
        progress=progress,
    )  # fmt: skip
    return advise(table, evidence, rule=request.rule, within=request.within, progress=progress)
