"""``features``: outputs of the frozen layers of a network in place of images, quantised.

A learner that trains only the layers above can replay them. They take fewer bytes than an image, but they belong to
one network: its frozen layers can never change, and no picture can be shown.
"""

from __future__ import annotations

import io
import struct
from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from toolkit.codecs.base import Codec, Size, chain, fitting_sample
from toolkit.codecs.fixed_size import FixedSizeCodec
from toolkit.codecs.kind import CodecKind
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.parameters import Parameter

DIGEST_BYTES = 16
MAX_VALUES = 2**20
"""Maximum number of values per image: 1,280 after the last layer of EfficientNet-Lite0, 9,408 before its last block."""
_LARGEST = 60_000
"""Largest value that float16 statistics can describe."""
_EXACT = 16
"""Bits of a bfloat16 number, which is stored as it is."""
_HEAD = struct.Struct(f"<{DIGEST_BYTES}sB")
_SIDE = struct.Struct("<I")
_BINS = 4096
_ROUNDS = 30
"""Rounds of Lloyd's algorithm; the squared error of more differs by less than 1 %."""


class FrozenLayers(Protocol):
    """The frozen layers of a network; thread-safe."""

    @property
    def digest(self) -> bytes:
        """:data:`DIGEST_BYTES` bytes that change with the weights and with the layers."""

    def outputs(self, images: np.ndarray) -> np.ndarray:
        """Outputs, float32 (N, C) or (N, C, h, w), of images uint8 (N, H, W, 3)."""


@runtime_checkable
class StoresFeatures(Protocol):
    """A codec whose payloads are outputs of frozen layers; None until they are given. Decoding needs none."""

    layers: FrozenLayers | None


def stores_features(codec: Codec) -> bool:
    """Whether decoding gives features, float32 (N, C) or (N, C, h, w), instead of images."""
    return isinstance(codec, StoresFeatures)


def give_layers(codecs: Sequence[Codec], make: Callable[[], FrozenLayers]) -> FrozenLayers | None:
    """Give all ``codecs`` that store features the same layers, and return those; None if there are no such codecs, in
    which case ``make`` is not called."""
    storing = [codec for codec in codecs if isinstance(codec, StoresFeatures)]
    if not storing:
        return None
    layers = make()
    for codec in storing:
        codec.layers = layers
    return layers


def refuse_features(codec: Codec, what: str) -> None:
    """Refuse a codec that stores features.

    Raises:
        UsageError: the codec gives no images, which ``what`` needs.
    """
    if any(stores_features(part) for part in chain(codec)):
        raise UsageError(f"{what} cannot use {codec}: it stores features, from which no image can be decoded")


class FeaturesCodec(FixedSizeCodec):
    """Outputs of frozen layers, each value as one of 2^bits levels; with 16 bits the bfloat16 numbers themselves.

    The levels minimise the squared error (Lloyd, IEEE Trans. Inf. Theory 1982) of values whose mean and deviation in
    their channel are removed. Means, deviations and levels are fitted once, for example on the first stage, and shared.

    Args:
        bits: per value.
    """

    extension = "npy"
    batch_is_bounded = False
    least_state = 4 + _HEAD.size
    size_name, state_name = "the shared statistics", "the shared statistics"

    def __init__(self, bits: str) -> None:
        self.bits = int(bits)
        self.layers: FrozenLayers | None = None
        self._digest = b""
        self._shape: tuple[int, ...] = ()
        self._mean = self._deviation = self._levels = np.empty(0, np.float32)

    def __str__(self) -> str:
        return FEATURES.spec({"bits": str(self.bits)})

    def learn(self, images: np.ndarray) -> None:
        layers = self._given()
        outputs = self._finite(layers.outputs(fitting_sample(images)))
        self._digest, self._shape = layers.digest, outputs.shape[1:]
        if self.bits == _EXACT:
            return
        axes = (0, *range(2, outputs.ndim))
        self._mean, self._deviation = _as_stored(outputs.mean(axes)), _as_stored(outputs.std(axes))
        self._levels = _as_stored(lloyd_levels(self._standard(outputs), 2**self.bits))

    def encode_images(self, images: np.ndarray) -> list[bytes]:
        layers = self._given()
        self._require(layers.digest)
        outputs = self._finite(layers.outputs(images))
        if outputs.shape[1:] != self._shape:
            raise WorkError(f"{self}: the layers give {outputs.shape[1:]} values per image, expected {self._shape}")
        if self.bits == _EXACT:
            return [row.tobytes() for row in _to_bfloat16(outputs).reshape(len(outputs), -1)]
        nearest = _nearest(self._levels, self._standard(outputs)).astype(np.uint8).reshape(len(outputs), -1, 1)
        written = np.unpackbits(nearest, axis=2)[:, :, 8 - self.bits :].reshape(len(outputs), -1)
        return [row.tobytes() for row in np.packbits(written, axis=1)]

    def decode_images(self, payloads: Sequence[bytes], size: Size) -> np.ndarray:
        values = int(np.prod(self._shape))
        expected = -(-values * self.bits // 8)
        if any(len(payload) != expected for payload in payloads):
            raise WorkError(f"{self}: a stored exemplar is damaged: it must have {expected} bytes")
        stored = np.frombuffer(b"".join(payloads), np.uint8).reshape(len(payloads), expected)
        if self.bits == _EXACT:
            return _from_bfloat16(stored.view("<u2")).reshape(len(payloads), *self._shape)
        bits = np.unpackbits(stored, axis=1)[:, : values * self.bits].reshape(len(payloads), values, self.bits)
        places = np.packbits(bits, axis=2) >> (8 - self.bits)
        standard = self._levels[places].reshape(len(payloads), *self._shape)
        return standard * self._by_channel(self._deviation) + self._by_channel(self._mean)

    def to_file(self, payload: bytes) -> bytes:
        """A NumPy file of the features, float32."""
        file = io.BytesIO()
        np.save(file, self.decode([payload])[0])
        return file.getvalue()

    def rest_of_shared(self) -> bytes:
        head = _HEAD.pack(self._digest, len(self._shape)) + b"".join(map(_SIDE.pack, self._shape))
        numbers = np.concatenate([self._mean, self._deviation, self._levels])
        return head + numbers.astype("<f2").tobytes()

    def load_rest(self, rest: bytes, size: Size) -> None:
        digest, sides = _HEAD.unpack_from(rest)
        start = _HEAD.size + _SIDE.size * sides
        if sides not in (1, 3) or len(rest) < start:
            raise WorkError(f"{self}: {self.state_name} are damaged: {sides} dimensions")
        shape = tuple(_SIDE.unpack_from(rest, place)[0] for place in range(_HEAD.size, start, _SIDE.size))
        if not 0 < int(np.prod(shape, dtype=object)) <= MAX_VALUES:
            raise WorkError(f"{self}: {self.state_name} are damaged: {shape} values per image")
        channels, levels = (0, 0) if self.bits == _EXACT else (shape[0], 2**self.bits)
        if len(rest) != start + 2 * (2 * channels + levels):
            raise WorkError(f"{self}: {self.state_name} are damaged: they have {len(rest)} bytes")
        numbers = np.frombuffer(rest, "<f2", offset=start).astype(np.float32)
        mean, deviation, steps = np.split(numbers, [channels, 2 * channels])
        if not np.isfinite(numbers).all() or (deviation < 0).any() or (np.diff(steps) < 0).any():
            raise WorkError(f"{self}: {self.state_name} are damaged: their numbers are impossible")
        if self.layers is not None:
            self._require(self.layers.digest, digest)
        self._digest, self._shape = digest, shape
        self._mean, self._deviation, self._levels = mean, deviation, steps

    def _finite(self, outputs: np.ndarray) -> np.ndarray:
        if not (np.abs(outputs) <= _LARGEST).all():  # written so that NaN is refused
            raise WorkError(f"{self}: the layers give values that are not finite or above {_LARGEST}: use others")
        return outputs

    def _given(self) -> FrozenLayers:
        if self.layers is None:
            raise UsageError(
                f"{self}: its encoder needs the frozen layers of a network, which are not available here (decoding "
                "needs none); probe, pilot and memory build provide them"
            )
        return self.layers

    def _require(self, digest: bytes, stored: bytes | None = None) -> None:
        """Refuse layers other than those that the statistics, loaded or ``stored``, belong to."""
        if digest != (self._digest if stored is None else stored):
            raise WorkError(
                f"{self}: the stored features were computed by other layers than these: the frozen layers of a network "
                "must not change while its features are kept"
            )

    def _standard(self, outputs: np.ndarray) -> np.ndarray:
        deviation = np.where(self._deviation > 0, self._deviation, np.inf)  # 0 for channels without any
        return (outputs - self._by_channel(self._mean)) / self._by_channel(deviation)

    def _by_channel(self, numbers: np.ndarray) -> np.ndarray:
        return numbers.reshape(1, -1, *[1] * (len(self._shape) - 1))


def lloyd_levels(values: np.ndarray, count: int) -> np.ndarray:
    """Levels that minimise the mean squared error of values rounded to the nearest one, ascending float64 (count,).

    The better of two local minima; the same values always give the same levels. One search starts from quantiles, one
    from levels whose density is the cube root of the values', the optimum for many levels (Panter & Dite, 1951).

    Args:
        values: of any shape, at least one.
        count: of levels.
    """
    ordered = np.sort(values, axis=None).astype(np.float64)
    middles = (np.arange(count) + 0.5) / count
    counts, edges = np.histogram(ordered, _BINS, (ordered[0], ordered[-1]))
    share = np.concatenate([[0.0], np.cumsum(np.cbrt(counts))])
    starts = np.quantile(ordered, middles), np.interp(middles, share / share[-1], edges)
    found = [_refined(ordered, levels) for levels in starts]
    return min(found, key=lambda levels: float(np.square(levels[_nearest(levels, ordered)] - ordered).sum()))


def _refined(ordered: np.ndarray, levels: np.ndarray) -> np.ndarray:
    """Levels after rounds of Lloyd's algorithm on ascending values."""
    sums = np.concatenate([[0.0], np.cumsum(ordered)])
    for _ in range(_ROUNDS):
        ends = np.concatenate([[0], np.searchsorted(ordered, (levels[:-1] + levels[1:]) / 2), [len(ordered)]])
        filled = np.diff(ends) > 0
        means = np.diff(sums[ends]) / np.maximum(np.diff(ends), 1)
        levels = np.maximum.accumulate(np.where(filled, means, levels))
    return levels


def _nearest(levels: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Place of the nearest of ascending levels for each value."""
    return np.searchsorted((levels[:-1] + levels[1:]) / 2, values)


def _as_stored(numbers: np.ndarray) -> np.ndarray:
    """Numbers as decoding knows them: float32 with the precision of float16."""
    return numbers.astype(np.float16).astype(np.float32)


def _to_bfloat16(values: np.ndarray) -> np.ndarray:
    """The upper halves of float32 numbers, rounded to the nearest even."""
    bits = np.ascontiguousarray(values, np.float32).view(np.uint32)
    return ((bits + 0x7FFF + (bits >> 16 & 1)) >> 16).astype("<u2")


def _from_bfloat16(halves: np.ndarray) -> np.ndarray:
    return (halves.astype(np.uint32) << 16).view(np.float32)


FEATURES = CodecKind(
    "features",
    "quantised outputs of a network's frozen layers instead of the image",
    FeaturesCodec,
    {"bits": Parameter(str, "4", choices=("2", "4", "8", "16"), always=True, help="per value; 16 is exact")},
    images=False,
)
