"""Candidates offered to a memory, checked before anything is written."""

from __future__ import annotations

import operator
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

from toolkit.foundation.errors import UsageError
from toolkit.memory.rows import Sizes

LARGEST = 2**63 - 1
"""SQLite's largest integer."""


@dataclass(frozen=True)
class Offer:
    """Candidates for a memory.

    Attributes:
        payloads: by label, in selection order.
        extras: by label, one per payload, for classes that have any.
        names: class names by label.
        charged: bytes of the budget reserved for other data; None leaves the reserve unchanged.
        size: (height, width) of the images; None if the caller does not give it.
    """

    payloads: dict[int, list[bytes]]
    extras: dict[int, list[bytes]]
    names: dict[int, str]
    charged: int | None
    size: tuple[int, int] | None

    @classmethod
    def of(
        cls,
        candidates: Mapping[int, Sequence[bytes]],
        names: Mapping[int, str],
        extras: Mapping[int, Sequence[bytes]],
        charged: int | None,
        size: tuple[int, int] | None,
    ) -> Offer:
        """Check the arguments of :meth:`~toolkit.memory.store.ExemplarMemory.add`.

        Raises:
            UsageError: a value that a memory cannot hold.
        """
        empty = [label for label, payloads in candidates.items() if not payloads]
        if empty:
            raise UsageError(f"classes {empty} have no candidates for the memory")
        uneven = [label for label, given in extras.items() if len(given) != len(candidates.get(label, ()))]
        if uneven:
            raise UsageError(f"classes {uneven} must have exactly one extra per candidate")
        return cls(
            payloads={_label(label): _blobs("payloads", label, given) for label, given in candidates.items()},
            extras={_label(label): _blobs("extras", label, given) for label, given in extras.items()},
            names={_label(label): _name(label, name) for label, name in names.items()},
            charged=None if charged is None else whole("charged", charged, least=0),
            size=None if size is None else (whole("the height", size[0], 1), whole("the width", size[1], 1)),
        )

    def sizes(self) -> dict[int, Sizes]:
        """Bytes of the candidates, by label."""
        return {
            label: Sizes(list(map(len, blobs)), list(map(len, self.extras.get(label, ()))))
            for label, blobs in self.payloads.items()
        }


NOTHING = Offer({}, {}, {}, None, None)
"""No candidates: for changes that only drop exemplars."""


def whole(what: str, value: object, least: int) -> int:
    """``value`` as an int; NumPy integers are accepted.

    Raises:
        UsageError: not a whole number from ``least`` to :data:`LARGEST`.
    """
    try:
        number = operator.index(value)  # type: ignore[arg-type]  # the TypeError is caught below
    except TypeError:
        number = least - 1
    if not least <= number <= LARGEST:
        raise UsageError(f"{what} must be a whole number of at least {least}, got {value!r}")
    return number


def _label(label: object) -> int:
    return whole("a label", label, least=0)


def _blobs(what: str, label: int, given: Sequence[bytes]) -> list[bytes]:
    kinds = {type(blob) for blob in given if not isinstance(blob, bytes)}
    if kinds:
        raise UsageError(f"{what} of class {label} must be bytes, got {', '.join(kind.__name__ for kind in kinds)}")
    return list(given)


def _name(label: int, name: object) -> str:
    try:
        if isinstance(name, str):
            name.encode()
            return name
    except UnicodeEncodeError:
        pass
    raise UsageError(f"the name of class {label} must be Unicode text, got {name!r}")
