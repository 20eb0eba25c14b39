"""A dataset in numbers: the ``data`` JSON of the contract."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

import numpy as np

from toolkit.data.dataset import ImageDataset


def summary(dataset: ImageDataset) -> dict[str, Any]:
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


def found_facts(left_out: Iterable[tuple[str, str]], notes: Sequence[str]) -> dict[str, Any]:
    """``quarantine`` and ``notes``: what was left out, as names with reasons, and what the user should know."""
    return {"quarantine": [{"file": name, "reason": reason} for name, reason in left_out], "notes": list(notes)}


def class_rows(dataset: ImageDataset) -> list[dict[str, Any]]:
    """One row a class: name, training and test images, mean bytes of its original training files."""
    train = np.bincount(dataset.train.labels, minlength=len(dataset.class_names))
    test = np.bincount(dataset.test.labels, minlength=len(dataset.class_names))
    file_bytes = np.bincount(dataset.train.labels, dataset.train.file_bytes, len(dataset.class_names)) / train
    return [
        {"class": name, "train": int(train[k]), "test": int(test[k]), "file_bytes": round(float(file_bytes[k]), 1)}
        for k, name in enumerate(dataset.class_names)
    ]
