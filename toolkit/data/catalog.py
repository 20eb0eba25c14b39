"""A spec string to an :class:`ImageDataset`, decoded once and then memory-mapped from the cache.

A cache entry is a folder named by the source's content signature, the size and the decoder's version. It is built
under a temporary name and renamed when complete, so a killed or failed build leaves nothing behind that looks whole.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np

from toolkit.data import demo, images, npz_source, sources, torchvision_source
from toolkit.data.dataset import ImageDataset, Quarantined, Split
from toolkit.data.sources import Entry, Source
from toolkit.foundation.documents import parse_json, read_file
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import build_folder, cache_root
from toolkit.foundation.parallel import ordered_map
from toolkit.foundation.progress import Progress, silent

DECODER_VERSION = 2
SIZES = (8, 1024)
_SPLITS = ("train", "test")
_STALE_SECONDS = 24 * 3600


def load_dataset(spec: str, size: int = 32, *, strict: bool = False, progress: Progress = silent) -> ImageDataset:
    """Open a dataset at a size, from the cache when its content is unchanged.

    Args:
        spec: ``demo``, a folder, a ``.zip``, a ``.npz`` or ``torchvision:NAME``.
        size: side of the images in pixels, 8..1024.
        strict: treat any unreadable file as a failure.
        progress: told about decoding.

    Raises:
        UsageError: nothing usable at ``spec``, a class with fewer than two training images, ``size`` out of range.
        WorkError: unreadable files under ``strict``, a failed download, or a cache that cannot be written.
    """
    if not SIZES[0] <= size <= SIZES[1]:
        raise UsageError(f"size must be {SIZES[0]}..{SIZES[1]} pixels, got {size}")
    content, open_source = _locate(spec)
    key = hashlib.sha256(f"{content}|{size}|{DECODER_VERSION}".encode()).hexdigest()[:32]
    folder = cache_root() / "datasets" / key
    if not os.path.isfile(folder / "meta.json"):
        _build(open_source(), size, folder, spec, progress)
    dataset = _open_cached(folder, spec, size, key)
    if strict and dataset.quarantine:
        first = dataset.quarantine[0]
        count = len(dataset.quarantine)
        raise WorkError(f"{count} files are unreadable (--strict); first: {first.file}: {first.reason}")
    return dataset


def absolute_spec(spec: str) -> str:
    """The spec with its path, if it is one, made absolute: what is kept in a run's folder is opened from anywhere."""
    spec = spec.strip()
    if not spec or spec == "demo" or spec.startswith("torchvision:"):
        return spec
    try:
        return str(Path(spec).expanduser().resolve())
    except (RuntimeError, ValueError, OSError) as error:  # no such user, a null byte, a loop of links
        raise UsageError(f"{spec!r} is no path: {one_line(error)}") from None


def short_name(spec: str) -> str:
    """What a dataset is called in the names of files: ``demo``, ``CIFAR100``, a folder's or archive's own name."""
    return Path(spec.removeprefix("torchvision:")).stem or "dataset"


def _locate(spec: str) -> tuple[str, Callable[[], Source]]:
    """A content signature, and how to open the source should it not be cached (the demo is then drawn, and so on)."""
    if spec == "demo":
        return demo.VERSION, demo.open_demo
    if spec.startswith("torchvision:"):
        name = spec.removeprefix("torchvision:")
        return torchvision_source.signature(name), lambda: torchvision_source.open_torchvision(name)
    path = Path(os.path.expanduser(spec))
    if spec and os.path.isdir(path):
        return _opened(sources.open_folder(path))
    if not spec or not os.path.exists(path):
        raise UsageError(f"{spec!r} does not exist: expected demo, a folder, a .zip, a .npz or torchvision:NAME")
    if path.suffix.lower() == ".zip":
        return _opened(sources.open_zip(path))
    if path.suffix.lower() == ".npz":
        return npz_source.signature(path), lambda: npz_source.open_npz(path)
    raise UsageError(f"{path} is neither a folder nor a .zip or .npz file")


def _opened(source: Source) -> tuple[str, Callable[[], Source]]:
    return source.signature, lambda: source


def _build(source: Source, size: int, folder: Path, spec: str, progress: Progress) -> None:
    """Decode ``source`` into ``folder``."""

    def fill(building: Path) -> None:
        with warnings.catch_warnings():  # around all threads: entering it in each would not be thread-safe
            warnings.simplefilter("ignore")
            meta = _decode_all(source, size, building, spec, progress)
        (building / "meta.json").write_text(json.dumps(meta))

    build_folder(folder, fill)


def _decode_all(source: Source, size: int, folder: Path, spec: str, progress: Progress) -> dict:
    quarantine: list[tuple[str, str]] = []
    digests: dict[str, list[bytes]] = {}
    done = 0
    for split in _SPLITS:
        entries = [entry for entry in source.entries if entry.split == split]
        kept: list[Entry] = []
        digests[split] = []
        with open(folder / f"{split}.rgb", "wb") as file:
            for entry, pixels in zip(entries, ordered_map(lambda e: _read(e, size), entries), strict=True):
                done += 1
                progress("decoding", done, len(source.entries))
                if isinstance(pixels, str):
                    quarantine.append((entry.name, pixels))
                    continue
                data = pixels.tobytes()
                file.write(data)
                digests[split].append(hashlib.blake2b(data, digest_size=16).digest())
                kept.append(entry)
        np.save(folder / f"{split}_labels.npy", np.array([entry.label for entry in kept], dtype=np.int64))
        np.save(folder / f"{split}_file_bytes.npy", np.array([entry.file_bytes for entry in kept], dtype=np.int64))
        _require_usable(kept, split, source, spec, len(quarantine))
    in_train = set(digests["train"])
    twins = sum(digest in in_train for digest in digests["test"])
    notes = list(source.notes)
    if twins:
        notes.append(f"{twins} test images have exactly the pixels of a training image: accuracy on them says little")
    return {"class_names": source.class_names, "quarantine": quarantine, "notes": notes}


def _read(entry: Entry, size: int) -> np.ndarray | str:
    try:
        return entry.read(size)
    except images.Unreadable as error:
        return one_line(error)


def _require_usable(kept: Sequence[Entry], split: str, source: Source, spec: str, lost: int) -> None:
    needed = 2 if split == "train" else 1
    counts = np.bincount([entry.label for entry in kept], minlength=len(source.class_names))
    short = [f"{source.class_names[k]} ({counts[k]})" for k in np.flatnonzero(counts < needed)]
    if short:
        because = [f"{lost} unreadable files were left out"] * bool(lost) + list(source.notes)
        found = "; ".join([", ".join(short[:5]), *because])
        raise UsageError(
            f"{spec}: expected at least {needed} readable {split} image{'s' * (needed > 1)} in each class, "
            f"found fewer in {found}"
        )


def _open_cached(folder: Path, spec: str, size: int, key: str) -> ImageDataset:
    try:
        meta = parse_json(read_file(folder / "meta.json"))
        class_names, notes = tuple(meta["class_names"]), tuple(meta["notes"])
        quarantine = tuple(Quarantined(file, reason) for file, reason in meta["quarantine"])
        train, test = (_open_split(folder, split, size) for split in _SPLITS)
    except (OSError, ValueError, EOFError, KeyError, TypeError) as error:
        raise WorkError(f"the cached copy {folder} is damaged ({one_line(error)}); delete that folder") from error
    return ImageDataset(spec, size, class_names, train, test, quarantine, notes, key)


def _open_split(folder: Path, split: str, size: int) -> Split:
    labels = np.load(folder / f"{split}_labels.npy", allow_pickle=False)
    file_bytes = np.load(folder / f"{split}_file_bytes.npy", allow_pickle=False)
    pixels = np.memmap(folder / f"{split}.rgb", np.uint8, "r", shape=(len(labels), size, size, 3))
    return Split(pixels, labels, file_bytes)
