"""Synthetic evidence: features chosen by tests, and rows of a probe table."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch.nn import functional

from toolkit.advice.evidence import CodedFeatures, Evidence
from toolkit.memory.disk import uniform_bytes
from toolkit.memory.store import ExemplarMemory

CLASSES = 4
PER_CLASS = 30
HELD_OUT = 40
DIMENSIONS = 6
RAW_BYTES = 1000


def row(**values: Any) -> dict[str, Any]:
    """A row of the probe table, lossless by default."""
    usual = {
        "stored_bytes": float(RAW_BYTES),
        "psnr": 100.0,
        "ssim": 1.0,
        "fmse_relative": 0.0,
        "encode_us": 10.0,
        "decode_us": 5.0,
    }
    return {**usual, **values}


def features(rng: np.random.Generator, labels: np.ndarray, spread: float = 0.3) -> torch.Tensor:
    """Classes as clusters on the axes, unit length."""
    centres = np.eye(DIMENSIONS)[labels]
    return functional.normalize(torch.from_numpy(centres + spread * rng.normal(size=centres.shape)).float(), dim=1)


def setting(
    codec: str, payload: int, candidates: torch.Tensor, held_out: torch.Tensor, labels: np.ndarray, **values: Any
) -> CodedFeatures:
    """A setting with payloads of equal size; candidates are selected in their given order."""
    order = {int(label): np.flatnonzero(labels == label) for label in np.unique(labels)}
    sizes = np.full(len(labels), payload)
    return CodedFeatures(codec, row(stored_bytes=float(payload), **values), 0, sizes, candidates, held_out, order)


def make_evidence(
    lossy: Sequence[tuple[str, int, dict[str, Any]]] = (("jpeg:quality=50", 100, {"psnr": 30.0, "ssim": 0.9}),),
    *,
    raw_exemplars: int = 2,
    noise: float = 0.1,
    seed: int = 0,
) -> Evidence:
    """Raw and lossy settings (codec, payload bytes, columns of its row) at a budget in raw images per class."""
    rng = np.random.default_rng(seed)
    labels, tested = np.arange(CLASSES * PER_CLASS) % CLASSES, np.arange(HELD_OUT) % CLASSES
    originals, held_out = features(rng, labels), features(rng, tested)
    settings = [setting("raw", RAW_BYTES, originals, held_out, labels)]
    for codec, payload, values in lossy:
        blurred = [
            functional.normalize(one + noise * torch.from_numpy(rng.normal(size=one.shape)).float(), dim=1)
            for one in (originals, held_out)
        ]
        values = {"psnr": 30.0, "ssim": 0.9, "fmse_relative": 0.01, **values}
        settings.append(setting(codec, payload, *blurred, labels, **values))
    return Evidence(
        budget=uniform_bytes(RAW_BYTES, raw_exemplars, CLASSES, shared=0),
        labels=torch.from_numpy(labels),
        held_out_labels=torch.from_numpy(tested),
        originals=originals,
        held_out_originals=held_out,
        raw=settings[0],
        all_settings=tuple(settings),
        settings=tuple(settings),
        stages=((0, 1), (2, 3)),
        class_sizes=(PER_CLASS,) * CLASSES,
        raw_exemplars=float(raw_exemplars),
    )


def held_by_a_memory(path: Path, budget: int, payload: int) -> float:
    """Mean exemplars per class of a new memory, for payloads of equal size."""
    with ExemplarMemory(path, budget, "png:shared=no") as memory:
        memory.add({label: [bytes(payload)] * PER_CLASS for label in range(CLASSES)})
        return len(memory) / CLASSES
