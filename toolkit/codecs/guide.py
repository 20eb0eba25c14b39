"""What some encoders look at images through: a network, known here by what it says only.

``foreground`` asks where the class of an image shows, ``adaptive`` how far coding moves an image's features. Decoding
needs none of it. A codec that looks has an attribute ``guide``; whoever is about to encode calls :func:`give_guide`.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Protocol, runtime_checkable

import numpy as np

from toolkit.codecs.base import Codec, chain
from toolkit.foundation.errors import UsageError


class Guide(Protocol):
    """A network and the classes at hand; its methods may be called from several threads at once."""

    @property
    def digest(self) -> str:
        """Hexadecimal digits that change with anything that can change what is seen."""

    def features(self, images: np.ndarray) -> np.ndarray:
        """Features, float32 (N, D), of images uint8 (N, H, W, 3).

        Scaled so that a mean squared difference is a relative FMSE: the mean square of the features at hand is 1.
        """

    def boxes(self, images: np.ndarray, threshold: float) -> np.ndarray:
        """Where the class of each image shows: int64 (N, 4), top, left, bottom and right (the last two exclusive).

        Args:
            images: uint8 (N, H, W, 3).
            threshold: of the class activation map, from 0 at its least value to 1 at its largest.
        """


@runtime_checkable
class Guided(Protocol):
    """A codec whose encoder looks through a :class:`Guide`; None as long as it was given none."""

    guide: Guide | None


def needs_guide(codec: Codec) -> bool:
    """Whether this codec, or one that it wraps, encodes through a network."""
    return any(isinstance(part, Guided) for part in chain(codec))


def needs_network(codec: Codec) -> bool:
    """Whether coding with this codec, or one that it wraps, runs a network: no page can do that."""
    return any(isinstance(part, Guided) or getattr(part, "runs_network", False) for part in chain(codec))


def give_guide(codecs: Sequence[Codec], make: Callable[[], Guide]) -> None:
    """Give those of ``codecs`` that look through a network the same one; ``make`` is called only if there are any."""
    looking = [part for codec in codecs for part in chain(codec) if isinstance(part, Guided)]
    if looking:
        guide = make()
        for part in looking:
            part.guide = guide


def guide_digest(codec: Codec) -> str:
    """What the codec looks through, for the key of a cache; empty for one that needs no guide, or has none."""
    guides = [part.guide for part in chain(codec) if isinstance(part, Guided)]
    return "|".join(guide.digest for guide in guides if guide is not None)


def require_guide(codec: Guided) -> Guide:
    """The codec's guide.

    Raises:
        UsageError: it was given none.
    """
    if codec.guide is None:
        raise UsageError(
            f"{codec}: its encoder looks at images through a network and there is none here (decoding needs none); "
            "probe, advise, images, pilot and memory build have one"
        )
    return codec.guide


def refuse_guide(codec: Codec, what: str) -> None:
    """Refuse a codec that encodes through a network, where there can be none.

    Raises:
        UsageError: ``what`` cannot use it.
    """
    if needs_guide(codec):
        raise UsageError(f"{what} cannot use {codec}: its encoder looks at images through a network")
