"""A registry entry of a codec: its name, its parameters, and its factory."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from toolkit.codecs.base import Codec
from toolkit.foundation.parameters import Parameter, Value, write_spec


@dataclass(frozen=True)
class CodecKind:
    """A kind of codec: its name in specs, its parameters, and its factory.

    A value of a parameter of kind :class:`~toolkit.codecs.base.Codec` is parsed to that codec before it is passed to
    the factory, unless it is one of ``words``.

    Attributes:
        factory: makes the codec from its parameters; the factory of a wrapper takes the inner codec first.
        wraps: marks a wrapper.
        images: whether decoding gives images, so that it can be wrapped.
        outermost: whether it cannot be wrapped because it takes the sources of images.
        check: takes the values of a canonical spec and raises a :class:`UsageError` if the codec could not encode here
            because of a missing file.
    """

    name: str
    summary: str
    factory: Callable[..., Codec]
    parameters: dict[str, Parameter] = field(default_factory=dict)
    wraps: bool = False
    images: bool = True
    outermost: bool = False
    check: Callable[..., None] | None = None
    words: tuple[str, ...] = ()

    def spec(self, values: Mapping[str, Value | None]) -> str:
        """Canonical text: see :func:`~toolkit.foundation.parameters.write_spec`."""
        return write_spec(self.name, self.parameters, values)

    def make(self, **given: Value) -> Codec:
        """A codec with these values and defaults for all other parameters."""
        defaults = {key: one.default for key, one in self.parameters.items() if one.default is not None}
        return self.factory(**defaults | given)
