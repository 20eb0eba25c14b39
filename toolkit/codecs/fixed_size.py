"""The base class of codecs for images of one size: a new codec defines only how to encode and decode images."""

from __future__ import annotations

import copy
import struct
from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import ClassVar, Self

import numpy as np

from toolkit.codecs.base import MAX_PIXELS, Codec, Size, image_size, require_pixels, require_rgb, within_memory
from toolkit.foundation.errors import UsageError, WorkError

SHARED_SIZE = struct.Struct("<HH")
"""Height and width, at the start of every shared state."""


class FixedSizeCodec(ABC):
    """A codec for images of one size, which is taken from the first images and shared (4 bytes).

    A subclass defines ``__str__``, :meth:`encode_images` and :meth:`decode_images`. If it shares more than the size, it
    also defines :meth:`learn`, :meth:`rest_of_shared` and :meth:`load_rest`. The rest of the
    :class:`~toolkit.codecs.base.Codec` protocol is implemented here and can be overridden.

    Attributes:
        lossless, extension: as in the protocol.
        least_side: minimum side of an image in pixels.
        most_pixels: maximum number of pixels per image.
        least_state: bytes of the shortest shared state.
        batch_is_bounded: False if payloads are as long as their pixels, so that no batch can claim more than it has.
        size_name, state_name: names of the size and the shared state in messages.
    """

    lossless: bool = False
    extension: str = ""
    least_side: ClassVar[int] = 1
    most_pixels: ClassVar[int] = MAX_PIXELS
    least_state: ClassVar[int] = SHARED_SIZE.size
    batch_is_bounded: ClassVar[bool] = True
    size_name: ClassVar[str] = "the size"
    state_name: ClassVar[str] = "the stored size"

    _size: Size | None = None

    # -- for subclasses ----------------------------------------------------------------------------------------

    @abstractmethod
    def encode_images(self, images: np.ndarray) -> list[bytes]:
        """One payload per image, uint8 (N, H, W, 3), already checked and of the shared size."""

    @abstractmethod
    def decode_images(self, payloads: Sequence[bytes], size: Size) -> np.ndarray:
        """The images, uint8 (N, H, W, 3), of at least one payload; ``size`` is the shared (H, W).

        Raises:
            WorkError: a payload is damaged.
        """

    def check(self, images: np.ndarray) -> None:
        """Raise a :class:`UsageError` for images that cannot be encoded; called before fitting and encoding."""
        require_rgb(self, images, self.least_side, self.most_pixels)

    def learn(self, images: np.ndarray) -> None:  # noqa: B027  # most codecs share nothing else
        """Learn the rest of the shared state."""

    def rest_of_shared(self) -> bytes:
        """The shared state after the size."""
        return b""

    def load_rest(self, rest: bytes, size: Size) -> None:
        """Load the result of :meth:`rest_of_shared`; ``size`` is the size stored before it.

        Raises:
            WorkError: it is damaged.
        """
        if rest:
            raise WorkError(
                f"{self}: {self.state_name} has {SHARED_SIZE.size + len(rest)} bytes, expected {SHARED_SIZE.size}"
            )

    def at_size(self, size: Size) -> Self:
        """A copy with the same shared state for images of another size."""
        other = copy.copy(self)
        other._size = size
        return other

    def assume_grey(self, grey: bool) -> None:  # noqa: B027  # most codecs store grey images as they come
        """Say whether all images that the shared state was learned from are grey."""

    # -- the protocol ------------------------------------------------------------------------------------------

    def fit(self, images: np.ndarray) -> None:
        self.check(images)
        self.learn(images)
        self._size = image_size(images)

    def encode(self, images: np.ndarray) -> list[bytes]:
        self.check(images)
        if self._size is None:
            self.fit(images)
        if images.shape[1:3] != self._size:
            raise UsageError(f"{self}: all images must have (height, width) {self._size}, got {images.shape[1:3]}")
        return self.encode_images(images)

    @within_memory
    def decode(self, payloads: Sequence[bytes], size: Size | None = None) -> np.ndarray:
        if self._size is None or not payloads:
            missing = f"nothing to decode, or {self.size_name} is missing"
            raise WorkError(f"{self}: {missing}; fit or load it before decoding")
        count = len(payloads) if self.batch_is_bounded else 1
        require_pixels(self, self._size, count, size, self.most_pixels)
        return self.decode_images(payloads, self._size)

    def to_file(self, payload: bytes) -> bytes:
        return self.shared_state() + payload

    def shared_state(self) -> bytes:
        return b"" if self._size is None else SHARED_SIZE.pack(*self._size) + self.rest_of_shared()

    def load_shared(self, state: bytes) -> None:
        if len(state) < self.least_state:
            expected = f"{'at least ' if self.least_state > SHARED_SIZE.size else ''}{self.least_state}"
            raise WorkError(f"{self}: {self.state_name} has {len(state)} bytes, expected {expected}")
        height, width = SHARED_SIZE.unpack_from(state)
        if min(height, width) < self.least_side or height * width > self.most_pixels:
            raise WorkError(f"{self}: {self.state_name} is damaged: {(height, width)}")
        self.load_rest(state[SHARED_SIZE.size :], (height, width))
        self._size = (height, width)

    def shared_bytes(self) -> int:
        return len(self.shared_state())

    def weights_bytes(self) -> int:
        return 0


def at_size(codec: Codec, size: Size) -> Codec:
    """The codec for images of a size; files of a format say theirs, so their codecs are for all."""
    return codec.at_size(size) if isinstance(codec, FixedSizeCodec) else codec


def assume_grey(codec: Codec, grey: bool) -> None:
    """Say whether all images that a codec's loaded state was learned from are grey."""
    if hasattr(codec, "assume_grey"):
        codec.assume_grey(grey)
