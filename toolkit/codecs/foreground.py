"""``foreground``: encode the class-activation box at higher quality than the background.

After CIM (Luo et al., CVPR 2023), which keeps the box of a class activation map at full resolution and the rest at half
resolution. Here both parts are files of standard codecs::

    image -> box -> crop -> inner codec ------------------------+
               +--> image with the box blended away ------------+-> box, lengths, crop payload, rest payload
                        -> background codec

``background=cim`` is the method of the paper: every second pixel of the whole image, by the inner codec. ``box=random``
is the control: a box of the same size at a random position.
"""

from __future__ import annotations

import copy
import struct
import zlib
from collections.abc import Sequence

import numpy as np

from toolkit.codecs.base import Codec, Size, image_size
from toolkit.codecs.file_formats import FileCodec
from toolkit.codecs.fixed_size import SHARED_SIZE, FixedSizeCodec
from toolkit.codecs.guide import Guide, require_guide
from toolkit.codecs.kind import CodecKind
from toolkit.codecs.varint import read_varint, write_varint
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.parameters import Parameter, Value
from toolkit.foundation.threads import ordered_map

LEAST_IMAGE = 16
LEAST_BOX = 8
"""Minimum side in pixels; a smaller box would still take a whole transform block."""
CIM = "cim"
_LENGTH_BYTES = 5
_LENGTH = struct.Struct("<I")
"""Length of the inner codec's shared state."""

Box = tuple[int, int, int, int]
"""Top, left, bottom, right; the last two exclusive."""


class ForegroundCodec(FixedSizeCodec):
    """Two files per image: the box by the inner codec, the rest by the background codec.

    A payload is the box (4 bytes for sides up to 256 pixels, else 8), the lengths of both payloads (1 or 2 bytes each),
    and the payloads; there is no rest if the box is the whole image. The size of a crop differs from that in the shared
    header, at a cost of three bytes for each byte that differs.

    Args:
        inner: a codec of image files, whose headers contain the size.
        threshold: of the class activation map.
        background: ``cim``, or a codec of image files.
        box: ``cam`` or ``random``.

    Raises:
        UsageError: a codec that is not a codec of image files.
    """

    least_side = LEAST_IMAGE
    least_state = SHARED_SIZE.size + _LENGTH.size
    state_name = "the shared state"

    def __init__(self, inner: Codec, threshold: float, background: Codec | str, box: str) -> None:
        if not isinstance(inner, FileCodec):
            raise UsageError(
                f"foreground cannot wrap {inner}: crops differ in size, so use a codec of image files, "
                "such as foreground|jpeg:quality=60"
            )
        self.inner = inner
        self.threshold = threshold
        self.box = box
        self.background = copy.deepcopy(inner) if background == CIM else _background(background)
        self._halves = background == CIM
        self.guide: Guide | None = None

    def __str__(self) -> str:
        background = CIM if self._halves else str(self.background)
        values: dict[str, Value | None] = {"threshold": self.threshold, "background": background, "box": self.box}
        return f"{FOREGROUND.spec(values)}|{self.inner}"

    def learn(self, images: np.ndarray) -> None:
        self.inner.fit(images[:1])
        self.background.fit(images[:1, ::2, ::2] if self._halves else images[:1])

    def encode(self, images: np.ndarray) -> list[bytes]:
        self.check(images)
        require_guide(self)  # before anything is fitted
        return super().encode(images)

    def encode_images(self, images: np.ndarray) -> list[bytes]:
        found = require_guide(self).boxes(images, self.threshold).tolist()
        boxes = [_at_least(box, *image_size(images)) for box in found]
        if self.box == "random":
            boxes = [_elsewhere(box, image) for box, image in zip(boxes, images, strict=True)]
        return list(ordered_map(lambda pair: self._encode_one(*pair), zip(images, boxes, strict=True)))

    def decode_images(self, payloads: Sequence[bytes], size: Size) -> np.ndarray:
        images = np.empty((len(payloads), *size, 3), np.uint8)
        for index, image in enumerate(ordered_map(self._decode_one, payloads)):
            images[index] = image
        return images

    def to_file(self, payload: bytes) -> bytes:
        _, crop, rest = self._split(payload)
        files = [codec.to_file(part) for codec, part in ((self.inner, crop), (self.background, rest)) if part]
        return payload[: len(payload) - len(crop) - len(rest)] + b"".join(files)

    def rest_of_shared(self) -> bytes:
        inner = self.inner.shared_state()
        return _LENGTH.pack(len(inner)) + inner + self.background.shared_state()

    def load_rest(self, rest: bytes, size: Size) -> None:
        (length,) = _LENGTH.unpack_from(rest)
        end = _LENGTH.size + length
        if end > len(rest):
            raise WorkError(f"{self}: the shared state is damaged: {size[0]} x {size[1]} pixels, {length} bytes")
        self.inner.load_shared(rest[_LENGTH.size : end])
        self.background.load_shared(rest[end:])

    def _encode_one(self, image: np.ndarray, box: Box) -> bytes:
        top, left, bottom, right = box
        crop = self.inner.encode(np.ascontiguousarray(image[None, top:bottom, left:right]))[0]
        rest = b""
        if (bottom - top, right - left) != image.shape[:2]:
            lesser = image[::2, ::2] if self._halves else blended(image, box)
            rest = self.background.encode(np.ascontiguousarray(lesser[None]))[0]
        place = self._place().pack(top, left, bottom - top - 1, right - left - 1)
        return place + write_varint(len(crop)) + write_varint(len(rest)) + crop + rest

    def _decode_one(self, payload: bytes) -> np.ndarray:
        (top, left, bottom, right), crop, rest = self._split(payload)
        assert self._size is not None  # _split has checked it
        height, width = self._size
        image = np.empty((height, width, 3), np.uint8)
        if rest:
            step = 2 if self._halves else 1
            lesser = self.background.decode([rest], (-(-height // step), -(-width // step)))[0]
            image[:] = lesser.repeat(step, axis=0).repeat(step, axis=1)[:height, :width]
        image[top:bottom, left:right] = self.inner.decode([crop], (bottom - top, right - left))[0]
        return image

    def _place(self) -> struct.Struct:
        """Storage format of a box: top, left, height - 1 and width - 1."""
        if self._size is None:
            raise WorkError(f"{self}: the shared size is missing; fit or load it before decoding")
        return struct.Struct("<4B" if max(self._size) <= 256 else "<4H")

    def _split(self, payload: bytes) -> tuple[Box, bytes, bytes]:
        """Box, crop payload and rest payload.

        Raises:
            WorkError: the payload is truncated or damaged, or nothing has been fitted or loaded.
        """
        place = self._place()
        assert self._size is not None
        try:
            top, left, rows, columns = place.unpack_from(payload)
            crop, start = read_varint(payload, place.size, _LENGTH_BYTES)
            rest, start = read_varint(payload, start, _LENGTH_BYTES)
        except (struct.error, IndexError):
            raise WorkError(f"{self}: a stored exemplar is truncated after {len(payload)} bytes") from None
        box = (top, left, top + rows + 1, left + columns + 1)
        whole = (rows + 1, columns + 1) == self._size
        if box[2] > self._size[0] or box[3] > self._size[1] or not crop or whole != (not rest):
            raise WorkError(f"{self}: a stored exemplar is damaged: box {box} in {self._size}")
        if len(payload) != start + crop + rest:
            raise WorkError(f"{self}: a stored exemplar has {len(payload)} bytes, expected {start + crop + rest}")
        return box, payload[start : start + crop], payload[start + crop :]


def blended(image: np.ndarray, box: Box) -> np.ndarray:
    """The image with the box filled from its border pixels, weighted by inverse distance, which costs few bytes.

    Args:
        image: uint8 (H, W, 3).
        box: not the whole image.
    """
    top, left, bottom, right = box
    rows, columns = np.arange(top, bottom)[:, None, None], np.arange(left, right)[None, :, None]
    total, weight = np.zeros((bottom - top, right - left, 3)), np.zeros((bottom - top, right - left, 1))
    for inside, distance, border in (
        (top > 0, rows - top + 1, image[top - 1 : top, left:right]),
        (bottom < image.shape[0], bottom - rows, image[bottom : bottom + 1, left:right]),
        (left > 0, columns - left + 1, image[top:bottom, left - 1 : left]),
        (right < image.shape[1], right - columns, image[top:bottom, right : right + 1]),
    ):
        if inside:
            total += border / distance
            weight += 1 / distance
    filled = image.copy()
    filled[top:bottom, left:right] = np.rint(total / weight)
    return filled


def _background(background: Codec | str) -> FileCodec:
    """Check the background codec.

    Raises:
        UsageError: not a codec of image files, or its spec contains a comma.
    """
    if not isinstance(background, FileCodec):
        raise UsageError(
            f"foreground: background must be {CIM} or a codec of image files such as jpeg, got {str(background)!r}"
        )
    if "," in str(background):
        raise UsageError(f"foreground: background must be a codec without commas, got {background}")
    return background


def _at_least(box: Sequence[int], height: int, width: int) -> Box:
    """The box, grown around its centre to sides of at least :data:`LEAST_BOX` pixels."""
    top, left, bottom, right = box
    top, bottom = _grown(top, bottom, height)
    left, right = _grown(left, right, width)
    return top, left, bottom, right


def _grown(start: int, stop: int, limit: int) -> tuple[int, int]:
    missing = max(0, LEAST_BOX - (stop - start))
    start = min(max(0, start - missing // 2), limit - (stop - start + missing))
    return start, max(stop, start + LEAST_BOX)


def _elsewhere(box: Box, image: np.ndarray) -> Box:
    """A box of the same size at a random position, seeded by the image's pixels."""
    random = np.random.default_rng(zlib.crc32(image.tobytes()))
    rows, columns = box[2] - box[0], box[3] - box[1]
    top, left = (int(random.integers(0, room + 1)) for room in (image.shape[0] - rows, image.shape[1] - columns))
    return top, left, top + rows, left + columns


FOREGROUND = CodecKind(
    "foreground",
    "wrapper: class-activation box by the inner codec, the rest by the background codec",
    ForegroundCodec,
    {
        "threshold": Parameter(float, 0.6, 0.05, 0.95, help="threshold of the class activation map for the box"),
        "background": Parameter(
            Codec,
            "jpeg:quality=10",
            pattern=r"[^,|;{}]+",
            always=True,
            words=f"{CIM} or a codec without commas",
            help="codec of the rest; cim: every second pixel, by the inner codec",
        ),
        "box": Parameter(str, "cam", choices=("cam", "random"), help="random: same size, anywhere (a control)"),
    },
    wraps=True,
    words=(CIM,),
)
