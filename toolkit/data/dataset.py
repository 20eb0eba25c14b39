"""The dataset as every other room receives it: images, labels, and files that could not be read."""

from __future__ import annotations

import hashlib
from dataclasses import dataclass, replace
from typing import Protocol

import numpy as np

from toolkit.data.images import Whole
from toolkit.foundation.image_size import ImageSize, WrittenSize, parse_image_size

HELD_OUT_SHARE = 0.2
SPLIT_SEED = 0


@dataclass(frozen=True)
class Split:
    """One split of a dataset.

    Attributes:
        images: uint8, shape (N, H, W, 3), RGB; usually a read-only memory map.
        labels: int64, shape (N,), indices into the dataset's class names.
        file_bytes: int64, shape (N,), bytes of each original file (of its raw pixels if there is no file).
    """

    images: np.ndarray
    labels: np.ndarray
    file_bytes: np.ndarray

    def __len__(self) -> int:
        return len(self.labels)


@dataclass(frozen=True)
class Quarantined:
    """A file that could not be used, and the reason."""

    file: str
    reason: str


class SourceImages(Protocol):
    """Where the images of a dataset come from."""

    @property
    def has_files(self) -> bool:
        """Whether each image has a file of its own."""

    def file_of(self, image: np.ndarray) -> bytes:
        """The bytes of the file of an image, uint8 (H, W, 3).

        Raises:
            WorkError: there is none, or it cannot be read.
        """

    @property
    def signature(self) -> str:
        """Changes with the sources."""

    def whole_of(self, image: np.ndarray, wanted: Whole) -> np.ndarray:
        """All of the source of an image, uint8 (H, W, 3).

        Raises:
            WorkError: it cannot be read.
        """


@dataclass(frozen=True)
class ImageDataset:
    """RGB images of one size and known classes, with a train and a test split.

    Attributes:
        name: the spec it was opened with.
        size: of every image, as written in :mod:`toolkit.foundation.image_size`.
        class_names: one name per label.
        train: the training split.
        test: the test split.
        quarantine: files left out, with reasons.
        notes: remarks for the user, such as a held-out test split, a guessed sample range, images in both splits.
        signature: hexadecimal digest of the content and size; equal signatures mean equal pixels.
        originals: where the images come from; None if that is not known.
        grey: whether all images are grey, with three equal channels.
    """

    name: str
    size: WrittenSize
    class_names: tuple[str, ...]
    train: Split
    test: Split
    quarantine: tuple[Quarantined, ...]
    notes: tuple[str, ...]
    signature: str
    originals: SourceImages | None = None
    grey: bool = False

    @property
    def sides(self) -> ImageSize:
        """Height and width of every image."""
        return parse_image_size(self.size)

    @property
    def has_files(self) -> bool:
        """Whether each image has a source file."""
        return self.originals is not None and self.originals.has_files

    @property
    def raw_image_bytes(self) -> int:
        """Bytes of one image as raw pixels: one per pixel if all images are grey, else three."""
        return (1 if self.grey else 3) * self.sides.pixels

    @property
    def decoded_image_bytes(self) -> int:
        """Bytes of one image as RGB pixels in main memory."""
        return 3 * self.sides.pixels

    def train_class_sizes(self) -> list[int]:
        """Number of training images per class."""
        return np.bincount(self.train.labels, minlength=len(self.class_names)).tolist()

    def stratified_train_indices(self, count: int, seed: int) -> np.ndarray:
        """Sorted indices of at most ``count`` training images, with class sizes as equal as the data allow.

        Args:
            count: total number of images.
            seed: of the draw within each class.
        """
        return stratified_indices(self.train.labels, count, seed)


def stratified_indices(labels: np.ndarray, count: int, seed: int) -> np.ndarray:
    """Sorted indices of at most ``count`` images, with class sizes as equal as the data allow; int64.

    Args:
        labels: int (N,).
        count: total number of images.
        seed: of the draw within each class.
    """
    rng = np.random.default_rng(seed)
    shuffled = [rng.permutation(np.flatnonzero(labels == k)) for k in range(int(labels.max(initial=-1)) + 1)]
    in_turn: list[int] = []
    for place in range(max((len(members) for members in shuffled), default=0)):
        left = [members[place] for members in shuffled if place < len(members)]
        in_turn += left if len(in_turn) + len(left) <= count else rng.permutation(left).tolist()
        if len(in_turn) >= count:
            break
    return np.sort(np.array(in_turn[:count], dtype=np.int64))


def held_out_indices(labels: np.ndarray) -> np.ndarray:
    """Sorted indices of a fixed, stratified fifth of the images for testing, at least one per class."""
    rng = np.random.default_rng(SPLIT_SEED)
    members = [np.flatnonzero(labels == label) for label in np.unique(labels)]
    return np.sort(np.concatenate([rng.permutation(m)[: max(1, round(HELD_OUT_SHARE * len(m)))] for m in members]))


def validation_view(dataset: ImageDataset, most_bytes: int | None = None) -> ImageDataset:
    """The training split alone, with a fifth of every class held out for testing; it contains no real test image.

    A class with a single image has no test image.

    Args:
        dataset: its training split is divided.
        most_bytes: limit in bytes of pixels; a larger split is subsampled evenly over classes. None means no limit.
    """
    chosen = np.arange(len(dataset.train))
    if most_bytes is not None and (most := max(1, most_bytes // dataset.decoded_image_bytes)) < len(chosen):
        chosen = dataset.stratified_train_indices(most, SPLIT_SEED)
    labels = dataset.train.labels[chosen]
    held = held_out_indices(labels)
    held = held[np.bincount(labels)[labels[held]] > 1]
    kept, tested = np.delete(chosen, held), chosen[held]

    def part(indices: np.ndarray) -> Split:
        train = dataset.train
        return Split(np.asarray(train.images[indices]), train.labels[indices], train.file_bytes[indices])

    signature = hashlib.sha256(f"validation|{len(chosen)}|{dataset.signature}".encode()).hexdigest()
    return replace(dataset, train=part(kept), test=part(tested), signature=signature)
