"""Datasets downloaded by torchvision, which is imported only if a requested dataset is not cached yet."""

from __future__ import annotations

import math
import os
from collections.abc import Callable
from typing import Any

import numpy as np

from toolkit.data import images
from toolkit.data.images import Framing
from toolkit.data.names import printable_name
from toolkit.data.samples import Tell, unsaid
from toolkit.data.sources import Entry, Source, hold_out
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import cache_root

_TRAIN_TEST: dict[str, Any] = {"train": {"split": "train"}, "test": {"split": "test"}}
SPLITS: dict[str, dict[str, dict[str, Any]]] = {
    "CIFAR10": {"train": {"train": True}, "test": {"train": False}},
    "CIFAR100": {"train": {"train": True}, "test": {"train": False}},
    "Flowers102": _TRAIN_TEST,
    "OxfordIIITPet": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "Food101": _TRAIN_TEST,
    "EuroSAT": {"train": {}},
    "FGVCAircraft": {"train": {"split": "trainval"}, "test": {"split": "test"}},
    "StanfordCars": _TRAIN_TEST,
}
"""The arguments that select each split; EuroSAT has no test split, so part of it is held out."""


def torchvision_signature(name: str) -> str:
    """A constant signature, as these datasets do not change: a cached copy opens without importing torchvision.

    Raises:
        UsageError: not one of :data:`SPLITS`.
    """
    if name not in SPLITS:
        raise UsageError(f"torchvision:{name} is not known; choose one of {', '.join(SPLITS)}")
    return f"torchvision:{name}"


def open_torchvision(name: str) -> Source:
    """Download (with torchvision's progress bar) and list one of :data:`SPLITS`.

    Raises:
        UsageError: unknown name.
        WorkError: the download failed, for instance offline.
    """
    mark = torchvision_signature(name)
    import torchvision

    root = cache_root() / "torchvision" / name
    opened = {}
    for split, arguments in SPLITS[name].items():
        try:
            root.mkdir(parents=True, exist_ok=True)
            opened[split] = _construct(getattr(torchvision.datasets, name), str(root), arguments)
        except Exception as error:  # torchvision raises RuntimeError, URLError, OSError and others
            raise WorkError(
                f"torchvision:{name} could not be downloaded ({one_line(error)}); "
                f"connect to the internet, or put its files into {root}"
            ) from error
    first = next(iter(opened.values()))
    entries = [
        _entry(split, dataset, index, label, file_bytes)
        for split, dataset in opened.items()
        for index, (label, file_bytes) in enumerate(zip(_labels(dataset), _file_sizes(dataset), strict=True))
    ]
    notes: tuple[str, ...] = ()
    if "test" not in opened:
        entries, note = hold_out(entries)
        notes = (note,)
    names = getattr(first, "classes", None) or [str(k) for k in sorted({entry.label for entry in entries})]
    return Source(tuple(printable_name(str(name)) for name in names), tuple(entries), mark, notes)


def _construct(factory: Callable[..., Any], root: str, arguments: dict[str, Any]) -> Any:
    try:
        return factory(root, download=False, **arguments)
    except Exception:  # not downloaded yet
        return factory(root, download=True, **arguments)


def _labels(dataset: Any) -> list[int]:
    for attribute in ("targets", "_labels"):
        if hasattr(dataset, attribute):
            return [int(label) for label in getattr(dataset, attribute)]
    if hasattr(dataset, "_samples"):
        return [int(label) for _, label in dataset._samples]
    return [int(dataset[index][1]) for index in range(len(dataset))]


def _file_sizes(dataset: Any) -> list[int]:
    """Bytes of each image's file, or of its raw pixels for datasets stored as one array (CIFAR, MNIST)."""
    if hasattr(dataset, "data"):
        return [math.prod(dataset.data.shape[1:])] * len(dataset)
    for attribute in ("_image_files", "_images", "_samples", "samples"):
        if hasattr(dataset, attribute):
            paths = [item[0] if isinstance(item, tuple) else item for item in getattr(dataset, attribute)]
            return [os.path.getsize(path) for path in paths]
    raise WorkError(f"{type(dataset).__name__}: cannot find its files in this torchvision release")


def _entry(split: str, dataset: Any, index: int, label: int, file_bytes: int) -> Entry:
    def read(framing: Framing, tell: Tell = unsaid) -> np.ndarray:
        try:
            image, _ = dataset[index]
            return images.framed(images.to_rgb(image, tell), framing)
        except Exception as error:  # Pillow raises all kinds of errors for a damaged download
            raise images.Unreadable(one_line(error)) from error

    return Entry(split, label, f"{split}[{index}]", file_bytes, read)
