"""``adaptive``: choose the quality of each image by its feature distortion.

Features come from a network (see :mod:`toolkit.codecs.guide`). Distortion is the relative FMSE of the probe table: the
mean squared feature difference of an image over the mean square of all features.

``fmse=0.05``   the smallest setting with at most this distortion; the best setting if there is none
``slope=1e-4``  the setting that minimises distortion + slope x bytes: a given price per byte
``value=1``     the same with a price found so that the bytes of a class buy the largest sum of value - distortion
                over its exemplars

The last is the Lagrangian of that sum under a byte constraint (Everett, Operations Research 11, 1963). A memory keeps
as many exemplars as fit, so the objective is value - distortion per byte, and the best such ratio is also the price at
which every image chooses its setting (Dinkelbach, Management Science 13, 1967), for any budget. The price is computed
once, on the images used to fit the codec, and stored with the shared headers. It is optimal if a class has more images
than fit; if the budget holds all of them, use ``fmse`` or a smaller slope instead.
"""

from __future__ import annotations

import struct
import zlib
from collections.abc import Sequence

import numpy as np

from toolkit.codecs.base import Codec, Size, fitting_sample, require_pixels, require_rgb, within_memory
from toolkit.codecs.file_formats import AVIF, JPEG, WEBP
from toolkit.codecs.guide import Guide, require_guide
from toolkit.codecs.kind import CodecKind
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.parameters import Parameter

LADDERS = {
    JPEG.name: (5, 10, 20, 30, 45, 60, 75, 90),
    WEBP.name: (5, 10, 20, 30, 45, 60, 75, 90),
    AVIF.name: (15, 25, 35, 45, 55, 65, 75, 85),
}
"""Qualities of each family in ascending order. Each adds its own header bytes to the shared bytes."""
_FAMILIES = {kind.name: kind for kind in (JPEG, WEBP, AVIF)}
FMSE = 0.05
_STATE = struct.Struct("<H")
_PRICE = struct.Struct("<f")
_MOST_STATE = 2**20


class AdaptiveCodec:
    """A quality of the family for each image; the first byte of a payload is its index in the ladder.

    The shared headers of all qualities are stored and charged, compressed together because they differ in few bytes.

    Args:
        family: a key of :data:`LADDERS`.
        fmse: largest relative feature distortion.
        slope: price of a byte in distortion; replaces ``fmse``.
        value: value of an exemplar in distortion; replaces both.

    Raises:
        UsageError: more than one of ``fmse``, ``slope`` and ``value``.
    """

    def __init__(
        self, family: str, fmse: float | None = None, slope: float | None = None, value: float | None = None
    ) -> None:
        given = sum(one is not None for one in (fmse, slope, value))
        if given > 1:
            raise UsageError("adaptive takes only one of fmse (a bound), slope (a price) or value (of an exemplar)")
        self.family = family
        self.slope = slope
        self.value = value
        self.fmse = fmse if given else FMSE
        self._price: float | None = slope
        self.settings: list[Codec] = [_FAMILIES[family].make(quality=quality) for quality in LADDERS[family]]
        self.guide: Guide | None = None

    def __str__(self) -> str:
        return ADAPTIVE.spec({"family": self.family, "fmse": self.fmse, "slope": self.slope, "value": self.value})

    @property
    def lossless(self) -> bool:
        return False

    @property
    def extension(self) -> str:
        return self.settings[0].extension

    def fit(self, images: np.ndarray) -> None:
        require_rgb(self, images)
        for setting in self.settings:
            setting.fit(images[:1])
        if self.value is not None:
            sizes, distortion, _ = self._ladder(fitting_sample(images), require_guide(self))
            self._price = _PRICE.unpack(_PRICE.pack(price_of_value(sizes, distortion, self.value)))[0]

    def encode(self, images: np.ndarray) -> list[bytes]:
        require_rgb(self, images)
        guide = require_guide(self)
        if not self.shared_state():
            self.fit(images)
        if self._price is None:
            return self._within_bound(images, guide)
        sizes, distortion, coded = self._ladder(images, guide)
        best = np.argmin(distortion + self._price * sizes, axis=1)
        return [bytes([place]) + coded[place][member] for member, place in enumerate(best.tolist())]

    @within_memory
    def decode(self, payloads: Sequence[bytes], size: Size | None = None) -> np.ndarray:
        if not payloads:
            raise WorkError(f"{self}: nothing to decode")
        places = np.array([self._place(payload) for payload in payloads])
        decoded: np.ndarray | None = None
        for place in np.unique(places):
            members = np.flatnonzero(places == place)
            part = self.settings[place].decode([payloads[member][1:] for member in members], size)
            if decoded is None:
                height, width = part.shape[1:3]
                require_pixels(self, (height, width), len(payloads), size)
                size = height, width
                decoded = np.empty((len(payloads), *part.shape[1:]), np.uint8)
            decoded[members] = part
        assert decoded is not None  # there was a payload
        return decoded

    def to_file(self, payload: bytes) -> bytes:
        return self.settings[self._place(payload)].to_file(payload[1:])

    def shared_state(self) -> bytes:
        states = [setting.shared_state() for setting in self.settings]
        if not all(states) or (self.value is not None and self._price is None):
            return b""
        price = b"" if self.value is None else _PRICE.pack(self._price)
        return zlib.compress(b"".join(_STATE.pack(len(state)) + state for state in states) + price, 9)

    def load_shared(self, state: bytes) -> None:
        try:
            inflater = zlib.decompressobj()
            states = inflater.decompress(state, _MOST_STATE)
            if not inflater.eof or inflater.unused_data:
                raise WorkError(f"{self}: the shared headers are damaged")
            at = 0
            for setting in self.settings:
                (length,) = _STATE.unpack_from(states, at)
                setting.load_shared(states[at + _STATE.size : at + _STATE.size + length])
                at += _STATE.size + length
            if self.value is not None:
                (self._price,) = _PRICE.unpack_from(states, at)
                at += _PRICE.size
        except (zlib.error, struct.error) as error:
            raise WorkError(f"{self}: the shared headers are damaged: {error}") from error
        if at != len(states):
            raise WorkError(f"{self}: the shared headers have {len(states)} bytes, expected {at}")

    def shared_bytes(self) -> int:
        return len(self.shared_state())

    def weights_bytes(self) -> int:
        return 0

    def _place(self, payload: bytes) -> int:
        if not payload or payload[0] >= len(self.settings):
            what = f"setting {payload[0]} of {len(self.settings)}" if payload else "no bytes"
            raise WorkError(f"{self}: a stored exemplar is damaged: it has {what}")
        return payload[0]

    def _within_bound(self, images: np.ndarray, guide: Guide) -> list[bytes]:
        """Climb the ladder, keeping only the images for which no smaller setting was enough."""
        assert self.fmse is not None
        payloads = [b""] * len(images)
        left, originals = np.arange(len(images)), guide.features(images)
        for place, setting in enumerate(self.settings):
            coded = setting.encode(images[left])
            for member, payload in zip(left, coded, strict=True):
                payloads[member] = bytes([place]) + payload
            if place + 1 < len(self.settings):
                left = left[_distortion(originals[left], guide.features(setting.decode(coded))) > self.fmse]
            if not len(left):
                break
        return payloads

    def _ladder(self, images: np.ndarray, guide: Guide) -> tuple[np.ndarray, np.ndarray, list[list[bytes]]]:
        """Payload bytes and distortion, (N, K) each, of N images at K settings, and the payloads of each setting."""
        originals = guide.features(images)
        coded = [setting.encode(images) for setting in self.settings]
        decoded = (setting.decode(payloads) for setting, payloads in zip(self.settings, coded, strict=True))
        distortion = [_distortion(originals, guide.features(pixels)) for pixels in decoded]
        sizes = [[1 + len(payload) for payload in payloads] for payloads in coded]
        return np.array(sizes).T, np.array(distortion).T, coded


def price_of_value(sizes: np.ndarray, distortion: np.ndarray, value: float) -> float:
    """The largest sum of value - distortion per byte over all choices of one setting per image.

    Args:
        sizes: positive int (N, K), bytes of each image at each setting.
        distortion: float (N, K).
        value: value of an exemplar without distortion.

    Returns:
        Distortion per byte; 0 if every setting of every image has a distortion above ``value``.
    """
    images = np.arange(len(sizes))
    price = 0.0
    while True:  # rises until no choice is better: in practice a few steps
        best = np.argmin(distortion + price * sizes, axis=1)
        found = float((value - distortion[images, best]).sum() / sizes[images, best].sum())
        if not found > price * (1 + 1e-12):  # written so that NaN also ends the loop
            return price
        price = found


def _distortion(originals: np.ndarray, decoded: np.ndarray) -> np.ndarray:
    return np.square(decoded.astype(np.float64) - originals).mean(axis=1)


ADAPTIVE = CodecKind(
    "adaptive",
    "quality chosen for each image by its feature distortion",
    AdaptiveCodec,
    {
        "family": Parameter(str, "jpeg", choices=tuple(LADDERS), always=True, help="image format"),
        "fmse": Parameter(float, None, 1e-4, 1, help=f"largest relative FMSE, 0.0001 to 1; {FMSE} if not given"),
        "slope": Parameter(float, None, 1e-8, 1, help="price of a byte in relative FMSE; replaces fmse"),
        "value": Parameter(float, None, 0.01, 10, help="value of an exemplar in relative FMSE; replaces both"),
    },
)
