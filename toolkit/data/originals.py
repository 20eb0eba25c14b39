"""The source files of a dataset's images, found by the pixels of the images."""

from __future__ import annotations

from collections.abc import Callable, Collection, Iterable
from functools import cached_property

import numpy as np

from toolkit.data.images import content_digest
from toolkit.data.sources import Entry
from toolkit.foundation.errors import WorkError, one_line


class Originals:
    """Source files by pixels; images with the same pixels share a file.

    Args:
        entries: opens the dataset's entries; called when the first file is wanted.
        left_out: names of entries that are not in the dataset.
        digests: reads the digests of the images of each split, in the order of its entries; called likewise.
    """

    def __init__(
        self,
        entries: Callable[[], Iterable[Entry]],
        left_out: Collection[str],
        digests: Callable[[], dict[str, list[bytes]]],
    ) -> None:
        self._entries = entries
        self._left_out = left_out
        self._digests = digests

    def file_of(self, image: np.ndarray) -> bytes:
        """The bytes of the file of an image, uint8 (size, size, 3).

        Raises:
            WorkError: there is no such image, or its file can no longer be read.
        """
        read = self._files.get(content_digest(image))
        if read is None:
            raise WorkError("an image has no source file in its dataset")
        try:
            return read()
        except Exception as error:  # zlib, bz2 and lzma raise all kinds of errors for a damaged zip member
            raise WorkError(f"a source file cannot be read: {one_line(error)}") from error

    @cached_property
    def _files(self) -> dict[bytes, Callable[[], bytes]]:
        found: dict[bytes, Callable[[], bytes]] = {}
        entries = [entry for entry in self._entries() if entry.name not in self._left_out]
        for split, digests in self._digests().items():
            own = [entry for entry in entries if entry.split == split]
            if len(own) != len(digests):
                raise WorkError("the source files of the dataset have changed: open it again")
            for entry, digest in zip(own, digests, strict=True):
                if entry.file is not None:
                    found.setdefault(digest, entry.file)
        return found
