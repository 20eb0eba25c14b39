"""The codec protocol and the registry: one table of names, parameters and factories."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, Protocol, runtime_checkable

import numpy as np

from toolkit.foundation.errors import UsageError
from toolkit.foundation.parameters import Parameter, Value, write_spec

FITTING_IMAGES = 64
"""Enough to set a price (see :mod:`toolkit.codecs.adaptive`); other codecs look at the shape only."""


@runtime_checkable
class Codec(Protocol):
    """Images to payloads and back.

    A payload is what one exemplar costs in the memory. What all exemplars have in common is *shared*: it is learned
    by :meth:`fit`, stored once, and needed to decode. ``str(codec)`` is the canonical spec and parses back.
    """

    @property
    def lossless(self) -> bool:
        """True if decoding gives exactly the pixels that were encoded."""

    def fit(self, images: np.ndarray) -> None:
        """Learn what is shared by images like these: uint8 (N, H, W, 3), all of one size."""

    def encode(self, images: np.ndarray) -> list[bytes]:
        """One payload an image; uint8 (N, H, W, 3). Fits on these images if nothing was fitted or loaded yet."""

    def decode(self, payloads: Sequence[bytes]) -> np.ndarray:
        """The decoded images, uint8 (N, H, W, 3).

        Raises:
            WorkError: a payload is damaged, or nothing was fitted or loaded yet.
        """

    def to_file(self, payload: bytes) -> bytes:
        """The exemplar as a self-contained file of its format (raw pixels for ``raw``)."""

    def shared_state(self) -> bytes:
        """What :meth:`load_shared` needs on another machine; its length is what sharing costs."""

    def load_shared(self, state: bytes) -> None:
        """Take over a shared state in place of :meth:`fit`."""

    def shared_bytes(self) -> int:
        """Bytes charged once for all exemplars."""

    def weights_bytes(self) -> int:
        """Bytes of network weights the decoder needs (0 but for neural codecs)."""

    @property
    def extension(self) -> str:
        """File name extension of :meth:`to_file`, without the dot; empty where no other program reads such a file."""


def chain(codec: Codec) -> Iterator[Any]:
    """The codec and those that it wraps, from the outside in."""
    part: Any = codec
    while part is not None:
        yield part
        part = getattr(part, "inner", None)


@dataclass(frozen=True)
class CodecKind:
    """A registered codec: its name in specs, its parameters, and how one is made from parsed values.

    ``wraps`` marks a wrapper, whose factory takes the inner codec first. ``check`` takes the values of a canonical spec
    and raises a :class:`UsageError` if such a codec could not encode here, for want of a file.
    """

    name: str
    summary: str
    factory: Callable[..., Codec]
    parameters: dict[str, Parameter] = field(default_factory=dict)
    wraps: bool = False
    check: Callable[..., None] | None = None

    def spec(self, values: Mapping[str, Value | None]) -> str:
        """Canonical text: see :func:`~toolkit.foundation.parameters.write_spec`."""
        return write_spec(self.name, self.parameters, values)


def require_rgb(codec: Codec, images: np.ndarray, least: int = 1) -> None:
    """Refuse what is no batch of RGB images with sides of at least ``least`` pixels.

    Raises:
        UsageError: it is none.
    """
    if images.dtype != np.uint8 or images.ndim != 4 or images.shape[3] != 3:
        raise UsageError(f"{codec}: images must be uint8 (N, H, W, 3), got {images.dtype} {images.shape}")
    if min(images.shape[1:3]) < least:
        raise UsageError(f"{codec}: images must have at least {least} pixels a side, got {images.shape[1:3]}")


def fitting_sample(images: np.ndarray) -> np.ndarray:
    """Up to :data:`FITTING_IMAGES` of the images, or of their indices, evenly spread: enough to fit a codec on."""
    every = -(-len(images) // FITTING_IMAGES)
    return np.ascontiguousarray(images[:: max(1, every)])


_KINDS: dict[str, CodecKind] = {}


def register(kind: CodecKind) -> CodecKind:
    """Enter a codec into the registry."""
    if kind.name in _KINDS:
        raise ValueError(f"codec {kind.name!r} is registered twice")
    _KINDS[kind.name] = kind
    return kind


def codec_kinds() -> dict[str, CodecKind]:
    """All registered codecs by name, ordinary formats first."""
    # importing them registers their codecs
    from toolkit.codecs import adaptive, foreground, learned_jpeg, standard, tensor, wrappers
    from toolkit.codecs.neural import codec as neural

    modules = (standard, learned_jpeg, neural, tensor, adaptive, foreground, wrappers)
    places = {module.__name__: place for place, module in enumerate(modules)}
    return dict(sorted(_KINDS.items(), key=lambda item: places.get(item[1].factory.__module__, len(places))))
