"""`ReplayMemory`: a compressed replay buffer for other people's training loops, filled from a stream of images.

Of this room, only this module and :mod:`toolkit.memory.views` import torch.
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
from toolkit.codecs.spec import parse_codec
from toolkit.data.images import content_digest
from toolkit.foundation.errors import UsageError
from toolkit.foundation.sizes import parse_size
from toolkit.memory.disk import fixed_bytes, prefix_bytes
from toolkit.memory.facts import FileMemoryFacts
from toolkit.memory.forgetting import identity
from toolkit.memory.offer import whole
from toolkit.memory.rows import Stored
from toolkit.memory.store import ExemplarMemory
from toolkit.memory.views import ExemplarDataset

Policy = Literal["balanced", "reservoir"]
POLICIES = ("balanced", "reservoir")
KEY_BYTES = 4
"""Bytes of an image's key, stored with it. Two of a million images share a key with a probability of one in 4,000 each;
the second of them is then taken for the first."""
_KEYS = 2 ** (8 * KEY_BYTES)
"""Larger than every key."""
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

    A repeated image counts once, under its first label. Images that would not be kept are not encoded. The others wait
    in memory until :data:`COMMIT_EVERY` have come, and are then written in one transaction; :meth:`commit` writes them
    at once, and so does leaving the ``with`` block without an error. A process that is killed loses what waits, never
    what is written. The file is an :class:`~toolkit.memory.store.ExemplarMemory`: all of its commands and functions
    apply, also while it is open here.

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
        made = parse_codec(codec) if isinstance(codec, str) else codec
        if made is not None:
            _refuse_network(made)
        self.memory = ExemplarMemory(path, parse_size(budget) if isinstance(budget, str) else budget, made)
        self.policy = policy
        self._seed = seed
        self._random = np.random.default_rng(seed)
        self._waiting: dict[int, _Waiting] = {}
        self._decoded = _Decoded(decoded_bytes)
        self._size: Size | None = None
        try:
            _refuse_network(self.memory.codec)
            self._read_keys()
            self._make_room()
        except BaseException:
            self.memory.close()
            raise

    def __enter__(self) -> ReplayMemory:
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, at: TracebackType | None) -> None:
        try:
            if kind is None:
                self.commit()
        finally:
            self.memory.close()

    def __len__(self) -> int:
        """Number of images that can be drawn."""
        self._refresh()
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

        If they cannot be written, none of them is taken.

        Args:
            images: before normalisation and augmentation: a uint8 tensor (N, C, H, W), a uint8 array (N, H, W, C), with
                three channels or one, or PIL images. All images of a memory have one size.
            labels: N integers.

        Raises:
            UsageError: images or labels of another kind, shape or number, or a budget that is too small for one image
                of each class.
        """
        self._refresh()
        pixels = _as_array(images)
        numbers = [whole("a label", label, least=0) for label in torch.as_tensor(labels).reshape(-1).tolist()]
        if len(numbers) != len(pixels):
            raise UsageError(f"{len(pixels)} images need as many labels, got {len(numbers)}")
        size: Size = (pixels.shape[1], pixels.shape[2])
        known = self.memory.size or self._size
        if len(pixels) and known not in (None, size):
            raise UsageError(f"the memory holds images of (height, width) {known}, not {size}")
        keys = [self._key(image) for image in pixels]
        wanted: dict[int, int] = {}
        for index, (key, label) in enumerate(zip(keys, numbers, strict=True)):
            if key not in self._places and key not in self._waiting and self._may_stay(key, label):
                wanted.setdefault(key, index)
        if not wanted:
            return 0
        taken = list(wanted.values())
        payloads = self.memory.codec.encode(np.ascontiguousarray(pixels[taken]))
        self._size = size
        for index, payload in zip(taken, payloads, strict=True):
            self._waiting[keys[index]] = _Waiting(numbers[index], payload)
        if len(self._waiting) >= COMMIT_EVERY:
            try:
                self.commit()
            except BaseException:
                for index in taken:
                    self._waiting.pop(keys[index], None)
                raise
        return len(taken)

    def commit(self) -> None:
        """Write the images that wait.

        Raises:
            UsageError: the budget is too small for one image of each class; they go on waiting.
            WorkError: the file could not be written.
        """
        if not self._waiting:
            return
        self._refresh()
        before = {label: list(keys) for label, keys in self._keys.items()}

        def change(stored: dict[int, list[Stored]]) -> dict[int, list[tuple[bytes, bytes]]]:
            merged = {label: {_key_of(one): one.payload for one in items} for label, items in stored.items()}
            known = {key for items in merged.values() for key in items}
            for key, (label, payload) in self._waiting.items():
                if key not in known:
                    merged.setdefault(label, {})[key] = payload
            ordered = {label: sorted(items.items()) for label, items in merged.items()}
            before.update({label: [key for key, _ in items] for label, items in ordered.items()})
            if self.policy == "reservoir":
                ordered = self._smallest_keys(ordered)
            return {
                label: [(payload, key.to_bytes(KEY_BYTES, "little")) for key, payload in items]
                for label, items in ordered.items()
            }

        touched = None if self.policy == "reservoir" else {one.label for one in self._waiting.values()}
        self.memory.revise(touched, change, self._size)
        self._waiting.clear()
        self._read_keys()
        self._note_limits(before)

    def forget(self, label: int | None = None, image: str | None = None) -> int:
        """:meth:`ExemplarMemory.forget`, of images that wait as well."""
        gone = [
            key
            for key, one in self._waiting.items()
            if one.label == label or (image and identity(one.payload).startswith(image))
        ]
        counts = self.memory.class_counts
        names = (name for one in counts for name in self.memory.identities(one)) if image else ()
        stored = label in counts or any(name.startswith(str(image)) for name in names)
        count = self.memory.forget(label, image) if stored or not gone else 0  # which refuses what is not there
        for key in gone:
            del self._waiting[key]
        return len(gone) + count

    # -- reading -----------------------------------------------------------------------------------------------

    def sample(self, count: int) -> tuple[torch.Tensor, torch.Tensor]:
        """Draw different images at random: uint8 (K, 3, H, W) and labels int64 (K,); K is less if there are fewer.

        Raises:
            UsageError: the memory is empty.
            WorkError: an exemplar is damaged.
        """
        self._refresh()
        known = [*self._places, *self._waiting]
        if not known:
            raise UsageError("the memory is empty: add images before drawing from it")
        drawn = [known[place] for place in self._random.choice(len(known), min(count, len(known)), replace=False)]
        missing = [key for key in drawn if key not in self._decoded]
        fresh = dict(zip(missing, self._decode(missing), strict=True)) if missing else {}
        images = np.stack([fresh[key] if key in fresh else self._decoded[key] for key in drawn])
        for key, image in fresh.items():
            self._decoded.keep(key, image)
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
        limit = self._limit if self.policy == "reservoir" else self._limits.get(label, _KEYS)
        return key < limit

    def _refresh(self) -> None:
        """Read the keys again if the file has changed, by another process or through ``memory``."""
        if self.memory.revision() is not self._revision:
            self._read_keys()
            self._make_room()

    def _make_room(self) -> None:
        """Forget what has been decoded, and above which keys images were dropped."""
        self._decoded.clear()
        self._limits: dict[int, int] = {}
        self._limit = _KEYS

    def _read_keys(self) -> None:
        """Keys of the stored images by class, and label and rank by key."""
        self._revision = self.memory.revision()
        self._keys: dict[int, list[int]] = {}
        self._places: dict[int, tuple[int, int]] = {}
        for label in self.memory.class_counts:
            for one in self.memory.intact(label)[0]:
                if len(one.extra) != KEY_BYTES:
                    raise UsageError(
                        f"{self.memory.path} holds exemplars without keys: a replay memory continues only its own files"
                    )
                self._keys.setdefault(label, []).append(_key_of(one))
                self._places[_key_of(one)] = label, one.rank

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
            last = max(self._keys.get(label, ()), default=-1)
            dropped = min((key for key in keys if key > last), default=_KEYS)
            self._limits[label] = min(self._limits.get(label, _KEYS), dropped)
            self._limit = min(self._limit, dropped)

    def _decode(self, keys: Sequence[int]) -> np.ndarray:
        payloads = [
            self._waiting[key].payload if key in self._waiting else self.memory.payload(*self._places[key])
            for key in keys
        ]
        return self.memory.codec.decode(payloads, self.memory.size or self._size)


class _Decoded:
    """Decoded images by key, up to a number of bytes; those that were decoded first are dropped first."""

    def __init__(self, most_bytes: int) -> None:
        self._most_bytes = most_bytes
        self._images: OrderedDict[int, np.ndarray] = OrderedDict()
        self._used = 0

    def __len__(self) -> int:
        return len(self._images)

    def __contains__(self, key: int) -> bool:
        return key in self._images

    def __getitem__(self, key: int) -> np.ndarray:
        return self._images[key]

    def keep(self, key: int, image: np.ndarray) -> None:
        """Keep an image, if it has room at all."""
        while self._images and self._used + image.nbytes > self._most_bytes:
            self._used -= self._images.popitem(last=False)[1].nbytes
        if self._used + image.nbytes <= self._most_bytes:
            self._used += image.nbytes
            self._images[key] = image

    def clear(self) -> None:
        """Drop all."""
        self._images.clear()
        self._used = 0


def _key_of(stored: Stored) -> int:
    return int.from_bytes(stored.extra, "little")


def _refuse_network(codec: Codec) -> None:
    if needs_network(codec) or stores_features(codec):
        raise UsageError(f"a replay memory cannot use {codec}: its encoder runs a network")


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
