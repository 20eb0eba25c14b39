"""The sources of a dataset's images, found by the pixels of the images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from dataclasses import KW_ONLY, dataclass
from functools import cached_property

import numpy as np

from toolkit.data.images import Unreadable, Whole, content_digest
from toolkit.data.sources import Entry
from toolkit.foundation.errors import WorkError, one_line


@dataclass(frozen=True)
class Originals:
    """Sources by pixels; images with the same pixels share one.

    Attributes:
        entries: opens the dataset's entries; called when the first source is wanted.
        left_out: names of entries that are not in the dataset.
        digests: reads the digests of the images of each split, in the order of its entries; called likewise.
        has_files: whether the entries have files.
        signature: changes with the sources.
    """

    entries: Callable[[], Iterable[Entry]]
    left_out: Collection[str]
    digests: Callable[[], dict[str, list[bytes]]]
    _: KW_ONLY
    has_files: bool = True
    signature: str = ""

    def file_of(self, image: np.ndarray) -> bytes:
        """The bytes of the file of an image, uint8 (H, W, 3).

        Raises:
            WorkError: there is no such image, or its file can no longer be read.
        """
        read = self._entry(image).file
        if read is None:
            raise WorkError("an image has no source file in its dataset")
        try:
            return read()
        except Exception as error:  # zlib, bz2 and lzma raise all kinds of errors for a damaged zip member
            raise WorkError(f"a source file cannot be read: {one_line(error)}") from error

    def whole_of(self, image: np.ndarray, wanted: Whole) -> np.ndarray:
        """All of the source of an image, uint8 (H, W, 3).

        Raises:
            WorkError: there is no such image, or its source can no longer be read.
        """
        try:
            return self._entry(image).read(wanted)
        except Unreadable as error:
            raise WorkError(f"a source file cannot be read: {one_line(error)}") from error

    def _entry(self, image: np.ndarray) -> Entry:
        entry = self._found.get(content_digest(image))
        if entry is None:
            raise WorkError("an image has no source in its dataset")
        return entry

    @cached_property
    def _found(self) -> dict[bytes, Entry]:
        found: dict[bytes, Entry] = {}
        entries = [entry for entry in self.entries() if entry.name not in self.left_out]
        for split, digests in self.digests().items():
            own = [entry for entry in entries if entry.split == split]
            if len(own) != len(digests):
                raise WorkError("the source files of the dataset have changed: open it again")
            for entry, digest in zip(own, digests, strict=True):
                found.setdefault(digest, entry)
        return found
