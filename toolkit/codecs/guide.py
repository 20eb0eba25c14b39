"""Guides: networks that guide some encoders, defined here only as a protocol.

``foreground`` asks for the class-activation box of an image, ``adaptive`` for the change of its features by coding.
Decoding needs no guide. A guided codec has an attribute ``guide``; callers set it with :func:`give_guide` before
encoding.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from toolkit.codecs.base import Codec, chain
from toolkit.foundation.errors import UsageError


class Guide(Protocol):
    """A network with the classes of a dataset; its methods are thread-safe."""

    @property
    def digest(self) -> str:
        """Hexadecimal digits that change with anything that affects the results."""

    def features(self, images: np.ndarray) -> np.ndarray:
        """Features, float32 (N, D), of images uint8 (N, H, W, 3).

        They are scaled to a mean square of 1 over the dataset, so that a mean squared difference is a relative FMSE.
        """

    def boxes(self, images: np.ndarray, threshold: float) -> np.ndarray:
        """Class-activation box of each image: int64 (N, 4), top, left, bottom and right (the last two exclusive).

        Args:
            images: uint8 (N, H, W, 3).
            threshold: on the class activation map, scaled to 0..1.
        """


@runtime_checkable
class Guided(Protocol):
    """A codec whose encoder uses a :class:`Guide`; None until it is set."""

    guide: Guide | None


def needs_guide(codec: Codec) -> bool:
    """Whether encoding with this codec, or one that it wraps, needs a guide."""
    return any(isinstance(part, Guided) for part in chain(codec))


def needs_network(codec: Codec) -> bool:
    """Whether this codec, or one that it wraps, runs a network, which the app's pages cannot do."""
    return any(isinstance(part, Guided) or getattr(part, "runs_network", False) for part in chain(codec))


def give_guide(codecs: Sequence[Codec], make: Callable[[], Guide]) -> None:
    """Give all guided ``codecs`` the same guide; ``make`` is called only if there are any."""
    looking = [part for codec in codecs for part in chain(codec) if isinstance(part, Guided)]
    if looking:
        guide = make()
        for part in looking:
            part.guide = guide


def guide_digest(codec: Codec) -> str:
    """Digest of the codec's guides for a cache key; empty without guides."""
    guides = [part.guide for part in chain(codec) if isinstance(part, Guided)]
    return "|".join(guide.digest for guide in guides if guide is not None)


def require_guide(codec: Guided) -> Guide:
    """The codec's guide.

    Raises:
        UsageError: it has none.
    """
    if codec.guide is None:
        raise UsageError(
            f"{codec}: its encoder needs a feature network, which is not available here (decoding needs none); "
            "probe, advise, images, pilot and memory build provide one"
        )
    return codec.guide


def refuse_guide(codec: Codec, what: str) -> None:
    """Refuse a guided codec.

    Raises:
        UsageError: the codec needs a guide, which ``what`` cannot provide.
    """
    if needs_guide(codec):
        raise UsageError(f"{what} cannot use {codec}: its encoder needs a feature network")
