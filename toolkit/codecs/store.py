"""``store``: all of an image, larger than what a network is given, by another codec; decoding crops it.

A dataset holds what the network is given: the centre of an image, at the size it trains on. This codec keeps more of
the source, for augmentation by random crops, for another network later, or to look at::

    image -> all of its source, scaled down -> inner codec -> height, width, payload
    payload -> inner codec -> scaled to cover the size of the dataset, centre -> image
"""

from __future__ import annotations

from collections import Counter
from collections.abc import Callable, Iterable, Iterator, Sequence
from typing import TypeVar

import numpy as np

from toolkit.codecs.base import MAX_PIXELS, Codec, Size, chain, fitting_sample, image_size
from toolkit.codecs.fixed_size import SHARED_SIZE, FixedSizeCodec, assume_grey, at_size
from toolkit.codecs.guide import needs_guide
from toolkit.codecs.kind import CodecKind
from toolkit.codecs.original import NeedsOriginals, require_dataset_size
from toolkit.codecs.varint import read_varint, write_varint
from toolkit.data.dataset import SourceImages
from toolkit.data.grey import is_grey
from toolkit.data.images import Whole, framed_array
from toolkit.foundation.errors import UsageError, WorkError
from toolkit.foundation.image_size import ImageSize, WrittenSize, parse_image_size
from toolkit.foundation.parameters import Parameter
from toolkit.foundation.threads import ordered_map, thread_count

_SIDE_BYTES = 4
"""Maximum length of a side in a payload."""
_BLOCK_PIXELS = 2**23
"""Whole images held at a time, if they are square: 24 MiB."""
_Item = TypeVar("_Item")


class StoreCodec(FixedSizeCodec):
    """Sources of images, their shorter side scaled down to ``side``, by the inner codec.

    Their sizes differ: a payload begins with its own (2 to 4 bytes), and pays for what its file does not share. A
    source that is smaller keeps its size. Even with a lossless inner codec, an image is not restored to the bit,
    because it is scaled twice.

    Args:
        inner: codec of images, without a guide.
        side: maximum length of the shorter side in pixels.

    Raises:
        UsageError: an inner codec that keeps source files itself, or encodes through a network that guides it.
    """

    needs_files = False
    least_state = SHARED_SIZE.size + 1
    size_name = "the size of the images"

    def __init__(self, inner: Codec, side: int) -> None:
        if needs_guide(inner) or any(isinstance(part, NeedsOriginals) for part in chain(inner)):
            raise UsageError(f"store cannot wrap {inner}: take a codec such as store:side={side}|jpeg:quality=50")
        self.inner = inner
        self.side = side
        self.originals: SourceImages | None = None
        self._all_grey = False
        self.extension = inner.extension

    def __str__(self) -> str:
        return f"{STORE.spec({'side': self.side})}|{self.inner}"

    def learn(self, images: np.ndarray) -> None:
        self.require_larger(ImageSize(*image_size(images)).written)
        wholes = self.whole_of(images[fitting_sample(np.arange(len(images)))])
        self._all_grey = all(map(is_grey, wholes))
        told = [whole for whole in wholes if self._all_grey or not is_grey(whole)]
        counts = Counter(whole.shape for whole in told)
        usual = max(counts, key=lambda shape: (counts[shape], shape))
        self.inner.fit(np.stack([whole for whole in told if whole.shape == usual]))

    def encode_images(self, images: np.ndarray) -> list[bytes]:
        payloads: list[bytes] = []
        for some in self._blocks(len(images)):
            payloads += _by_size(self.whole_of(images[some]), lambda whole: image_size(whole[None]), self._encode)
        return payloads

    def decode_images(self, payloads: Sequence[bytes], size: Size) -> np.ndarray:
        wanted = ImageSize(*size).written
        images = np.empty((len(payloads), *size, 3), np.uint8)
        for some in self._blocks(len(payloads)):
            crops = ordered_map(lambda whole: framed_array(whole, wanted), self.decode_whole(payloads[some]))
            for place, image in enumerate(crops, some.start):
                images[place] = image
        return images

    def wholes(self, payloads: Sequence[bytes]) -> Iterator[np.ndarray]:
        """The stored images as :meth:`decode_whole` gives them, a few at a time."""
        for some in self._blocks(len(payloads)):
            yield from self.decode_whole(payloads[some])

    def decode_whole(self, payloads: Sequence[bytes]) -> list[np.ndarray]:
        """The stored images, each uint8 (H, W, 3) of its own size.

        Raises:
            WorkError: a payload is damaged.
        """
        return _by_size(payloads, lambda payload: self._split(payload)[0], self._decode)

    def stored_pixels(self, payload: bytes) -> int:
        """Number of pixels that a payload stores."""
        return ImageSize(*self._split(payload)[0]).pixels

    def require_larger(self, size: WrittenSize) -> None:
        """Require that what is stored is not smaller than images of a size.

        Raises:
            UsageError: it is.
        """
        if self.side < (least := max(parse_image_size(size))):
            raise UsageError(
                f"{self} stores less than the network is given: its side must be at least {least} for images of "
                f"{size} pixels"
            )

    def to_file(self, payload: bytes) -> bytes:
        size, inside = self._split(payload)
        return at_size(self.inner, size).to_file(inside)

    def rest_of_shared(self) -> bytes:
        return bytes([self._all_grey]) + self.inner.shared_state()

    def load_rest(self, rest: bytes, size: Size) -> None:
        require_dataset_size(self, size)
        if rest[0] > 1:
            raise WorkError(f"{self}: {self.state_name} is damaged")
        self.inner.load_shared(rest[1:])
        self._all_grey = bool(rest[0])
        assume_grey(self.inner, self._all_grey)

    def shared_bytes(self) -> int:
        return 0 if self._size is None else SHARED_SIZE.size + 1 + self.inner.shared_bytes()

    def weights_bytes(self) -> int:
        return self.inner.weights_bytes()

    def whole_of(self, images: np.ndarray) -> list[np.ndarray]:
        """All of the sources of images, as they are stored before coding, each uint8 (H, W, 3) of its own size.

        Args:
            images: uint8 (N, H, W, 3), of the dataset.

        Raises:
            UsageError: the sources have not been given.
            WorkError: one cannot be read.
        """
        if self.originals is None:
            raise UsageError(
                f"{self}: its encoder needs the sources of a dataset, which are not available here (decoding needs "
                "none); probe, advise, images, pilot and memory build provide them"
            )
        originals = self.originals
        most = min(MAX_PIXELS, *(getattr(part, "most_pixels", MAX_PIXELS) for part in chain(self.inner)))
        return list(ordered_map(lambda image: originals.whole_of(image, Whole(self.side, most)), images))

    def _blocks(self, count: int) -> Iterator[slice]:
        """Slices of images that are held whole at a time."""
        each = max(1, _BLOCK_PIXELS // self.side**2)
        return (slice(start, min(start + each, count)) for start in range(0, count, each))

    def _encode(self, wholes: Sequence[np.ndarray], size: Size) -> list[bytes]:
        head = write_varint(size[0]) + write_varint(size[1])
        return [head + payload for payload in at_size(self.inner, size).encode(np.stack(wholes))]

    def _decode(self, payloads: Sequence[bytes], size: Size) -> list[np.ndarray]:
        return list(at_size(self.inner, size).decode([self._split(payload)[1] for payload in payloads], size))

    def _split(self, payload: bytes) -> tuple[Size, bytes]:
        """Size and payload of the inner codec.

        Raises:
            WorkError: the payload is damaged.
        """
        try:
            height, start = read_varint(payload, 0, _SIDE_BYTES)
            width, start = read_varint(payload, start, _SIDE_BYTES)
        except IndexError:
            raise WorkError(f"{self}: a stored exemplar is truncated after {len(payload)} bytes") from None
        if not 0 < height * width <= MAX_PIXELS or min(height, width) > self.side:
            raise WorkError(f"{self}: a stored exemplar is damaged: it claims to have {width} x {height} pixels")
        return (height, width), payload[start:]


def _by_size(
    items: Sequence[_Item], size_of: Callable[[_Item], Size], work: Callable[[Sequence[_Item], Size], list]
) -> list:
    """The results of ``work`` on the items of each size together, several sizes at once, in the order of the items."""
    members: dict[Size, list[int]] = {}
    for place, item in enumerate(items):
        members.setdefault(size_of(item), []).append(place)
    results: list = [None] * len(items)

    def worked(size: Size) -> list:
        return work([items[place] for place in members[size]], size)

    workers = None if len(members) >= thread_count() else 1  # few sizes are shared out by their codec
    for places, found in zip(members.values(), ordered_map(worked, members, workers, group=1), strict=True):
        for place, result in zip(places, found, strict=True):
            results[place] = result
    return results


def require_larger_stores(codecs: Iterable[Codec], size: WrittenSize) -> None:
    """Refuse codecs that store less than the images of a size.

    Raises:
        UsageError: one does.
    """
    for codec in codecs:
        if isinstance(codec, StoreCodec):
            codec.require_larger(size)


STORE = CodecKind(
    "store",
    "wrapper: all of the source at a larger size; decoding crops it",
    StoreCodec,
    {"side": Parameter(int, 256, 8, 1024, help="maximum of the shorter side in pixels", always=True)},
    wraps=True,
    outermost=True,
)
