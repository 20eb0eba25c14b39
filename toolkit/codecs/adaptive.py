"""``adaptive``: for each image the setting of a family that its features ask for.

Features are a network's (see :mod:`toolkit.codecs.sight`), distortion is the relative FMSE of the probe table: an
image's mean squared feature difference over the mean square of all features at hand.

``fmse=0.05``   the smallest setting whose distortion is at most that; the best one where none is
``slope=1e-4``  the setting with the least distortion + slope x bytes

The slope prices one more exemplar. A memory in which an exemplar is worth v keeps most of sum(v - distortion) within
its bytes where each image minimises distortion + slope x bytes and is kept as long as that is below v, with the slope
at which the bytes are just used up (:func:`toolkit.memory.mixed.spend` finds it). So a slope of s says that one more
exemplar of b bytes must be worth its distortion and s x b: at 1e-4, 200 bytes more are as dear as a distortion of 0.02.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from toolkit.codecs.base import Codec, CodecKind, register, require_rgb
from toolkit.codecs.sight import Sight, require_sight
from toolkit.codecs.spec import parse_codec
from toolkit.codecs.standard import AVIF, JPEG, WEBP
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.parameters import Parameter

LADDERS = {
    JPEG.name: (5, 10, 20, 30, 45, 60, 75, 90),
    WEBP.name: (5, 10, 20, 30, 45, 60, 75, 90),
    AVIF.name: (15, 25, 35, 45, 55, 65, 75, 85),
}
"""Qualities of each family, the smallest first. Each adds what its header has of its own to the shared bytes."""
FMSE = 0.05
_STATE = struct.Struct("<H")
_MOST_STATE = 2**20


class AdaptiveCodec:
    """One of a family's qualities for each image; its place on the ladder is a payload's first byte.

    The shared headers of all qualities are shared and charged, compressed together: they differ in little.

    Args:
        family: of :data:`LADDERS`.
        fmse: largest relative feature distortion.
        slope: distortion a byte is worth; takes the place of ``fmse``.

    Raises:
        UsageError: both ``fmse`` and ``slope``.
    """

    def __init__(self, family: str, fmse: float | None = None, slope: float | None = None) -> None:
        if fmse is not None and slope is not None:
            raise UsageError("adaptive takes fmse (a bound) or slope (a price), not both")
        self.family = family
        self.slope = slope
        self.fmse = FMSE if fmse is None and slope is None else fmse
        self.rungs: list[Codec] = [parse_codec(f"{family}:quality={quality}") for quality in LADDERS[family]]
        self.sight: Sight | None = None

    def __str__(self) -> str:
        return ADAPTIVE.spec({"family": self.family, "fmse": self.fmse, "slope": self.slope})

    @property
    def lossless(self) -> bool:
        return False

    @property
    def extension(self) -> str:
        return self.rungs[0].extension

    def fit(self, images: np.ndarray) -> None:
        require_rgb(self, images)
        for rung in self.rungs:
            rung.fit(images[:1])

    def encode(self, images: np.ndarray) -> list[bytes]:
        require_rgb(self, images)
        sight = require_sight(self)
        if not self.shared_state():
            self.fit(images)
        if self.slope is None:
            return self._within_bound(images, sight)
        return self._at_price(images, sight, self.slope)

    def decode(self, payloads: Sequence[bytes]) -> np.ndarray:
        if not payloads:
            raise WorkError(f"{self}: nothing to decode")
        places = np.array([self._place(payload) for payload in payloads])
        decoded: np.ndarray | None = None
        for place in np.unique(places):
            members = np.flatnonzero(places == place)
            part = self.rungs[place].decode([payloads[member][1:] for member in members])
            if decoded is None:
                decoded = np.empty((len(payloads), *part.shape[1:]), np.uint8)
            if part.shape[1:] != decoded.shape[1:]:
                raise WorkError(f"{self}: exemplars of different sizes: {part.shape[1:]} and {decoded.shape[1:]}")
            decoded[members] = part
        assert decoded is not None  # there was a payload
        return decoded

    def to_file(self, payload: bytes) -> bytes:
        return self.rungs[self._place(payload)].to_file(payload[1:])

    def shared_state(self) -> bytes:
        states = [rung.shared_state() for rung in self.rungs]
        return zlib.compress(b"".join(_STATE.pack(len(state)) + state for state in states), 9) if all(states) else b""

    def load_shared(self, state: bytes) -> None:
        try:
            inflater = zlib.decompressobj()
            states = inflater.decompress(state, _MOST_STATE)
            if not inflater.eof or inflater.unused_data:
                raise WorkError(f"{self}: the shared headers are damaged")
            at = 0
            for rung in self.rungs:
                (length,) = _STATE.unpack_from(states, at)
                rung.load_shared(states[at + _STATE.size : at + _STATE.size + length])
                at += _STATE.size + length
        except (zlib.error, struct.error) as error:
            raise WorkError(f"{self}: the shared headers are damaged: {error}") from error
        if at != len(states):
            raise WorkError(f"{self}: the shared headers have {len(states)} bytes, expected {at}")

    def shared_bytes(self) -> int:
        return len(self.shared_state())

    def weights_bytes(self) -> int:
        return 0

    def _place(self, payload: bytes) -> int:
        if not payload or payload[0] >= len(self.rungs):
            what = f"setting {payload[0]} of {len(self.rungs)}" if payload else "no bytes"
            raise WorkError(f"{self}: a stored exemplar is damaged: it has {what}")
        return payload[0]

    def _within_bound(self, images: np.ndarray, sight: Sight) -> list[bytes]:
        """Up the ladder, with those images only that no smaller setting was enough for."""
        assert self.fmse is not None
        payloads = [b""] * len(images)
        left, originals = np.arange(len(images)), sight.features(images)
        for place, rung in enumerate(self.rungs):
            coded = rung.encode(images[left])
            for member, payload in zip(left, coded, strict=True):
                payloads[member] = bytes([place]) + payload
            if place + 1 < len(self.rungs):
                left = left[_distortion(originals[left], sight.features(rung.decode(coded))) > self.fmse]
            if not len(left):
                break
        return payloads

    def _at_price(self, images: np.ndarray, sight: Sight, slope: float) -> list[bytes]:
        originals = sight.features(images)
        costs, coded = [], []
        for rung in self.rungs:
            coded.append(rung.encode(images))
            distortion = _distortion(originals, sight.features(rung.decode(coded[-1])))
            costs.append(distortion + slope * np.array([1 + len(payload) for payload in coded[-1]]))
        best = np.argmin(costs, axis=0)
        return [bytes([place]) + coded[place][member] for member, place in enumerate(best.tolist())]


def _distortion(originals: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    return np.square(decoded.astype(np.float64) - originals).mean(axis=1)


ADAPTIVE = register(
    CodecKind(
        "adaptive",
        "for each image the quality that its features ask for",
        AdaptiveCodec,
        {
            "family": Parameter(str, "jpeg", choices=tuple(LADDERS), always=True, help="of formats"),
            "fmse": Parameter(float, None, 1e-4, 1, help=f"largest relative FMSE, 0.0001 to 1; {FMSE} if not given"),
            "slope": Parameter(float, None, 1e-8, 1, help="price of a byte in relative FMSE; takes the place of fmse"),
        },
    )
)
