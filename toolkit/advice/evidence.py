"""What rules judge by: the probe's table, and features of the exemplars that a budget would hold.

Images come from a :func:`~toolkit.data.dataset.validation_view`: candidates for exemplars, and images held out to test
on. Real test images are never among them.
"""

from __future__ import annotations

import itertools
import time
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch
from torch.nn import functional

from toolkit.advice.calibration import ADVICE_IMAGES
from toolkit.codecs.spec import is_lossless, parse_codec
from toolkit.data.alignment import ALIGNS, Align
from toolkit.data.dataset import HELD_OUT_SHARE, ImageDataset, stratified_indices
from toolkit.data.scenario import Scenario, class_order_from_seed, default_initial
from toolkit.features.extractor import FeatureExtractor
from toolkit.features.guide import NetworkGuide
from toolkit.foundation.errors import UsageError
from toolkit.foundation.progress import OnRow, Progress, ignore_row, silent
from toolkit.language.sentence import Sentence
from toolkit.memory.allocation import allocate
from toolkit.memory.budget import LABEL_BYTES
from toolkit.memory.selection import herding_order
from toolkit.probe.contents import ProbeResult, Setting
from toolkit.probe.table import LEAST_IMAGES, Coded, measure, probe_table, row_of

COMPARED = 1000
"""Images whose distortion is measured; more change the mean little and take as long again."""


class Choice(NamedTuple):
    """What advice is about: a setting of the grid, by its index, and an alignment."""

    setting: int
    align: Align


@dataclass(frozen=True, eq=False)
class CodedFeatures:
    """One setting's images as a network sees them.

    Attributes:
        codec: canonical spec.
        row: of the probe's table.
        shared_bytes: charged once.
        payload_bytes: int64 (n,), of the candidates.
        candidates, held_out: float32 (n, D) and (v, D), features of the decoded images, of length 1.
        order: for each class, int64 candidates in the order in which they become exemplars.
    """

    codec: str
    row: Setting
    shared_bytes: int
    payload_bytes: np.ndarray
    candidates: torch.Tensor
    held_out: torch.Tensor
    order: dict[int, np.ndarray]

    @property
    def lossless(self) -> bool:
        return is_lossless(self.codec)


@dataclass(frozen=True, eq=False)
class Evidence:
    """All that is known when a rule is asked.

    Attributes:
        budget: bytes of the memory.
        labels, held_out_labels: int64 (n,) and (v,), of the candidates and of the images to test on.
        originals, held_out_originals: float32 (n, D) and (v, D), features of the images as they were, of length 1.
        raw: raw pixels, what every gain is relative to, whether the budget holds them or not.
        all_settings: the grid.
        settings: those of which the budget holds an exemplar of every class.
        stages: the classes of each stage.
        class_sizes: training images of each class, candidates or not.
        raw_exemplars: of a class, what the budget that was asked for holds of raw pixels; below 1 if it is too small.
        aligns: alignments that can be had.
        excluded: settings of which the budget cannot hold an exemplar of every class: codec, and why.
        notes: what limits this evidence.
        only: the choices to judge; None means all.
    """

    budget: int
    labels: torch.Tensor
    held_out_labels: torch.Tensor
    originals: torch.Tensor
    held_out_originals: torch.Tensor
    raw: CodedFeatures
    all_settings: tuple[CodedFeatures, ...]
    settings: tuple[CodedFeatures, ...]
    stages: tuple[tuple[int, ...], ...]
    class_sizes: tuple[int, ...]
    raw_exemplars: float = 0.0
    aligns: tuple[Align, ...] = ALIGNS
    excluded: tuple[tuple[str, Sentence], ...] = ()
    notes: tuple[Sentence, ...] = ()
    only: tuple[Choice, ...] | None = None
    _kept: dict[int, np.ndarray] = field(default_factory=dict, repr=False)

    @cached_property
    def choices(self) -> list[Choice]:
        """What rules score. Lossless settings have one alignment, ``none``: coding changes nothing in them."""
        if self.only is not None:
            return list(self.only)
        return [
            Choice(index, align)
            for index, setting in enumerate(self.settings)
            for align in (ALIGNS[:1] if setting.lossless else self.aligns)
        ]

    @property
    def raw_choice(self) -> Choice | None:
        """``raw`` among the choices; None where the budget does not hold a raw image of every class."""
        fits = self.raw in self.settings
        return Choice(self.settings.index(self.raw), "none") if fits else None

    @property
    def replays(self) -> bool:
        """Whether classes come in several stages: with one, nothing is replayed."""
        return len(self.stages) > 1

    @property
    def stages_after(self) -> np.ndarray:
        """For each class, by label, how many stages come after its own: as often it can be forgotten."""
        after = np.empty(self.classes, np.int64)
        for number, stage in enumerate(self.stages):
            after[list(stage)] = len(self.stages) - 1 - number
        return after

    def by_setting(self, value: Callable[[int], float]) -> np.ndarray:
        """A value for every choice, float64 (choices,), that depends on the setting's index only."""
        values = {index: value(index) for index in {choice.setting for choice in self.choices}}
        return np.array([values[choice.setting] for choice in self.choices], dtype=np.float64)

    @property
    def classes(self) -> int:
        return len(self.class_sizes)

    def kept(self, setting: int) -> np.ndarray:
        """Candidates, int64, that a memory of this budget would hold, allocated as the memory does."""
        if setting not in self._kept:
            self._kept[setting] = self._allocate(self.settings[setting])
        return self._kept[setting]

    def _allocate(self, setting: CodedFeatures) -> np.ndarray:
        sizes = {
            label: (setting.payload_bytes[members] + LABEL_BYTES).tolist() for label, members in setting.order.items()
        }
        counts = allocate(sizes, self.budget, setting.shared_bytes)
        return np.concatenate([setting.order[label][:count] for label, count in counts.items()])

    def exemplars_per_class(self, setting: int) -> float:
        """:meth:`held` of a setting by its index."""
        return self.held(self.settings[setting])

    def held(self, coded: CodedFeatures) -> float:
        """How many exemplars of a class the memory will hold on average: no more than there are images.

        By the mean size of a payload that the table gives; what a small class leaves of its share goes to the others.
        Below 1 where the budget is too small.
        """
        mean = float(coded.row["stored_bytes"]) + LABEL_BYTES
        return min(max(0, self.budget - coded.shared_bytes) / mean, sum(self.class_sizes)) / self.classes

    def spread(self, mean: np.ndarray) -> np.ndarray:
        """How many exemplars each class has, float64 (..., classes), where it is ``mean`` on average, float64 (...).

        All have equally many, but no class more than it has images.
        """
        sizes = np.sort(np.array(self.class_sizes, np.float64))
        used_at = np.cumsum(sizes) + sizes * np.arange(len(sizes) - 1, -1, -1)
        level = np.interp(np.asarray(mean) * self.classes, [0, *used_at], [0, *sizes])
        return np.minimum(level[..., None], np.array(self.class_sizes))

    @cached_property
    def precision(self) -> torch.Tensor:
        """Inverse covariance of the originals' features, float64 (D, D), shrunk as Ledoit and Wolf (2004) do.

        With a ten-thousandth of the features' mean square on the diagonal, so that it exists whatever they are.
        """
        x = self.originals.double()
        x = x - x.mean(dim=0)
        count, dimensions = x.shape
        sample = x.T @ x / count
        identity = torch.eye(dimensions, dtype=x.dtype)
        scale = sample.diagonal().mean()
        spread = (sample - scale * identity).square().sum()
        noise = (x.square().sum(dim=1).square().mean() - sample.square().sum()) / count
        share = float((noise / spread).clamp(0, 1)) if float(spread) > 0 else 1.0
        floor = 1e-4 / dimensions
        return torch.linalg.inv((1 - share) * sample + (share * scale + floor) * identity)

    def at_budget(self, budget: int) -> Evidence:
        """The same images with another budget; settings that it excludes are left out, ``raw`` perhaps among them."""
        fitting, excluded = _split_by_fit(self.all_settings, budget)
        return replace(self, budget=budget, settings=tuple(fitting), excluded=tuple(excluded), only=None, _kept={})


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
    """Code, decode and look at the images once; the ``probe`` JSON and the evidence.

    Args:
        dataset: a validation view; its training images become candidates, its test images are held out.
        codecs: specs; ``raw`` is added where it is missing, since gains are relative to it.
        budget: bytes.
        extractor: must not have been trained on the held-out images.
        images: how many to use at most, a fifth of them held out.
        initial, increment: classes of the first and of each later stage; by default a fifth of all.
        class_order: by default drawn from ``seed``, as in a pilot.
        class_sizes: training images of each class, where the view holds only some of them.
        aligns: alignments that can be had.
        seed: of the draw of images and of the class order.
        progress: told about (images x settings) done.
        on_row: told each setting's row as it is done.

    Raises:
        UsageError: too few images, stages that do not fit the classes, or a budget at which no setting stores an
            exemplar of every class.
        WorkError: the extractor gives features that are not finite.
    """
    started = time.perf_counter()
    codecs = list(dict.fromkeys([str(parse_codec(spec)) for spec in codecs]))
    codecs = codecs if "raw" in codecs else ["raw", *codecs]
    chosen, held = _draw(dataset, images, seed)
    labels, count = dataset.train.labels[chosen], len(dataset.class_names)
    first_stage = default_initial(count) if initial is None else initial
    later = first_stage if increment is None else increment
    arrival = class_order or class_order_from_seed(count, seed)
    stages = tuple(map(tuple, Scenario(dataset.train.labels, arrival, first_stage, later).stages))
    pixels = np.concatenate([dataset.train.images[chosen], dataset.test.images[held]])
    mixed = np.random.default_rng(seed).permutation(len(pixels))  # minibatches of the CKA shall have all classes
    file_bytes = float(np.concatenate([dataset.train.file_bytes[chosen], dataset.test.file_bytes[held]]).mean())
    measured = measure(
        pixels[mixed],
        codecs,
        extractor,
        keep_features=True,
        compared=COMPARED,
        progress=progress,
        make_guide=lambda: NetworkGuide(extractor, dataset.train.images, dataset.train.labels),
        finished=lambda codec, tally: on_row(row_of(codec, tally, dataset, budget, file_bytes)),
    )
    table = probe_table(dataset, measured, extractor, budget, file_bytes, seed, time.perf_counter() - started)

    back = np.argsort(mixed)
    first, last = back[: len(chosen)], back[len(chosen) :]
    settings = [
        _as_seen(coded, row, labels, first, last)
        for coded, row in zip(measured.settings, table["settings"], strict=True)
    ]
    fitting, excluded = _split_by_fit(settings, budget)
    if not fitting:
        raise UsageError(
            f"a budget of {budget} bytes is too small: no setting stores an exemplar of each of {count} classes"
        )
    sizes = np.bincount(dataset.train.labels, minlength=count) + np.bincount(dataset.test.labels, minlength=count)
    evidence = Evidence(
        budget=budget,
        labels=torch.from_numpy(labels),
        held_out_labels=torch.from_numpy(dataset.test.labels[held]),
        originals=functional.normalize(measured.originals[torch.from_numpy(first)], dim=1),
        held_out_originals=functional.normalize(measured.originals[torch.from_numpy(last)], dim=1),
        raw=next(setting for setting in settings if setting.codec == "raw"),
        all_settings=tuple(settings),
        settings=tuple(fitting),
        stages=stages,
        class_sizes=tuple(sizes.tolist() if class_sizes is None else class_sizes),
        excluded=tuple(excluded),
    )
    return table, replace(
        evidence,
        raw_exemplars=evidence.held(evidence.raw),
        aligns=tuple(a for a in ALIGNS if a in aligns),
        notes=tuple(_limits(evidence, len(dataset.quarantine), len(chosen) + len(held) == sum(evidence.class_sizes))),
    )


def _draw(dataset: ImageDataset, images: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    """Indices of the candidates and of the images to test on, stratified; refused if a class has no candidate."""
    held = stratified_indices(dataset.test.labels, max(1, round(HELD_OUT_SHARE * images)), seed)
    chosen = dataset.stratified_train_indices(max(images - len(held), 1), seed)
    if len(held) == 0 or len(held) + len(chosen) < LEAST_IMAGES:
        raise UsageError(
            "advice needs at least two training images of some class, one to keep and one to test on, and "
            f"{LEAST_IMAGES} images in all; got {len(chosen)} and {len(held)}"
        )
    if len(np.unique(dataset.train.labels[chosen])) < len(np.unique(dataset.train.labels)):
        count = len(dataset.class_names)
        least = next(n for n in itertools.count(count) if n - max(1, round(HELD_OUT_SHARE * n)) >= count)
        raise UsageError(f"{images} images are too few for {count} classes: advice needs at least {least}")
    return chosen, held


def _as_seen(
    coded: Coded, row: Setting, labels: np.ndarray, candidates: np.ndarray, held_out: np.ndarray
) -> CodedFeatures:
    """A measured setting, sorted into candidates and held-out images; both are indices into what was measured."""
    assert coded.features is not None  # the measurement kept them
    features = functional.normalize(coded.features[torch.from_numpy(candidates)], dim=1)
    order = {}
    for label in np.unique(labels):
        members = np.flatnonzero(labels == label)
        order[int(label)] = members[herding_order(features[torch.from_numpy(members)].numpy())]
    tested = functional.normalize(coded.features[torch.from_numpy(held_out)], dim=1)
    sizes = coded.payload_bytes[candidates]
    return CodedFeatures(str(coded.codec), row, coded.codec.shared_bytes(), sizes, features, tested, order)


def _split_by_fit(
    settings: Sequence[CodedFeatures], budget: int
) -> tuple[list[CodedFeatures], list[tuple[str, Sentence]]]:
    """Settings of which the budget holds an exemplar of every class, and the others with the reason."""
    fitting, excluded = [], []
    for setting in settings:
        largest = [int(setting.payload_bytes[members].max()) + LABEL_BYTES for members in setting.order.values()]
        needed = setting.shared_bytes + sum(largest)  # what a pilot asks for before it starts
        if needed > budget:
            reason = Sentence("limit.does_not_fit", classes=len(largest), needed=needed, budget=budget)
            excluded.append((setting.codec, reason))
        else:
            fitting.append(setting)
    return fitting, excluded


def _limits(evidence: Evidence, unreadable: int, looked_at_all: bool) -> Iterator[Sentence]:
    """What a reader should know about this evidence."""
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
