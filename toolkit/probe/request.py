"""A probe as data, and the function that carries it out from dataset spec to table."""

from __future__ import annotations

import hashlib
import json
import re
import shlex
from dataclasses import asdict, dataclass, fields
from typing import Any

from toolkit.codecs.spec import expand_grid
from toolkit.data.catalog import short_name
from toolkit.foundation.progress import Progress, silent


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

    def run_name(self) -> str:
        """Name of the probe's folder: the same for the same request and the same contents of the files it names."""
        settled = self.as_dict() | {"codecs": expand_grid(self.codecs)}
        digest = hashlib.sha256(json.dumps(settled, sort_keys=True).encode()).hexdigest()[:8]
        dataset = re.sub(r"[^A-Za-z0-9.]+", "-", short_name(self.dataset)).strip("-")[:60]
        return f"probe-{dataset}-{digest}"

    def command(self) -> str:
        """The ``recallrate probe`` command that does the same."""
        words = ["recallrate", "probe", self.dataset, "--size", str(self.size), "--codecs", self.codecs]
        words += ["--budget", self.budget, "--images", str(self.images)]
        defaults = {field.name: field.default for field in fields(self)}
        for name in ("extractor", "layer", "initial", "seed", "device"):
            if (value := getattr(self, name)) != defaults[name]:
                words += [f"--{name}", str(value)]
        return shlex.join(words + ["--strict"] * self.strict)


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
