"""The codec protocol, and checks of images and claimed sizes that all codecs share."""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterator, Sequence
from typing import Any, Concatenate, ParamSpec, Protocol, TypeVar, runtime_checkable

import numpy as np

from toolkit.foundation.errors import UsageError, WorkError, one_line

FITTING_IMAGES = 64
"""Images to fit a codec on: enough for a price (see :mod:`toolkit.codecs.adaptive`); others use the shape only."""
MAX_PIXELS = 2**22
"""Maximum size of an image: 2048 x 2048, four times the largest dataset size. JPEG 2000 has the largest decoder and
takes 80 MB for it. Larger images are neither encoded nor decoded."""
MAX_BATCH_PIXELS = 2**26
"""Maximum number of pixels in a call of ``decode`` without a known size: 192 MiB decoded."""

Size = tuple[int, int]
"""Height and width in pixels."""
_Made = TypeVar("_Made", bound="Codec")
_Given = ParamSpec("_Given")
_Result = TypeVar("_Result")


@runtime_checkable
class Codec(Protocol):
    """Encodes images to payloads and decodes them.

    A payload is the cost of one exemplar in the memory. The *shared state* is common to all exemplars: it is learned by
    :meth:`fit`, stored once, and needed to decode. ``str(codec)`` is the canonical spec and parses back.
    """

    @property
    def lossless(self) -> bool:
        """True if decoding restores the exact pixels."""

    def fit(self, images: np.ndarray) -> None:
        """Learn the shared state for images like these, uint8 (N, H, W, 3)."""

    def encode(self, images: np.ndarray) -> list[bytes]:
        """One payload per image, uint8 (N, H, W, 3). Fits on these images if nothing has been fitted or loaded."""

    def decode(self, payloads: Sequence[bytes], size: Size | None = None) -> np.ndarray:
        """The decoded images, uint8 (N, H, W, 3); of ``features`` the features, float32 (N, C) or (N, C, h, w).

        Args:
            payloads: at least one.
            size: known (H, W) of every image, or None. Without it, all must have the size claimed by the first payload,
                and at most :data:`MAX_BATCH_PIXELS` in total.

        Raises:
            WorkError: a payload is damaged or claims another size (checked before memory is allocated for its pixels),
                an image has more than :data:`MAX_PIXELS`, or nothing has been fitted or loaded.
        """

    def to_file(self, payload: bytes) -> bytes:
        """The exemplar as a self-contained file of its format (raw pixels for ``raw``)."""

    def shared_state(self) -> bytes:
        """The shared state for :meth:`load_shared` on another machine; its length is its cost."""

    def load_shared(self, state: bytes) -> None:
        """Load a shared state instead of calling :meth:`fit`.

        Raises:
            WorkError: the state is damaged, or claims more pixels or longer tables than codecs here can produce.
        """

    def shared_bytes(self) -> int:
        """Bytes charged once for all exemplars."""

    def weights_bytes(self) -> int:
        """Bytes of network weights that the decoder needs (0 except for neural codecs)."""

    @property
    def extension(self) -> str:
        """File name extension of :meth:`to_file`, without the dot; empty if no other program reads such files."""


@runtime_checkable
class StoresOtherPixels(Protocol):
    """A codec that stores other images than those it is given: their sources."""

    def stored_pixels(self, payload: bytes) -> int:
        """Number of pixels of the image that a payload stores."""


def stored_pixels(codec: Codec, payload: bytes, pixels: int) -> int:
    """Number of pixels of the image that a payload stores; of the given one, ``pixels``, for most codecs."""
    return codec.stored_pixels(payload) if isinstance(codec, StoresOtherPixels) else pixels


def chain(codec: Codec) -> Iterator[Any]:
    """The codec and the codecs it wraps, outermost first."""
    part: Any = codec
    while part is not None:
        yield part
        part = getattr(part, "inner", None)


def require_rgb(codec: Codec, images: np.ndarray, least: int = 1, most: int = MAX_PIXELS) -> None:
    """Require a batch of RGB images with sides of at least ``least`` and at most ``most`` pixels in total.

    Raises:
        UsageError: the images are not such a batch.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UsageError(f"{codec}: images must be uint8 (N, H, W, 3), got {images.dtype} {images.shape}")
    height, width = images.shape[1:3]
    if min(height, width) < least:
        raise UsageError(f"{codec}: images must have at least {least} pixels per side, got {(height, width)}")
    if height * width > most:
        raise UsageError(f"{codec}: images must have at most {most} pixels, got {height} x {width}")


def require_pixels(
    codec: Codec, claimed: Size, count: int = 1, size: Size | None = None, most: int = MAX_PIXELS
) -> None:
    """Check the claimed size of images before decoding them.

    Args:
        codec: for the message.
        claimed: size in a file's header or a shared state.
        count: number of images to decode at once.
        size: known size, or None.
        most: maximum number of pixels per image.

    Raises:
        WorkError: the claimed size differs from the known one, or needs too much memory.
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
    """Turn running out of memory or stack in a codec's method into a one-line :class:`WorkError`."""

    @functools.wraps(decode)
    def decoding(codec: _Made, /, *given: _Given.args, **named: _Given.kwargs) -> _Result:
        try:
            return decode(codec, *given, **named)
        except (MemoryError, RecursionError) as error:
            raise WorkError(f"{codec}: there is not enough memory to decode: {one_line(error)}") from error

    return decoding


def image_size(images: np.ndarray) -> Size:
    """Height and width of images (N, H, W, 3), to be passed to ``decode``."""
    return int(images.shape[1]), int(images.shape[2])


def fitting_sample(images: np.ndarray) -> np.ndarray:
    """Up to :data:`FITTING_IMAGES` evenly spaced images (or their indices) to fit a codec on."""
    every = -(-len(images) // FITTING_IMAGES)
    return np.ascontiguousarray(images[:: max(1, every)])
