"""Build a memory from a dataset: candidates encoded, ranked by features of the decoded images, added in one commit."""

from __future__ import annotations

from functools import partial
from pathlib import Path

import numpy as np

from toolkit.codecs.base import fitting_sample, image_size
from toolkit.codecs.features import give_layers, stores_features
from toolkit.codecs.guide import give_guide, needs_guide
from toolkit.codecs.original import give_originals
from toolkit.codecs.spec import parse_codec
from toolkit.codecs.store import require_larger_stores
from toolkit.data.catalog import load_dataset
from toolkit.data.summary import found_facts
from toolkit.features.extractor import FeatureExtractor, build_extractor, frozen_layers
from toolkit.features.guide import NetworkGuide
from toolkit.foundation.errors import UsageError
from toolkit.foundation.image_size import WrittenSize
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.seeds import derive
from toolkit.memory.budget import budget_bytes
from toolkit.memory.selection import herding_order, random_order, require_selection
from toolkit.memory.store import ExemplarMemory
from toolkit.probe.presets import MOST_IMAGES
from toolkit.production.facts import BuildFacts
from toolkit.runs.environment import require_one_rank
from toolkit.training.device import resolve_device


def build_memory(
    spec: str,
    path: Path,
    *,
    codec: str,
    budget: str,
    size: WrittenSize = 32,
    selection: str = "herding",
    extractor: str = "auto",
    seed: int = 0,
    device: str = "auto",
    progress: Progress = silent,
) -> BuildFacts:
    """Write a memory file with exemplars of every class; the result is its summary with notes and files left out.

    Raises:
        UsageError: the file exists, an invalid choice, or a budget below one exemplar per class (no file is left).
        WorkError: the build failed.
    """
    require_one_rank()
    if path.exists():
        raise UsageError(f"{path} exists: choose another file")
    require_selection(selection)
    parsed = parse_codec(codec)
    require_larger_stores([parsed], size)
    dataset = load_dataset(spec, size, progress=progress)
    allowed = budget_bytes(budget, len(dataset.class_names), dataset.raw_image_bytes)
    network = None
    if selection == "herding" or needs_guide(parsed) or stores_features(parsed):
        network = build_extractor(extractor, dataset, device=resolve_device(device), seed=seed, progress=progress)
        give_guide([parsed], partial(NetworkGuide, network, dataset.train.images, dataset.train.labels))
        give_layers([parsed], partial(frozen_layers, network, progress))
    give_originals([parsed], dataset.originals)
    some = np.random.default_rng(seed).permutation(dataset.stratified_train_indices(MOST_IMAGES, seed))
    parsed.fit(np.asarray(dataset.train.images[fitting_sample(some)]))
    candidates: dict[int, list[bytes]] = {}
    for label in range(len(dataset.class_names)):
        pixels = np.asarray(dataset.train.images[dataset.train.labels == label])
        payloads = parsed.encode(pixels)
        if selection == "herding":
            order = herding_order(_features(parsed.decode(payloads, image_size(pixels)), network))
        else:
            order = random_order(len(payloads), np.random.default_rng(derive(seed, 3, label)))
        candidates[label] = [payloads[index] for index in order]
        progress("selecting exemplars", label + 1, len(dataset.class_names))
    try:
        with ExemplarMemory(path, allowed, parsed) as memory:
            memory.add(candidates, names=dict(enumerate(dataset.class_names)), size=dataset.sides)
            found = found_facts(((item.file, item.reason) for item in dataset.quarantine), dataset.notes)
            return {**memory.summary(), **found}
    except BaseException:
        path.unlink(missing_ok=True)
        raise


def _features(decoded: np.ndarray, extractor: FeatureExtractor | None) -> np.ndarray:
    """Features, float32 (N, D), of decoded images, or decoded features themselves."""
    if decoded.dtype != np.uint8:
        return decoded
    assert extractor is not None
    return extractor(decoded).numpy()
