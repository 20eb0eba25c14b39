"""Codecs around other codecs."""

from __future__ import annotations

import struct
from collections.abc import Sequence

import numpy as np
from PIL import Image

from toolkit.codecs.base import MAX_PIXELS, Codec, Size, fitting_sample, require_pixels, require_rgb, within_memory
from toolkit.codecs.kind import CodecKind
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.parameters import Parameter

_SHAPE = struct.Struct("<HH")
_DOWN, _UP = Image.Resampling.BOX, Image.Resampling.BICUBIC


class DownscaleCodec:
    """Area-average down by ``factor``, code with the inner codec, bicubic up on decoding.

    The original size is shared (4 bytes), so that sizes which ``factor`` does not divide come back exactly.
    """

    def __init__(self, inner: Codec, factor: int) -> None:
        self.inner = inner
        self.factor = factor
        self._shape: tuple[int, int] | None = None

    def __str__(self) -> str:
        return f"{DOWNSCALE.spec({'factor': self.factor})}|{self.inner}"

    @property
    def lossless(self) -> bool:
        return False

    @property
    def extension(self) -> str:
        return self.inner.extension

    def fit(self, images: np.ndarray) -> None:
        self._shape = (int(images.shape[1]), int(images.shape[2]))
        self.inner.fit(self._down(fitting_sample(images)))

    def encode(self, images: np.ndarray) -> list[bytes]:
        require_rgb(self, images)
        if self._shape is None:
            self.fit(images)
        if images.shape[1:3] != self._shape:
            raise UsageError(f"{self}: all images must have (height, width) {self._shape}, got {images.shape[1:3]}")
        return self.inner.encode(self._down(images))

    @within_memory
    def decode(self, payloads: Sequence[bytes], size: Size | None = None) -> np.ndarray:
        if self._shape is None:
            raise WorkError(f"{self}: the shared size is missing; fit or load it before decoding")
        require_pixels(self, self._shape, len(payloads), size)
        height, width = self._shape
        return _resize(self.inner.decode(payloads, self._reduced(height, width)), height, width, _UP)

    def to_file(self, payload: bytes) -> bytes:
        return self.inner.to_file(payload)

    def shared_state(self) -> bytes:
        return _SHAPE.pack(*self._shape) + self.inner.shared_state() if self._shape else b""

    def load_shared(self, state: bytes) -> None:
        if len(state) < _SHAPE.size:
            raise WorkError(f"{self}: the stored size has {len(state)} bytes, expected {_SHAPE.size}")
        shape = _SHAPE.unpack_from(state)
        if not 0 < shape[0] * shape[1] <= MAX_PIXELS:
            raise WorkError(f"{self}: the stored size is damaged: {shape}")
        self._shape = shape
        self.inner.load_shared(state[_SHAPE.size :])

    def shared_bytes(self) -> int:
        return _SHAPE.size + self.inner.shared_bytes() if self._shape else 0

    def weights_bytes(self) -> int:
        return self.inner.weights_bytes()

    def _down(self, images: np.ndarray) -> np.ndarray:
        height, width = images.shape[1:3]
        if min(height, width) // self.factor < 4:
            raise UsageError(f"{self}: {height} x {width} pixels scaled down by {self.factor} leave fewer than 4")
        return _resize(images, *self._reduced(height, width), _DOWN)

    def _reduced(self, height: int, width: int) -> Size:
        """The inner codec's images' size."""
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
    {"factor": Parameter(int, 2, 2, 16, help="by how much each side shrinks", always=True)},
    wraps=True,
)
