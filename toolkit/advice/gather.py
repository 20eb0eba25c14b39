"""Gather evidence for advice: code and decode a sample of training images once with every setting."""

from __future__ import annotations

import itertools
import time
from collections.abc import Iterator, Sequence
from dataclasses import replace

import numpy as np
import torch
from torch.nn import functional

from toolkit.advice.calibration import ADVICE_IMAGES
from toolkit.advice.evidence import CodedFeatures, Evidence, split_by_fit
from toolkit.codecs.features import stores_features
from toolkit.codecs.spec import parse_codec
from toolkit.data.alignment import ALIGNS, Align
from toolkit.data.dataset import HELD_OUT_SHARE, ImageDataset, stratified_indices
from toolkit.data.scenario import Scenario, class_order_from_seed, default_initial
from toolkit.features.extractor import FeatureExtractor
from toolkit.features.guide import NetworkGuide
from toolkit.foundation.errors import UsageError
from toolkit.foundation.progress import OnRow, Progress, ignore_row, silent
from toolkit.language.sentence import Sentence
from toolkit.memory.selection import herding_order
from toolkit.probe.contents import ProbeResult
from toolkit.probe.table import LEAST_IMAGES, Coded, Measurement, Sample, measure

COMPARED = 1000
"""Number of images whose distortion is measured; more hardly change the mean and double the time."""


def gather(
    dataset: ImageDataset,
    codecs: Sequence[str],
    *,
    budget: int,
    extractor: FeatureExtractor,
    images: int = ADVICE_IMAGES,
    initial: int | None = None,
    increment: int | None = None,
    class_order: Sequence[int] | None = None,
    class_sizes: Sequence[int] | None = None,
    aligns: Sequence[Align] = ALIGNS,
    seed: int = 0,
    progress: Progress = silent,
    on_row: OnRow = ignore_row,
) -> tuple[ProbeResult, Evidence]:
    """Code and decode the images, extract their features, and return the ``probe`` JSON and the evidence.

    Args:
        dataset: a validation view; its training images become candidates, its test images are held out.
        codecs: specs; ``raw`` is added if it is missing, since gains are relative to it. Those that store features are
            left out: the rules were calibrated on pilots that replay images.
        budget: bytes.
        extractor: must not have been trained on the held-out images.
        images: maximum number of images, a fifth of them held out.
        initial, increment: classes in the first and in each later stage; by default a fifth of all.
        class_order: by default drawn from ``seed``, as in a pilot.
        class_sizes: number of training images of each class, if the view contains only some of them.
        aligns: alignments to consider.
        seed: seed of the image sample and the class order.
        progress: receives the number of (chunk of images, setting) pairs done.
        on_row: receives each setting's row when it is finished.

    Raises:
        UsageError: too few images, stages that do not fit the classes, or a budget at which no setting stores an
            exemplar of every class.
        WorkError: the extractor returns features that are not finite.
    """
    started = time.perf_counter()
    codecs = list(dict.fromkeys([str(parse_codec(spec)) for spec in codecs]))
    features = [codec for codec in codecs if stores_features(parse_codec(codec))]
    codecs = [codec for codec in codecs if codec not in features]
    codecs = codecs if "raw" in codecs else ["raw", *codecs]
    chosen, held = _draw(dataset, images, seed)
    stages = _stages(dataset, initial, increment, class_order or class_order_from_seed(len(dataset.class_names), seed))
    pixels = np.concatenate([dataset.train.images[chosen], dataset.test.images[held]])
    mixed = np.random.default_rng(seed).permutation(len(pixels))  # mixes the classes in minibatches of the CKA
    labels = np.concatenate([dataset.train.labels[chosen], dataset.test.labels[held]])[mixed]
    file_bytes = float(np.concatenate([dataset.train.file_bytes[chosen], dataset.test.file_bytes[held]]).mean())
    sizes = class_sizes if class_sizes is not None else _class_sizes(dataset)
    sample = Sample(dataset, labels, file_bytes, sizes, budget)
    measured = measure(
        pixels[mixed],
        sample,
        codecs,
        extractor,
        keep_features=True,
        compared=COMPARED,
        progress=progress,
        make_guide=lambda: NetworkGuide(extractor, dataset.train.images, dataset.train.labels),
        on_row=on_row,
    )
    table = sample.table(measured, extractor, seed, time.perf_counter() - started)
    evidence = _evidence(sample, measured, chosen, held, np.argsort(mixed), stages)
    return table, replace(
        evidence,
        raw_exemplars=evidence.held(evidence.raw),
        aligns=tuple(a for a in ALIGNS if a in aligns),
        excluded=(*evidence.excluded, *((codec, Sentence("limit.stores_features")) for codec in features)),
        notes=tuple(_limits(evidence, len(dataset.quarantine), len(chosen) + len(held) == sum(evidence.class_sizes))),
    )


def _class_sizes(dataset: ImageDataset) -> list[int]:
    """Number of training images of each class, of a validation view: its training and its held-out images."""
    labels = np.concatenate([dataset.train.labels, dataset.test.labels])
    return np.bincount(labels, minlength=len(dataset.class_names)).tolist()


def _evidence(
    sample: Sample,
    measured: Measurement,
    chosen: np.ndarray,
    held: np.ndarray,
    back: np.ndarray,
    stages: tuple[tuple[int, ...], ...],
) -> Evidence:
    """Evidence from measured images.

    Args:
        sample: of the validation view.
        measured: images in shuffled order.
        chosen, held: indices of the candidates in the training split and of the held-out images in the test split.
        back: position of each candidate, then of each held-out image, among the measured images.
        stages: classes of each stage.

    Raises:
        UsageError: no setting stores an exemplar of every class.
    """
    dataset = sample.dataset
    labels, count = dataset.train.labels[chosen], len(dataset.class_names)
    budget, first, last = sample.budget, back[: len(chosen)], back[len(chosen) :]
    settings = [_coded_features(coded, labels, first, last) for coded in measured.settings]
    fitting, excluded = split_by_fit(settings, budget)
    if not fitting:
        raise UsageError(
            f"a budget of {budget} bytes is too small: no setting stores an exemplar of each of {count} classes"
        )
    return Evidence(
        budget=budget,
        labels=torch.from_numpy(labels),
        held_out_labels=torch.from_numpy(dataset.test.labels[held]),
        originals=functional.normalize(measured.originals[torch.from_numpy(first)], dim=1),
        held_out_originals=functional.normalize(measured.originals[torch.from_numpy(last)], dim=1),
        raw=next(setting for setting in settings if setting.codec == "raw"),
        all_settings=tuple(settings),
        settings=tuple(fitting),
        stages=stages,
        class_sizes=tuple(sample.class_sizes),
        excluded=tuple(excluded),
    )


def _stages(
    dataset: ImageDataset, initial: int | None, increment: int | None, class_order: Sequence[int]
) -> tuple[tuple[int, ...], ...]:
    """Classes of each stage."""
    first = default_initial(len(dataset.class_names)) if initial is None else initial
    later = first if increment is None else increment
    return tuple(map(tuple, Scenario(dataset.train.labels, class_order, first, later).stages))


def _draw(dataset: ImageDataset, images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Stratified indices of the candidates and of the held-out images; refused if a class has no candidate."""
    held = stratified_indices(dataset.test.labels, max(1, round(HELD_OUT_SHARE * images)), seed)
    chosen = dataset.stratified_train_indices(max(images - len(held), 1), seed)
    if len(held) == 0 or len(held) + len(chosen) < LEAST_IMAGES:
        raise UsageError(
            "advice needs a class with at least two training images, one to keep and one to test on, and "
            f"{LEAST_IMAGES} images in total; got {len(chosen)} and {len(held)}"
        )
    if len(np.unique(dataset.train.labels[chosen])) < len(np.unique(dataset.train.labels)):
        count = len(dataset.class_names)
        least = next(n for n in itertools.count(count) if n - max(1, round(HELD_OUT_SHARE * n)) >= count)
        raise UsageError(f"{images} images are too few for {count} classes: advice needs at least {least}")
    return chosen, held


def _coded_features(coded: Coded, labels: np.ndarray, candidates: np.ndarray, held_out: np.ndarray) -> CodedFeatures:
    """A measured setting, split into candidates and held-out images, which are indices into the measured images."""
    assert coded.features is not None  # the measurement kept them
    features = functional.normalize(coded.features[torch.from_numpy(candidates)], dim=1)
    order = {}
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order[int(label)] = members[herding_order(features[torch.from_numpy(members)].numpy())]
    tested = functional.normalize(coded.features[torch.from_numpy(held_out)], dim=1)
    sizes = np.array(coded.tally.stored)[candidates]
    return CodedFeatures(str(coded.codec), coded.row, coded.codec.shared_bytes(), sizes, features, tested, order)


def _limits(evidence: Evidence, unreadable: int, looked_at_all: bool) -> Iterator[Sentence]:
    """Limits of this evidence."""
    if unreadable:
        yield Sentence("limit.unreadable", lost=unreadable)
    images, dimensions = evidence.originals.shape
    if images < dimensions:
        yield Sentence("limit.few_candidates", candidates=images, dimensions=dimensions)
    looked = np.bincount(evidence.labels, minlength=evidence.classes)
    wanted = max(evidence.exemplars_per_class(index) for index in range(len(evidence.settings)))
    if wanted > looked.max() and not looked_at_all:
        yield Sentence("limit.few_looked_at", wanted=wanted, looked=int(looked.max()))
    untested = evidence.classes - len(evidence.held_out_labels.unique())
    if untested:
        yield Sentence("limit.untested_classes", untested=untested, classes=evidence.classes)
    if max(evidence.class_sizes) > 2 * min(evidence.class_sizes):
        yield Sentence("limit.uneven_classes", least=min(evidence.class_sizes), most=max(evidence.class_sizes))
    if float(evidence.originals.var(dim=0).sum()) < 1e-12:
        yield Sentence("limit.same_features")
