"""The codec protocol, and the checks that all codecs make of images and of claimed sizes."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, runtime_checkable

import numpy as np

from toolkit.foundation.errors import UsageError, WorkError, one_line

FITTING_IMAGES = 64
"""Enough to set a price (see :mod:`toolkit.codecs.adaptive`); other codecs look at the shape only."""
MAX_PIXELS = 2**22
"""Of one image: 2048 x 2048, four times what a dataset can be opened at. The hungriest decoder, JPEG 2000's, takes
80 MB for that. Larger images are neither encoded nor decoded."""
MAX_BATCH_PIXELS = 2**26
"""Of all images in one call of ``decode`` that is not told their size: 192 MiB decoded."""

Size = tuple[int, int]
"""Height and width in pixels."""
_Made = TypeVar("_Made", bound="Codec")
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


@runtime_checkable
class Codec(Protocol):
    """Images to payloads and back.

    A payload is what one exemplar costs in the memory. What all exemplars have in common is *shared*: it is learned
    by :meth:`fit`, stored once, and needed to decode. ``str(codec)`` is the canonical spec and parses back.
    """

    @property
    def lossless(self) -> bool:
        """True if decoding gives exactly the pixels that were encoded."""

    def fit(self, images: np.ndarray) -> None:
        """Learn what is shared by images like these: uint8 (N, H, W, 3), all of one size."""

    def encode(self, images: np.ndarray) -> list[bytes]:
        """One payload an image; uint8 (N, H, W, 3). Fits on these images if nothing was fitted or loaded yet."""

    def decode(self, payloads: Sequence[bytes], size: Size | None = None) -> np.ndarray:
        """The decoded images, uint8 (N, H, W, 3).

        Args:
            payloads: at least one.
            size: (H, W) that every image must have, as whoever keeps the payloads knows it. None if nobody does: then
                all have the size that the first one claims, and together at most :data:`MAX_BATCH_PIXELS`.

        Raises:
            WorkError: a payload is damaged or claims another size, seen before memory is taken for its pixels; an
                image has more than :data:`MAX_PIXELS`; nothing was fitted or loaded yet.
        """

    def to_file(self, payload: bytes) -> bytes:
        """The exemplar as a self-contained file of its format (raw pixels for ``raw``)."""

    def shared_state(self) -> bytes:
        """What :meth:`load_shared` needs on another machine; its length is what sharing costs."""

    def load_shared(self, state: bytes) -> None:
        """Take over a shared state in place of :meth:`fit`.

        Raises:
            WorkError: it is damaged, or claims more pixels or longer tables than any codec here makes.
        """

    def shared_bytes(self) -> int:
        """Bytes charged once for all exemplars."""

    def weights_bytes(self) -> int:
        """Bytes of network weights the decoder needs (0 but for neural codecs)."""

    @property
    def extension(self) -> str:
        """File name extension of :meth:`to_file`, without the dot; empty where no other program reads such a file."""


def chain(codec: Codec) -> Iterator[Any]:
    """The codec and those that it wraps, from the outside in."""
    part: Any = codec
    while part is not None:
        yield part
        part = getattr(part, "inner", None)


def require_rgb(codec: Codec, images: np.ndarray, least: int = 1, most: int = MAX_PIXELS) -> None:
    """Refuse what is no batch of RGB images with sides of at least ``least`` and no more than ``most`` pixels.

    Raises:
        UsageError: it is none.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UsageError(f"{codec}: images must be uint8 (N, H, W, 3), got {images.dtype} {images.shape}")
    height, width = images.shape[1:3]
    if min(height, width) < least:
        raise UsageError(f"{codec}: images must have at least {least} pixels a side, got {(height, width)}")
    if height * width > most:
        raise UsageError(f"{codec}: images must have at most {most} pixels, got {height} x {width}")


def require_pixels(
    codec: Codec, claimed: Size, count: int = 1, size: Size | None = None, most: int = MAX_PIXELS
) -> None:
    """Refuse to decode images whose claimed size is not the known one, or asks for too much memory.

    Args:
        codec: for the message.
        claimed: what a file's header or a shared state says.
        count: images to decode at once.
        size: known from elsewhere; None if it is not.
        most: pixels of one image.

    Raises:
        WorkError: it is so.
    """
    height, width = claimed
    if size is not None and claimed != tuple(size):
        raise WorkError(
            f"{codec}: exemplars of different sizes: one claims to have {width} x {height} pixels, "
            f"expected {size[1]} x {size[0]}"
        )
    if not 0 < height * width <= most:
        raise WorkError(f"{codec}: a stored exemplar claims to have {width} x {height} pixels, expected 1 to {most}")
    if size is None and count * height * width > MAX_BATCH_PIXELS:
        raise WorkError(
            f"{codec}: {count} exemplars claim to have {width} x {height} pixels each; "
            f"at most {MAX_BATCH_PIXELS} are decoded at once"
        )


def within_memory(
    decode: Callable[Concatenate[_Made, _Given], _Result],
) -> Callable[Concatenate[_Made, _Given], _Result]:
    """A codec's method whose running out of memory or of stack is a :class:`WorkError`, one line as any other."""

    @functools.wraps(decode)
    def decoding(codec: _Made, /, *given: _Given.args, **named: _Given.kwargs) -> _Result:
        try:
            return decode(codec, *given, **named)
        except (MemoryError, RecursionError) as error:
            raise WorkError(f"{codec}: there is not enough memory to decode: {one_line(error)}") from error

    return decoding


def image_size(images: np.ndarray) -> Size:
    """Height and width of images (N, H, W, 3): what ``decode`` is told by whoever has encoded them."""
    return int(images.shape[1]), int(images.shape[2])


def fitting_sample(images: np.ndarray) -> np.ndarray:
    """Up to :data:`FITTING_IMAGES` of the images, or of their indices, evenly spread: enough to fit a codec on."""
    every = -(-len(images) // FITTING_IMAGES)
    return np.ascontiguousarray(images[:: max(1, every)])
