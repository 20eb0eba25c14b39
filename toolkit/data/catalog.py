"""Open a spec string as an :class:`ImageDataset`, decoded once and then memory-mapped from the cache.

A cache entry is a folder named by the source's content signature, the size and the decoder's version. It is built
under a temporary name and renamed when complete, so a killed or failed build leaves nothing that looks complete.

Failures are not cached: files that could not be read when an entry was built are tried again whenever it is opened,
and once they can be read, a new entry is built.
"""

from __future__ import annotations

import hashlib
import json
import os
import warnings
from collections import Counter
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from toolkit.data import demo, images, npz_source, sources, torchvision_source
from toolkit.data.dataset import ImageDataset, Quarantined, Split
from toolkit.data.grey import is_grey
from toolkit.data.originals import Originals
from toolkit.data.samples import remark_notes
from toolkit.data.sources import Entry, Source
from toolkit.data.spec import require_plain, split_spec
from toolkit.foundation.documents import parse_json, read_file
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.files import build_folder, cache_root
from toolkit.foundation.image_size import ImageSize, WrittenSize, parse_image_size, written_size
from toolkit.foundation.progress import Progress, silent
from toolkit.foundation.sizes import format_size
from toolkit.foundation.threads import ordered_map

DECODER_VERSION = 4
MAX_DATASET_BYTES = 64 * 1024**3
"""Limit of a decoded dataset in the cache."""
USUAL_SIZE = 224
_LOOKED_AT = 25
_SPLITS = ("train", "test")


@dataclass(frozen=True)
class _Located:
    """Content signature, how to open the source if it is not cached, files left out, whether images are files."""

    signature: str
    open: Callable[[], Source]
    left_out: tuple[tuple[str, str], ...] = ()
    files: bool = False


def load_dataset(
    spec: str, size: WrittenSize = 32, *, strict: bool = False, progress: Progress = silent
) -> ImageDataset:
    """Open a dataset at a size, from the cache if its content is unchanged.

    Args:
        spec: ``demo``, a folder, a ``.zip``, a ``.npz`` or ``torchvision:NAME``; for a folder or zip it may name the
            folders of the splits, see :mod:`toolkit.data.spec`.
        size: side of the images in pixels, or ``HEIGHTxWIDTH``, 8..1024.
        strict: read every file, cached or not, and fail if any is unreadable.
        progress: reports decoding.

    Raises:
        UsageError: no usable dataset at ``spec``, a class with fewer than two training images, ``size`` out of range,
            or more than :data:`MAX_DATASET_BYTES` decoded.
        WorkError: unreadable files with ``strict``, a failed download, or a cache that cannot be written.
    """
    size = written_size(size)
    located = _locate(spec)
    key = hashlib.sha256(f"{located.signature}|{size}|{DECODER_VERSION}".encode()).hexdigest()[:32]
    found = _cached(key, located, size)
    folder, failed = found or _build(located.open(), size, key, spec, progress)
    if strict and found is not None:
        failed = _failures(located.open().entries, size, progress)
    left_out = dict(located.left_out) | failed
    if strict and left_out:
        first, reason = next(iter(left_out.items()))
        raise WorkError(f"{len(left_out)} files are unreadable (--strict); first: {first}: {reason}")
    return _open_cached(folder, spec, size, left_out, located)


def usual_size(spec: str) -> int:
    """The size for a first look: the median shorter side of some training images, from 8 to :data:`USUAL_SIZE` pixels.

    Raises:
        UsageError: no usable dataset at ``spec``, or none of these images can be read.
    """
    entries = [entry for entry in _locate(spec).open().entries if entry.split == "train"]
    some = [entries[place] for place in np.unique(np.linspace(0, len(entries) - 1, _LOOKED_AT).astype(int))]
    sides = []
    for entry in some:
        with suppress(images.Unreadable), _no_warnings():
            sides.append(min(entry.read(images.Whole(USUAL_SIZE)).shape[:2]))
    if not sides:
        raise UsageError(f"{spec}: none of {len(some)} training images can be read")
    return max(8, int(np.median(sides)))


def absolute_spec(spec: str) -> str:
    """The spec with its path, if any, made absolute, so that a run's folder can be opened from anywhere."""
    spec = spec.strip()
    if not spec or spec == "demo" or spec.startswith("torchvision:"):
        return spec
    where, named = split_spec(spec)
    try:
        return str(Path(where).expanduser().resolve()) + (spec[len(where) :] if named is not None else "")
    except (RuntimeError, ValueError, OSError) as error:  # no such user, a null byte, a loop of links
        raise UsageError(f"{spec!r} is not a path: {one_line(error)}") from None


def short_name(spec: str) -> str:
    """Name of a dataset in file names: ``demo``, ``CIFAR100``, or the name of its folder or archive."""
    return Path(split_spec(spec)[0].removeprefix("torchvision:")).stem or "dataset"


def _locate(spec: str) -> _Located:
    where, named = split_spec(spec)
    path = Path(os.path.expanduser(where))
    is_tree = bool(where) and where != "demo" and (os.path.isdir(path) or path.suffix.lower() == ".zip")
    if named is not None and not is_tree:
        raise UsageError(f"--train and --test are for a folder or a .zip, not for {where}")
    if spec == "demo":
        return _Located(demo.VERSION, demo.open_demo)
    if spec.startswith("torchvision:"):
        name = spec.removeprefix("torchvision:")
        return _Located(
            torchvision_source.torchvision_signature(name), lambda: torchvision_source.open_torchvision(name)
        )
    if not where or not os.path.exists(path):
        raise UsageError(f"{where!r} does not exist: expected demo, a folder, a .zip, a .npz or torchvision:NAME")
    require_plain(where)
    if is_tree:
        source = (sources.open_folder if os.path.isdir(path) else sources.open_zip)(path, named)
        return _Located(source.signature, lambda: source, source.left_out, files=True)
    if path.suffix.lower() == ".npz":
        return _Located(npz_source.npz_signature(path), lambda: npz_source.open_npz(path))
    raise UsageError(f"{path} is neither a folder nor a .zip or .npz file")


def _cached(key: str, located: _Located, size: WrittenSize) -> tuple[Path, dict[str, str]] | None:
    """The most complete entry whose failed files still fail, with the current reasons; None if there is none."""
    failed_then = {folder: set(_read_meta(folder)["failed"]) for folder in _entries_of(key)}
    for folder, names in sorted(failed_then.items(), key=lambda entry: len(entry[1])):
        entries = [entry for entry in located.open().entries if entry.name in names] if names else []
        failed = _failures(entries, size)
        if names == failed.keys():
            return folder, failed
    return None


def _entries_of(key: str) -> list[Path]:
    return sorted((cache_root() / "datasets").glob(f"{key}*"))


def _failures(entries: Sequence[Entry], size: WrittenSize, progress: Progress = silent) -> dict[str, str]:
    """The names of the entries that cannot be read now, with reasons."""
    failed = {}
    with _no_warnings():
        for done, read in enumerate(ordered_map(lambda entry: _read(entry, size), entries)):
            progress("reading", done + 1, len(entries))
            if isinstance(read.pixels, str):
                failed[entries[done].name] = read.pixels
    return failed


class _Read(NamedTuple):
    """An entry's pixels, or the reason for having none; and remarks about it."""

    pixels: np.ndarray | str
    remarks: list[str]


def _read(entry: Entry, size: WrittenSize) -> _Read:
    remarks: list[str] = []
    try:
        return _Read(entry.read(size, remarks.append), remarks)
    except images.Unreadable as error:
        return _Read(one_line(error), [])


@contextmanager
def _no_warnings() -> Iterator[None]:
    """Silence warnings around all threads: entering it in each thread would not be thread-safe."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        yield


def _build(source: Source, size: WrittenSize, key: str, spec: str, progress: Progress) -> tuple[Path, dict[str, str]]:
    """Decode ``source`` into a new entry; returns its folder and the failed files with reasons."""
    _refuse_too_large(source, size, spec)
    earlier = _entries_of(key)
    folder = cache_root() / "datasets" / (f"{key}-{len(earlier)}" if earlier else key)
    failed: dict[str, str] = {}

    def fill(building: Path) -> None:
        with _no_warnings():
            meta = _decode_all(source, size, building, spec, progress)
        failed.update(meta["failed"])
        (building / "meta.json").write_text(json.dumps(meta | {"failed": list(failed)}))

    build_folder(folder, fill)
    return folder, failed


def _refuse_too_large(source: Source, size: WrittenSize, spec: str) -> None:
    if (decoded := len(source.entries) * 3 * parse_image_size(size).pixels) > MAX_DATASET_BYTES:
        raise UsageError(
            f"{spec}: {len(source.entries)} images of {size} pixels take {format_size(decoded)} decoded, the limit is "
            f"{format_size(MAX_DATASET_BYTES)}: choose a smaller size (memory build --shards has no such limit)"
        )


def _decode_all(source: Source, size: WrittenSize, folder: Path, spec: str, progress: Progress) -> dict:
    """Write pixels, labels and file sizes of every split; returns the other metadata, with failures and reasons."""
    failed = dict(source.left_out)
    digests: dict[str, list[bytes]] = {}
    grey = True
    remarks: Counter[str] = Counter()
    content = hashlib.sha256(json.dumps([size, source.class_names]).encode())
    done = 0
    for split in _SPLITS:
        entries = [entry for entry in source.entries if entry.split == split]
        kept: list[Entry] = []
        digests[split] = []
        with open(folder / f"{split}.rgb", "wb") as file:
            for entry, read in zip(entries, ordered_map(lambda e: _read(e, size), entries), strict=True):
                done += 1
                progress("decoding", done, len(source.entries))
                if isinstance(read.pixels, str):
                    failed[entry.name] = read.pixels
                    continue
                file.write(read.pixels.tobytes())
                digests[split].append(images.content_digest(read.pixels))
                grey = grey and is_grey(read.pixels)
                remarks.update(read.remarks)
                kept.append(entry)
        labels, file_bytes = (
            np.array([getattr(entry, name) for entry in kept], dtype=np.int64) for name in ("label", "file_bytes")
        )
        np.save(folder / f"{split}_labels.npy", labels)
        np.save(folder / f"{split}_file_bytes.npy", file_bytes)
        (folder / f"{split}.digests").write_bytes(b"".join(digests[split]))
        content.update(b"".join([split.encode(), labels.tobytes(), file_bytes.tobytes(), *digests[split]]))
        _require_usable(labels, split, source, spec, len(failed))
    notes = [*source.notes, *remark_notes(remarks)]
    in_train = set(digests["train"])
    if twins := sum(digest in in_train for digest in digests["test"]):
        notes.append(f"{twins} test images have exactly the pixels of a training image: their accuracy says little")
    unread = {name: reason for name, reason in failed.items() if name not in dict(source.left_out)}
    return {
        "class_names": source.class_names,
        "failed": unread,
        "notes": notes,
        "signature": content.hexdigest()[:32],
        "grey": grey,
    }


def _require_usable(labels: np.ndarray, split: str, source: Source, spec: str, lost: int) -> None:
    needed = 2 if split == "train" else 1
    counts = np.bincount(labels, minlength=len(source.class_names))
    short = [f"{source.class_names[k]} ({counts[k]})" for k in np.flatnonzero(counts < needed)]
    if short:
        because = [f"{lost} unreadable files were left out"] * bool(lost) + list(source.notes)
        found = "; ".join([", ".join(short[:5]), *because])
        raise UsageError(
            f"{spec}: expected at least {needed} readable {split} image{'s' * (needed > 1)} per class, "
            f"found fewer in {found}"
        )


def _read_meta(folder: Path) -> dict[str, Any]:
    """The metadata of a cache entry.

    Raises:
        WorkError: it is damaged.
    """
    try:
        meta = parse_json(read_file(folder / "meta.json"))
        return {name: meta[name] for name in ("class_names", "failed", "notes", "signature", "grey")}
    except (OSError, ValueError, KeyError, TypeError) as error:
        raise _damaged(folder, error) from error


def _open_cached(
    folder: Path, spec: str, size: WrittenSize, left_out: dict[str, str], located: _Located
) -> ImageDataset:
    meta = _read_meta(folder)
    try:
        train, test = (_open_split(folder, split, parse_image_size(size)) for split in _SPLITS)
    except (OSError, ValueError, EOFError) as error:
        raise _damaged(folder, error) from error
    quarantine = tuple(Quarantined(file, reason) for file, reason in left_out.items())
    class_names, notes = tuple(meta["class_names"]), tuple(meta["notes"])
    originals = Originals(
        lambda: located.open().entries,
        set(left_out),
        lambda: _read_digests(folder),
        has_files=located.files,
        signature=located.signature,
    )
    return ImageDataset(
        spec, size, class_names, train, test, quarantine, notes, meta["signature"], originals, meta["grey"]
    )


def _read_digests(folder: Path) -> dict[str, list[bytes]]:
    """Digests of the images of each split, from a cache entry.

    Raises:
        WorkError: they cannot be read.
    """
    try:
        joined = {split: (folder / f"{split}.digests").read_bytes() for split in _SPLITS}
    except OSError as error:
        raise _damaged(folder, error) from error
    length = images.DIGEST_BYTES
    return {name: [whole[at : at + length] for at in range(0, len(whole), length)] for name, whole in joined.items()}


def _damaged(folder: Path, error: Exception) -> WorkError:
    return WorkError(f"the cached copy {folder} is damaged ({one_line(error)}); delete that folder")


def _open_split(folder: Path, split: str, size: ImageSize) -> Split:
    labels = np.load(folder / f"{split}_labels.npy", allow_pickle=False)
    file_bytes = np.load(folder / f"{split}_file_bytes.npy", allow_pickle=False)
    pixels = np.memmap(folder / f"{split}.rgb", np.uint8, "r", shape=(len(labels), *size, 3))
    return Split(pixels, labels, file_bytes)
