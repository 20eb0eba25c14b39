"""``downscale``: reduce images for another codec, and restore their size on decoding."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Self

import numpy as np
from PIL import Image

from toolkit.codecs.base import Codec, Size, fitting_sample
from toolkit.codecs.fixed_size import SHARED_SIZE, FixedSizeCodec, assume_grey, at_size
from toolkit.codecs.kind import CodecKind
from toolkit.foundation.errors import UsageError
from toolkit.foundation.parameters import Parameter

_DOWN, _UP = Image.Resampling.BOX, Image.Resampling.BICUBIC


class DownscaleCodec(FixedSizeCodec):
    """Area-average down by ``factor``, encode with the inner codec, bicubic up on decoding.

    The original size is shared (4 bytes), so sizes that ``factor`` does not divide are restored exactly.
    """

    size_name = "the shared size"

    def __init__(self, inner: Codec, factor: int) -> None:
        self.inner = inner
        self.factor = factor
        self.extension = inner.extension

    def __str__(self) -> str:
        return f"{DOWNSCALE.spec({'factor': self.factor})}|{self.inner}"

    def learn(self, images: np.ndarray) -> None:
        self.inner.fit(self._down(fitting_sample(images)))

    def encode_images(self, images: np.ndarray) -> list[bytes]:
        return self.inner.encode(self._down(images))

    def decode_images(self, payloads: Sequence[bytes], size: Size) -> np.ndarray:
        return _resize(self.inner.decode(payloads, self._reduced(*size)), *size, _UP)

    def to_file(self, payload: bytes) -> bytes:
        return self.inner.to_file(payload)

    def rest_of_shared(self) -> bytes:
        return self.inner.shared_state()

    def load_rest(self, rest: bytes, size: Size) -> None:
        self.inner.load_shared(rest)

    def at_size(self, size: Size) -> Self:
        other = super().at_size(size)
        other.inner = at_size(self.inner, self._reduced(*size))
        return other

    def assume_grey(self, grey: bool) -> None:
        assume_grey(self.inner, grey)

    def shared_bytes(self) -> int:
        return 0 if self._size is None else SHARED_SIZE.size + self.inner.shared_bytes()

    def weights_bytes(self) -> int:
        return self.inner.weights_bytes()

    def _down(self, images: np.ndarray) -> np.ndarray:
        height, width = images.shape[1:3]
        if min(height, width) // self.factor < 4:
            raise UsageError(f"{self}: {height} x {width} pixels scaled down by {self.factor} leave fewer than 4")
        return _resize(images, *self._reduced(height, width), _DOWN)

    def _reduced(self, height: int, width: int) -> Size:
        """Size of the images of the inner codec."""
        return -(-height // self.factor), -(-width // self.factor)


def _resize(images: np.ndarray, height: int, width: int, how: Image.Resampling) -> np.ndarray:
    resized = np.empty((len(images), height, width, 3), np.uint8)
    for image, target in zip(images, resized, strict=True):
        target[:] = Image.fromarray(image).resize((width, height), how)
    return resized


DOWNSCALE = CodecKind(
    "downscale",
    "wrapper: area-average down, bicubic up on decoding",
    DownscaleCodec,
    {"factor": Parameter(int, 2, 2, 16, help="reduction of each side", always=True)},
    wraps=True,
)
