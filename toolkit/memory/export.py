"""Export exemplars as ordinary image files: one folder per class, and a JSON file that maps folders to classes."""

from __future__ import annotations

import re
import unicodedata
from collections.abc import Iterable, Mapping
from functools import partial
from pathlib import Path
from typing import IO

import numpy as np

from toolkit.foundation.errors import UsageError, WorkError, describe_os_error
from toolkit.foundation.files import make_folder, write_atomically, write_json
from toolkit.memory.decoding import decode_each
from toolkit.memory.rows import DamagedExemplar
from toolkit.memory.sharded import ShardedMemory
from toolkit.memory.store import ExemplarMemory

CLASSES = "classes.json"
"""The file with the label and the name of each folder's class."""
_LONGEST = 80
"""Bytes of a folder name; file systems allow 255, Windows 260 characters for a whole path."""
_RESERVED = re.compile(r"(?i)(con|prn|aux|nul|com[0-9¹²³]|lpt[0-9¹²³])(\.|$)")
"""Device names reserved by Windows, with or without an extension."""


def export_files(memory: ExemplarMemory | ShardedMemory, folder: Path) -> tuple[int, list[DamagedExemplar]]:
    """Write each intact exemplar to ``folder/class/rank.ext``, and :data:`CLASSES` beside the classes.

    Exemplars without a file format of their own, such as ``raw``, are written as PNG. The files of a class sort in
    selection order.

    Returns:
        The number of files found on disk afterwards, and the exemplars left out because they are damaged.

    Raises:
        UsageError: the folder is not empty.
        WorkError: the folder cannot be written, or files are missing afterwards.
    """
    folder = Path(folder)
    if folder.exists() and (not folder.is_dir() or any(folder.iterdir())):
        raise UsageError(f"{folder} exists and is not an empty folder: choose another")
    make_folder(folder)
    written = 0
    damaged: list[DamagedExemplar] = []
    folders = folder_names(memory.class_names)
    write_json(
        folder / CLASSES,
        {name: {"label": label, "class": memory.class_names[label]} for label, name in folders.items()},
    )
    for label, name in folders.items():
        count, left_out = _export_class(memory, label, folder / name)
        written += count
        damaged += left_out
    found = _files(folder, set(folders.values()))
    if found != written:
        raise WorkError(f"{folder} contains {found} files, but {written} were written")
    return found, damaged


def _export_class(
    memory: ExemplarMemory | ShardedMemory, label: int, folder: Path
) -> tuple[int, list[DamagedExemplar]]:
    from toolkit.codecs.spec import parse_codec
    from toolkit.codecs.store import StoreCodec

    intact, damaged = memory.intact(label)
    images, failed = decode_each(memory.codec, [one.payload for one in intact], memory.size)
    damaged = damaged + [DamagedExemplar(label, intact[index].rank, reason) for index, reason in failed.items()]
    good = [one for index, one in enumerate(intact) if index not in failed]
    extension = memory.codec.extension
    png = parse_codec("png:shared=no") if extension in ("rgb", "") else None
    shown: Iterable[np.ndarray] = images
    if png is not None and isinstance(memory.codec, StoreCodec):
        shown = memory.codec.wholes([one.payload for one in good])
    for one, image in zip(good, shown, strict=True):
        file = memory.codec.to_file(one.payload) if png is None else png.encode(np.ascontiguousarray(image)[None])[0]
        name = f"{one.rank:06d}.{extension if png is None else 'png'}"
        write_atomically(folder / name, partial(_put, file))
    return len(good), damaged


def folder_names(names: Mapping[int, str]) -> dict[int, str]:
    """A folder name for each label: readable, and unique on every file system.

    Names that differ only in case or Unicode form count as equal, as they do on some file systems.
    """
    taken = {CLASSES}
    found: dict[int, str] = {}
    for label, name in names.items():
        plain = re.sub(r"[^\w.-]+", "_", unicodedata.normalize("NFC", name)).strip(".")
        plain = plain.encode()[:_LONGEST].decode(errors="ignore") or str(label)
        if _RESERVED.match(plain):
            plain = f"_{plain}"
        choice, number = plain, label
        while _folded(choice) in taken:
            choice, number = f"{plain}-{number}", number + 1
        taken.add(_folded(choice))
        found[label] = choice
    return found


def _folded(name: str) -> str:
    return unicodedata.normalize("NFKC", unicodedata.normalize("NFKC", name).casefold())


def _files(folder: Path, classes: set[str]) -> int:
    try:
        return sum(path.is_file() for path in folder.glob("*/*") if path.parent.name in classes)
    except OSError as error:
        raise WorkError(describe_os_error(error, "read", folder)) from error


def _put(data: bytes, out: IO[bytes]) -> None:
    out.write(data)
