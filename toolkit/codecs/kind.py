"""What the registry knows of a codec: its name, its parameters, and how one is made."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from toolkit.codecs.base import Codec
from toolkit.foundation.parameters import Parameter, Value, write_spec


@dataclass(frozen=True)
class CodecKind:
    """A kind of codec: its name in specs, its parameters, and how one is made from parsed values.

    A value of a parameter of kind :class:`~toolkit.codecs.base.Codec` is made that codec before the factory gets it,
    unless it is one of ``words``.

    Attributes:
        factory: the codec from the values of its parameters; a wrapper's takes the inner codec first.
        wraps: marks a wrapper.
        check: takes the values of a canonical spec and raises a :class:`UsageError` if such a codec could not encode
            here, for want of a file.
    """

    name: str
    summary: str
    factory: Callable[..., Codec]
    parameters: dict[str, Parameter] = field(default_factory=dict)
    wraps: bool = False
    check: Callable[..., None] | None = None
    words: tuple[str, ...] = ()

    def spec(self, values: Mapping[str, Value | None]) -> str:
        """Canonical text: see :func:`~toolkit.foundation.parameters.write_spec`."""
        return write_spec(self.name, self.parameters, values)

    def make(self, **given: Value) -> Codec:
        """A codec with these values, and with the defaults of all other parameters."""
        defaults = {key: one.default for key, one in self.parameters.items() if one.default is not None}
        return self.factory(**defaults | given)
