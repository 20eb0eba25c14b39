"""`ReplayMemory`: a compressed replay buffer for other people's training loops, filled from a stream of images.

With :mod:`toolkit.memory.views` the only module of this room that imports torch.
"""

from __future__ import annotations

import hashlib
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from types import TracebackType
from typing import Any, Literal, NamedTuple

import numpy as np
import torch
from PIL import Image

from toolkit.codecs.base import Codec, Size
from toolkit.codecs.features import stores_features
from toolkit.codecs.guide import needs_network
from toolkit.data.images import content_digest
from toolkit.foundation.errors import UsageError
from toolkit.foundation.sizes import parse_size
from toolkit.memory.disk import fixed_bytes, prefix_bytes
from toolkit.memory.facts import FileMemoryFacts
from toolkit.memory.offer import whole
from toolkit.memory.store import ExemplarMemory
from toolkit.memory.views import ExemplarDataset

Policy = Literal["balanced", "reservoir"]
POLICIES = ("balanced", "reservoir")
KEY_BYTES = 4
"""Bytes of an image's key, stored with it. Two of a million images share a key with a probability of one in 4,000 each;
the second of them is then taken for the first."""
COMMIT_EVERY = 256
DECODED_BYTES = 256 * 2**20


class _Waiting(NamedTuple):
    """An encoded image that is not in the file yet."""

    label: int
    payload: bytes


class ReplayMemory:
    """A replay buffer of compressed images in one file within a byte budget.

    Every image gets a random key from its content and the seed, and the images with the smallest keys are kept: a
    uniform sample of the distinct images so far, whatever their order, without stages. ``balanced`` gives every class
    an equal share of the bytes and keeps a uniform sample of each; ``reservoir`` keeps one of the whole stream, so
    frequent classes have more.

    Images that would not be kept are not encoded. The others wait in memory until :data:`COMMIT_EVERY` have come, and
    are then written in one transaction; :meth:`commit` or leaving the ``with`` block writes them at once. A process
    that is killed loses what waits, never what is written. The file is an
    :class:`~toolkit.memory.store.ExemplarMemory`: all of its commands and functions apply.

    Args:
        path: the file; created if it does not exist. An existing one is continued.
        budget: bytes on disk, as a number or as ``"64MiB"``; None keeps the budget of an existing file.
        codec: a codec or spec that needs no network, for a new file.
        policy: ``balanced`` or ``reservoir``.
        seed: of keys and samples; the same for a file that is continued.
        decoded_bytes: bytes of decoded images kept in memory, so that they are not decoded for every batch.

    Raises:
        UsageError: an unknown policy, a codec that needs a network, a file of another kind of memory, or as
            :class:`ExemplarMemory`.
        WorkError: as :class:`ExemplarMemory`.
    """

    def __init__(
        self,
        path: str | Path,
        budget: int | str | None = None,
        codec: Codec | str | None = None,
        *,
        policy: Policy = "balanced",
        seed: int = 0,
        decoded_bytes: int = DECODED_BYTES,
    ) -> None:
        if policy not in POLICIES:
            raise UsageError(f"policy must be one of {', '.join(POLICIES)}, got {policy!r}")
        size = parse_size(budget) if isinstance(budget, str) else budget
        self.memory = ExemplarMemory(path, size, codec)
        self.policy = policy
        self._seed = seed
        self._random = np.random.default_rng(seed)
        self._waiting: dict[int, _Waiting] = {}
        self._decoded: OrderedDict[int, np.ndarray] = OrderedDict()
        self._decoded_left = decoded_bytes
        self._limits: dict[int, int] = {}
        self._limit = 2 ** (8 * KEY_BYTES)
        try:
            if needs_network(self.memory.codec) or stores_features(self.memory.codec):
                raise UsageError(f"a replay memory cannot use {self.memory.codec}: its encoder runs a network")
            self._read_keys()
        except BaseException:
            self.memory.close()
            raise

    def __enter__(self) -> ReplayMemory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        if kind is None:
            self.commit()
        self.memory.close()

    def __len__(self) -> int:
        """Number of images that can be drawn."""
        return len(self._places) + len(self._waiting)

    @property
    def class_counts(self) -> dict[int, int]:
        """Images per class, by label."""
        counts = dict(self.memory.class_counts)
        for one in self._waiting.values():
            counts[one.label] = counts.get(one.label, 0) + 1
        return dict(sorted(counts.items()))

    def summary(self) -> FileMemoryFacts:
        """Budget, bytes and counts of the file."""
        return self.memory.summary()

    # -- writing -----------------------------------------------------------------------------------------------

    def add(self, images: torch.Tensor | np.ndarray | Sequence[Image.Image], labels: Sequence[int] | Any) -> int:
        """Offer images to the memory; the number of them that it takes for now.

        Args:
            images: before normalisation and augmentation: a uint8 tensor (N, C, H, W), a uint8 array (N, H, W, C), with
                three channels or one, or PIL images. All images of a memory have one size.
            labels: N integers.

        Raises:
            UsageError: images or labels of another kind, shape or number, or a budget that is too small for one image
                of each class.
        """
        pixels = _as_array(images)
        numbers = [whole("a label", label, least=0) for label in torch.as_tensor(labels).reshape(-1).tolist()]
        if len(numbers) != len(pixels):
            raise UsageError(f"{len(pixels)} images need as many labels, got {len(numbers)}")
        if len(pixels) and self.memory.size not in (None, pixels.shape[1:3]):
            raise UsageError(f"the memory holds images of (height, width) {self.memory.size}, not {pixels.shape[1:3]}")
        keys = [self._key(image) for image in pixels]
        wanted: dict[int, int] = {}
        for index, (key, label) in enumerate(zip(keys, numbers, strict=True)):
            if key not in self._places and key not in self._waiting and self._may_stay(key, label):
                wanted.setdefault(key, index)
        if not wanted:
            return 0
        taken = list(wanted.values())
        payloads = self.memory.codec.encode(np.ascontiguousarray(pixels[taken]))
        self._size: Size = (pixels.shape[1], pixels.shape[2])
        for index, payload in zip(taken, payloads, strict=True):
            self._waiting[keys[index]] = _Waiting(numbers[index], payload)
        if len(self._waiting) >= COMMIT_EVERY:
            self.commit()
        return len(taken)

    def commit(self) -> None:
        """Write the images that wait.

        Raises:
            UsageError: the budget is too small for one image of each class; they go on waiting.
            WorkError: the file could not be written.
        """
        if not self._waiting:
            return
        touched = {one.label for one in self._waiting.values()}
        labels = set(self.memory.class_counts) | touched if self.policy == "reservoir" else touched
        merged = {label: self._stored(label) for label in sorted(labels)}
        for key, (label, payload) in self._waiting.items():
            merged[label].append((key, payload))
        for items in merged.values():
            items.sort(key=lambda item: item[0])
        offered = {label: [key for key, _ in items] for label, items in merged.items()}
        if self.policy == "reservoir":
            merged = self._smallest_keys(merged)
        payloads = {label: [payload for _, payload in items] for label, items in merged.items()}
        written = {
            label: [key.to_bytes(KEY_BYTES, "little") for key, _ in items] for label, items in merged.items() if items
        }
        self.memory.replace(payloads, written, size=self._size)
        self._waiting.clear()
        before = self._keys | offered
        self._read_keys()
        self._note_limits(before)

    def forget(self, label: int | None = None, image: str | None = None) -> int:
        """Commit, then :meth:`ExemplarMemory.forget`."""
        self.commit()
        count = self.memory.forget(label, image)
        self._decoded.clear()
        self._limits.clear()  # there is room again
        self._limit = 2 ** (8 * KEY_BYTES)
        self._read_keys()
        return count

    # -- reading -----------------------------------------------------------------------------------------------

    def sample(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw different images at random: uint8 (K, 3, H, W) and labels int64 (K,); K is less if there are fewer.

        Raises:
            UsageError: the memory is empty.
            WorkError: an exemplar is damaged.
        """
        known = [*self._places, *self._waiting]
        if not known:
            raise UsageError("the memory is empty: add images before drawing from it")
        drawn = [known[place] for place in self._random.choice(len(known), min(count, len(known)), replace=False)]
        missing = [key for key in drawn if key not in self._decoded]
        fresh = dict(zip(missing, self._decode(missing), strict=True)) if missing else {}
        images = np.stack([fresh[key] if key in fresh else self._decoded[key] for key in drawn])
        for key, image in fresh.items():
            self._keep_decoded(key, image)
        labels = [self._waiting[key].label if key in self._waiting else self._places[key][0] for key in drawn]
        return torch.from_numpy(images).permute(0, 3, 1, 2), torch.tensor(labels, dtype=torch.int64)

    def dataset(self, transform: Callable[[Any], Any] | None = None) -> ExemplarDataset:
        """What is stored now, for a ``DataLoader`` with any number of workers; see
        :class:`~toolkit.memory.views.ExemplarDataset`."""
        self.commit()
        return ExemplarDataset(self.memory, transform)

    # -- internals ---------------------------------------------------------------------------------------------

    def _key(self, image: np.ndarray) -> int:
        seed = self._seed.to_bytes(8, "little", signed=True)
        digest = hashlib.blake2b(content_digest(image), key=seed, digest_size=KEY_BYTES).digest()
        return int.from_bytes(digest, "little")

    def _may_stay(self, key: int, label: int) -> bool:
        """Whether an image is not certain to be dropped at the next commit."""
        if self.policy == "reservoir":
            return key < self._limit
        return key < self._limits.get(label, 2 ** (8 * KEY_BYTES))

    def _read_keys(self) -> None:
        """Keys of the stored images by class, and label and rank by key."""
        self._keys: dict[int, list[int]] = {}
        self._places: dict[int, tuple[int, int]] = {}
        for label in self.memory.class_counts:
            for one in self.memory.intact(label)[0]:
                if len(one.extra) != KEY_BYTES:
                    raise UsageError(
                        f"{self.memory.path} holds exemplars without keys: a replay memory continues only its own files"
                    )
                key = int.from_bytes(one.extra, "little")
                self._keys.setdefault(label, []).append(key)
                self._places[key] = label, one.rank

    def _stored(self, label: int) -> list[tuple[int, bytes]]:
        return [(int.from_bytes(one.extra, "little"), one.payload) for one in self.memory.intact(label)[0]]

    def _smallest_keys(self, merged: Mapping[int, Sequence[tuple[int, bytes]]]) -> dict[int, list[tuple[int, bytes]]]:
        """The longest prefix in key order, over all classes, that fits the budget."""
        ordered = sorted(key for items in merged.values() for key, _ in items)
        sums = {
            label: prefix_bytes([len(payload) for _, payload in items], [KEY_BYTES] * len(items))
            for label, items in merged.items()
        }
        keys = {label: np.array([key for key, _ in items], np.int64) for label, items in merged.items()}
        room = self.memory.budget - self.memory.charged - fixed_bytes(len(self.memory.codec.shared_state()))

        def needed(count: int) -> int:
            counts = {label: int(np.searchsorted(own, ordered[count - 1], side="right")) for label, own in keys.items()}
            return sum(int(sums[label][held - 1]) for label, held in counts.items() if held)

        low, high = 1, len(ordered)
        while low < high:
            middle = (low + high + 1) // 2
            low, high = (middle, high) if needed(middle) <= room else (low, middle - 1)
        last = ordered[low - 1]
        return {label: [item for item in items if item[0] <= last] for label, items in merged.items()}

    def _note_limits(self, before: Mapping[int, Sequence[int]]) -> None:
        """Remember above which keys images were dropped."""
        for label, keys in before.items():
            kept = self._keys.get(label, [])
            if len(kept) < len(keys):
                first_dropped = sorted(set(keys) - set(kept))[0]
                self._limits[label] = min(self._limits.get(label, first_dropped), first_dropped)
                self._limit = min(self._limit, first_dropped)

    def _decode(self, keys: Sequence[int]) -> np.ndarray:
        payloads = [
            self._waiting[key].payload if key in self._waiting else self.memory.payload(*self._places[key])
            for key in keys
        ]
        return self.memory.codec.decode(payloads, self.memory.size or self._size)

    def _keep_decoded(self, key: int, image: np.ndarray) -> None:
        """Keep a decoded image, and drop the ones that were decoded first if there is no room."""
        while self._decoded and image.nbytes > self._decoded_left:
            self._decoded_left += self._decoded.popitem(last=False)[1].nbytes
        if image.nbytes <= self._decoded_left:
            self._decoded_left -= image.nbytes
            self._decoded[key] = image


def _as_array(images: torch.Tensor | np.ndarray | Sequence[Image.Image]) -> np.ndarray:
    """Images as uint8 (N, H, W, 3)."""
    if isinstance(images, torch.Tensor):
        pixels = images.detach().cpu().numpy()
        if pixels.ndim == 4:
            pixels = pixels.transpose(0, 2, 3, 1)
    elif isinstance(images, np.ndarray):
        pixels = images
    else:
        if len({image.size for image in images}) > 1:
            raise UsageError("all images of a memory must have one size: resize or crop them first")
        colours = [np.asarray(image.convert("RGB")) for image in images]
        pixels = np.stack(colours) if colours else np.empty((0, 1, 1, 3), np.uint8)
    if pixels.dtype != np.uint8:
        raise UsageError(f"images must be uint8, before normalisation, got {pixels.dtype}")
    if pixels.ndim != 4 or pixels.shape[3] not in (1, 3):
        raise UsageError(
            "images must be a tensor (N, C, H, W) or an array (N, H, W, C) with one or three channels, got "
            f"{tuple(getattr(images, 'shape', pixels.shape))}"
        )
    return np.repeat(pixels, 3, axis=3) if pixels.shape[3] == 1 else pixels
