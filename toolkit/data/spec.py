"""Dataset specs: a location and, if the folder names do not tell, the folders of the splits.

``FOLDER?train=Lernen&test=Pruefung`` names them, with ``%`` escapes as in a URL. An existing folder with such a name
takes precedence. The folders are part of the spec, so that a request, a run and the app open the same dataset.
"""

from __future__ import annotations

import os
from dataclasses import dataclass
from pathlib import PurePosixPath
from urllib.parse import parse_qsl, quote, urlencode

from toolkit.data.names import is_plain, printable_name
from toolkit.foundation.errors import UsageError

_SAFE = "/ .,()"
EVERYTHING = "."
"""The dataset's own folder as the training split: its folders are the classes, whatever their names."""


@dataclass(frozen=True)
class SplitFolders:
    """Folders inside a dataset, with ``/`` between their parts, that the user named as its splits.

    Attributes:
        train: folder of the training split; :data:`EVERYTHING` for the dataset's own folder.
        test: folder of the test split; None holds out part of the training split.
    """

    train: str
    test: str | None = None

    def __post_init__(self) -> None:
        for option, folder in (("train", self.train), ("test", self.test)):
            if folder is not None and not _is_inside(folder):
                raise UsageError(f"--{option} takes a folder inside the dataset, such as {option}, got {folder!r}")
        if self.test is not None and parts_of(self.train) == parts_of(self.test):
            raise UsageError(f"--train and --test name the same folder: {self.train}")


def parts_of(folder: str) -> tuple[str, ...]:
    """The parts of a path inside a dataset; empty for :data:`EVERYTHING`."""
    return PurePosixPath(folder).parts


def _is_inside(folder: str) -> bool:
    path = PurePosixPath(folder)
    return bool(folder.strip()) and not path.is_absolute() and ".." not in path.parts


def split_spec(spec: str) -> tuple[str, SplitFolders | None]:
    """Split a spec into the location of the dataset and the folders that its user named.

    Raises:
        UsageError: a key other than train and test after the question mark, or a folder outside the dataset.
    """
    where, mark, query = spec.rpartition("?")
    if not mark or "=" not in query or _exists(spec):
        return spec, None
    named = parse_qsl(query, keep_blank_values=True)
    words = dict(named)
    if len(words) < len(named) or not {"train"} <= words.keys() <= {"train", "test"}:
        raise UsageError(f"{spec}: expected ?train=FOLDER or ?train=FOLDER&test=FOLDER, got ?{query}")
    return where, SplitFolders(words["train"], words.get("test"))


def with_splits(spec: str, train: str | None, test: str | None) -> str:
    """A spec including the folders of ``--train`` and ``--test``, if given.

    Raises:
        UsageError: ``--test`` alone, a folder outside the dataset, or a spec that already names folders.
    """
    if train is None and test is None:
        return spec
    where, named = split_spec(spec)
    if named is not None:
        raise UsageError(f"{spec} already names its folders: omit --train and --test")
    if train is None:
        raise UsageError("--test needs --train FOLDER (--train . if every other folder is a class)")
    folders = SplitFolders(train, test)
    words = {"train": folders.train} | ({} if test is None else {"test": test})
    return f"{where}?{urlencode(words, safe=_SAFE, quote_via=quote)}"


def require_plain(path: str) -> None:
    """Refuse a path that cannot be written in results and tables.

    Raises:
        UsageError: bytes that are not UTF-8, or control characters.
    """
    if not is_plain(path):
        raise UsageError(
            f"{printable_name(path)} has bytes that are not UTF-8 or control characters in its name: rename it"
        )


def _exists(spec: str) -> bool:
    try:
        return os.path.exists(os.path.expanduser(spec))
    except ValueError:  # a null byte
        return False
