"""A dataset in numbers: the JSON of ``recallrate data``."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import TypedDict

import numpy as np

from toolkit.data.dataset import ImageDataset
from toolkit.foundation.image_size import WrittenSize


class LeftOutFile(TypedDict):
    """A file that was left out, and the reason."""

    file: str
    reason: str


class FoundFacts(TypedDict):
    """Files left out, and remarks for the user."""

    quarantine: list[LeftOutFile]
    notes: list[str]


ClassFacts = TypedDict("ClassFacts", {"class": str, "train": int, "test": int, "file_bytes": float})
"""Name, training and test images, and mean bytes of the original training files of one class."""


class DatasetFacts(FoundFacts):
    """Facts of a dataset.

    Attributes:
        size: of the images.
        raw_image_bytes: bytes of one image as raw pixels.
        raw_bytes, original_bytes: bytes of all training images, as raw pixels and as original files.
        original_file_bytes: mean bytes of an original training file.
    """

    dataset: str
    size: WrittenSize
    classes: list[ClassFacts]
    train_images: int
    test_images: int
    raw_image_bytes: int
    raw_bytes: int
    original_bytes: int
    original_file_bytes: float
    signature: str


def summary(dataset: ImageDataset) -> DatasetFacts:
    """Classes, counts, bytes, quarantine and notes."""
    return {
        "dataset": dataset.name,
        "size": dataset.size,
        "classes": class_rows(dataset),
        "train_images": len(dataset.train),
        "test_images": len(dataset.test),
        "raw_image_bytes": dataset.raw_image_bytes,
        "raw_bytes": dataset.raw_image_bytes * len(dataset.train),
        "original_bytes": int(dataset.train.file_bytes.sum()),
        "original_file_bytes": float(dataset.train.file_bytes.mean()),
        **found_facts(((item.file, item.reason) for item in dataset.quarantine), dataset.notes),
        "signature": dataset.signature,
    }


def found_facts(left_out: Iterable[tuple[str, str]], notes: Sequence[str]) -> FoundFacts:
    """Files left out, given as names with reasons, and notes for the user."""
    return {"quarantine": [{"file": name, "reason": reason} for name, reason in left_out], "notes": list(notes)}


def class_rows(dataset: ImageDataset) -> list[ClassFacts]:
    """One row per class: name, training and test images, mean bytes of its original training files."""
    train = np.bincount(dataset.train.labels, minlength=len(dataset.class_names))
    test = np.bincount(dataset.test.labels, minlength=len(dataset.class_names))
    file_bytes = np.bincount(dataset.train.labels, dataset.train.file_bytes, len(dataset.class_names)) / train
    return [
        {"class": name, "train": int(train[k]), "test": int(test[k]), "file_bytes": round(float(file_bytes[k]), 1)}
        for k, name in enumerate(dataset.class_names)
    ]
