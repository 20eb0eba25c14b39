"""``original``: the source files themselves, JPEG files in fewer bytes. Decoding prepares them as the dataset does."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import replace
from functools import partial
from typing import Protocol, runtime_checkable

import numpy as np

from toolkit.codecs.base import Codec, Size, chain, image_size
from toolkit.codecs.file_formats import ENTROPY, SHARE
from toolkit.codecs.fixed_size import FixedSizeCodec
from toolkit.codecs.kind import CodecKind
from toolkit.codecs.lossless_jpeg.packing import ContextPacking
from toolkit.data.dataset import SourceImages
from toolkit.data.images import Unreadable, decode_image, image_pixels
from toolkit.foundation.errors import UsageError, WorkError, one_line
from toolkit.foundation.image_size import ImageSize, parse_image_size
from toolkit.foundation.parameters import Parameter
from toolkit.foundation.threads import ordered_map


@runtime_checkable
class NeedsOriginals(Protocol):
    """A codec whose encoder stores sources of images; None until they are given. Decoding needs none.

    Attributes:
        originals: the sources.
        needs_files: whether these must be files.
    """

    originals: SourceImages | None
    needs_files: bool


def give_originals(codecs: Sequence[Codec], originals: SourceImages | None) -> None:
    """Give all ``codecs`` that store sources of images those of a dataset, before they are fitted.

    Raises:
        UsageError: there are such codecs, but the dataset has no sources, or no files where those are needed.
    """
    for codec in codecs:
        for part in chain(codec):
            if isinstance(part, NeedsOriginals):
                if originals is None or (part.needs_files and not originals.has_files):
                    raise UsageError(f"{codec}: the images of this dataset have no source files to keep")
                part.originals = originals


def sources_digest(codec: Codec) -> str:
    """What changes with the sources that a codec stores, for a cache key; empty if the images tell.

    Source files are compared with their images when they are encoded.
    """
    given = [part.originals for part in chain(codec) if isinstance(part, NeedsOriginals) and not part.needs_files]
    return "".join(f"|{originals.signature}" for originals in given if originals is not None)


def refuse_originals(codec: Codec, what: str, *, files_only: bool = False) -> None:
    """Refuse a codec that stores sources of images; with ``files_only``, one that stores their files.

    Raises:
        UsageError: the codec needs sources, which ``what`` cannot provide.
    """
    if any(isinstance(part, NeedsOriginals) and part.needs_files >= files_only for part in chain(codec)):
        raise UsageError(f"{what} cannot use {codec}: its encoder needs the sources of the images")


def require_dataset_size(codec: FixedSizeCodec, size: Size) -> None:
    """Check that a stored size is one of a dataset's images.

    Raises:
        WorkError: it is not.
    """
    try:
        parse_image_size(ImageSize(*size).written)
    except UsageError:
        raise WorkError(f"{codec}: {codec.state_name} is damaged: {size}") from None


class OriginalCodec(FixedSizeCodec):
    """Source files; an image of the dataset is what decoding and preparing its file gives.

    Args:
        entropy, transcode, shared: as in the registry.
    """

    lossless = True
    needs_files = True
    batch_is_bounded = False
    size_name, state_name = "the image size", "the stored header"

    def __init__(self, entropy: str, transcode: str, shared: bool) -> None:
        self.originals: SourceImages | None = None
        self._shares = shared
        coding = entropy if transcode == "none" else transcode
        self._spec = ORIGINAL.spec(
            {
                "entropy": entropy if shared and transcode == "none" else None,
                "transcode": transcode if shared else None,
                "shared": shared,
            }
        )
        self._packing = ContextPacking(b"", coding)

    def __str__(self) -> str:
        return self._spec

    def learn(self, images: np.ndarray) -> None:
        if self._shares:
            found = ContextPacking.learn(list(map(self._file, images)))
            self._packing = replace(self._packing, header=found.header)

    def encode_images(self, images: np.ndarray) -> list[bytes]:
        strip = self._packing.strip if self._shares else bytes

        def encoded(image: np.ndarray) -> bytes:
            file = self._file(image)
            if not np.array_equal(self._prepared(image_size(image[None]), file), image):
                raise WorkError(f"{self}: a source file has changed since the dataset was opened")
            return strip(file)

        return list(ordered_map(encoded, images))

    def decode_images(self, payloads: Sequence[bytes], size: Size) -> np.ndarray:
        images = np.empty((len(payloads), *size, 3), np.uint8)
        read: Callable[[bytes], np.ndarray] = partial(self._decoded, size)
        for index, image in enumerate(ordered_map(read, payloads)):
            images[index] = image
        return images

    def to_file(self, payload: bytes) -> bytes:
        return self._packing.restore(payload) if self._shares else payload

    def rest_of_shared(self) -> bytes:
        return self._packing.to_bytes() if self._shares else b""

    def load_rest(self, rest: bytes, size: Size) -> None:
        require_dataset_size(self, size)
        if self._shares:
            found = ContextPacking.from_bytes(rest)
            self._packing = replace(self._packing, header=found.header)
        elif rest:
            raise WorkError(f"{self}: source files have no shared header, got one of {len(rest)} bytes")

    def stored_pixels(self, payload: bytes) -> int:
        """Number of pixels of the file."""
        try:
            return image_pixels(self.to_file(payload))
        except Unreadable as error:
            raise WorkError(f"{self}: a stored exemplar cannot be decoded: {one_line(error)}") from error

    def _decoded(self, size: Size, payload: bytes) -> np.ndarray:
        return self._prepared(size, self.to_file(payload))

    def _prepared(self, size: Size, file: bytes) -> np.ndarray:
        try:
            return decode_image(file, ImageSize(*size).written)
        except Unreadable as error:
            raise WorkError(f"{self}: a stored exemplar cannot be decoded: {one_line(error)}") from error

    def _file(self, image: np.ndarray) -> bytes:
        if self.originals is None:
            raise UsageError(
                f"{self}: its encoder needs the source files of a dataset, which are not available here "
                "(decoding needs none); probe, advise, images, pilot and memory build provide them"
            )
        return self.originals.file_of(image)


ORIGINAL = CodecKind(
    "original",
    "the source files themselves",
    OriginalCodec,
    {
        "entropy": ENTROPY,
        "transcode": Parameter(str, "none", choices=("none", "jxl"), help="store JPEG files as JPEG XL; exact"),
        "shared": SHARE,
    },
)
