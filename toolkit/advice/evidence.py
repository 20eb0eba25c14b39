"""The input of rules: the probe's table, and features of the exemplars that a budget would hold.

Images come from a :func:`~toolkit.data.dataset.validation_view`: candidates for exemplars, and held-out images for
evaluation. The dataset's test images are never used.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import NamedTuple

import numpy as np
import torch

from toolkit.codecs.spec import is_lossless
from toolkit.data.alignment import ALIGNS, Align
from toolkit.language.sentence import Sentence
from toolkit.memory.capacity import Capacity
from toolkit.memory.disk import fitting, smallest_bytes
from toolkit.probe.contents import Setting


class Choice(NamedTuple):
    """A candidate for advice: a setting of the grid, by its index, and an alignment."""

    setting: int
    align: Align


@dataclass(frozen=True, eq=False)
class CodedFeatures:
    """Features of one setting's decoded images.

    Attributes:
        codec: canonical spec.
        row: its row of the probe's table.
        shared_bytes: bytes charged once per memory.
        payload_bytes: int64 (n,), payload size of each candidate.
        candidates, held_out: float32 (n, D) and (v, D), features of the decoded images, unit length.
        order: class -> int64 candidates in the order in which they become exemplars.
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
    """Everything that a rule knows.

    Attributes:
        budget: bytes of the memory.
        labels, held_out_labels: int64 (n,) and (v,), labels of the candidates and of the held-out images.
        originals, held_out_originals: float32 (n, D) and (v, D), features of the original images, unit length.
        raw: the setting ``raw``, the reference of all gains, whether it fits the budget or not.
        all_settings: the grid.
        settings: settings with which the budget holds at least one exemplar per class.
        stages: classes of each stage.
        class_sizes: number of training images of each class, candidates or not.
        raw_exemplars: raw exemplars per class at the requested budget; below 1 if it is too small.
        aligns: alignments to consider.
        excluded: (codec, reason) of the settings that do not fit the budget.
        notes: limits of this evidence.
        only: the choices to score; None means all.
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
    _capacities: dict[tuple[str, tuple[int, ...]], Capacity] = field(default_factory=dict, repr=False)

    @cached_property
    def choices(self) -> list[Choice]:
        """The choices that rules score. Lossless settings have only ``none``, because coding changes no pixel."""
        if self.only is not None:
            return list(self.only)
        return [
            Choice(index, align)
            for index, setting in enumerate(self.settings)
            for align in (ALIGNS[:1] if setting.lossless else self.aligns)
        ]

    @property
    def raw_choice(self) -> Choice | None:
        """``raw`` among the choices; None if the budget does not hold one raw image per class."""
        fits = self.raw in self.settings
        return Choice(self.settings.index(self.raw), "none") if fits else None

    @property
    def features_differ(self) -> bool:
        """Whether features differ between images; otherwise no gain can be predicted."""
        return not any(note.key == "limit.same_features" for note in self.notes)

    @property
    def has_gains(self) -> bool:
        """Whether gains over raw pixels can be stated: raw pixels fit the budget, and features differ."""
        return self.raw_choice is not None and self.features_differ

    @property
    def replays(self) -> bool:
        """Whether classes arrive in several stages; with a single stage, nothing is replayed."""
        return len(self.stages) > 1

    @property
    def stages_after(self) -> np.ndarray:
        """Number of stages after each class's own, int64 (classes,) by label: how often it can be forgotten."""
        after = np.empty(self.classes, np.int64)
        for number, stage in enumerate(self.stages):
            after[list(stage)] = len(self.stages) - 1 - number
        return after

    def by_setting(self, value: Callable[[int], float]) -> np.ndarray:
        """A value per choice, float64 (choices,), computed from the setting's index only."""
        values = {index: value(index) for index in {choice.setting for choice in self.choices}}
        return np.array([values[choice.setting] for choice in self.choices], dtype=np.float64)

    @property
    def classes(self) -> int:
        return len(self.class_sizes)

    def kept(self, setting: int) -> np.ndarray:
        """Candidates, int64, that a memory of this budget would hold, with the memory's own allocation."""
        if setting not in self._kept:
            self._kept[setting] = self._allocate(self.settings[setting])
        return self._kept[setting]

    def _allocate(self, setting: CodedFeatures) -> np.ndarray:
        sizes = {label: setting.payload_bytes[members] for label, members in setting.order.items()}
        counts = fitting(sizes, self.budget, setting.shared_bytes)
        return np.concatenate([setting.order[label][:count] for label, count in counts.items()])

    def exemplars_per_class(self, setting: int) -> float:
        """:meth:`held` of a setting by its index."""
        return self.held(self.settings[setting])

    def held(self, coded: CodedFeatures) -> float:
        """Mean exemplars per class that the memory will hold, at most the number of images.

        Small classes leave the rest of their share to the others. Below 1 if the budget is too small.
        """
        known = coded.codec, self.class_sizes
        if known not in self._capacities:
            sizes = [
                coded.payload_bytes[coded.order[label]] if label in coded.order else coded.payload_bytes
                for label in range(self.classes)
            ]
            self._capacities[known] = Capacity.of(sizes, coded.shared_bytes, self.class_sizes)
        return self._capacities[known].exemplars(self.budget) / self.classes

    def spread(self, mean: np.ndarray) -> np.ndarray:
        """Exemplars of each class, float64 (..., classes), for a mean per class ``mean``, float64 (...).

        All classes have equally many, but no class more than it has images.
        """
        sizes = np.sort(np.array(self.class_sizes, np.float64))
        used_at = np.cumsum(sizes) + sizes * np.arange(len(sizes) - 1, -1, -1)
        level = np.interp(np.asarray(mean) * self.classes, [0, *used_at], [0, *sizes])
        return np.minimum(level[..., None], np.array(self.class_sizes))

    @cached_property
    def precision(self) -> torch.Tensor:
        """Inverse covariance of the originals' features, float64 (D, D), with Ledoit-Wolf shrinkage (2004).

        A ten-thousandth of the features' mean square is added to the diagonal, so that the inverse always exists.
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

    def inference_us(self, choice: Choice) -> float:
        """Extra processor time per image at inference, in microseconds on one thread."""
        row = self.settings[choice.setting].row
        return round(float(row["encode_us"] + row["decode_us"]), 1) if choice.align == "both" else 0.0

    def at_budget(self, budget: int) -> Evidence:
        """The same images with another budget; settings that do not fit it are excluded, possibly including ``raw``."""
        fitting, excluded = split_by_fit(self.all_settings, budget)
        return replace(self, budget=budget, settings=tuple(fitting), excluded=tuple(excluded), only=None, _kept={})


def split_by_fit(
    settings: Sequence[CodedFeatures], budget: int
) -> tuple[list[CodedFeatures], list[tuple[str, Sentence]]]:
    """Settings with which the budget holds at least one exemplar per class, and (codec, reason) of the others."""
    enough, excluded = [], []
    for setting in settings:
        largest = [(int(setting.payload_bytes[members].max()), 0) for members in setting.order.values()]
        needed = smallest_bytes(largest, setting.shared_bytes)  # as checked before a pilot starts
        if needed > budget:
            reason = Sentence("limit.does_not_fit", classes=len(largest), needed=needed, budget=budget)
            excluded.append((setting.codec, reason))
        else:
            enough.append(setting)
    return enough, excluded
