"""Methods: changes to the loss, to the classifier and after a stage. One file per method or family."""

from __future__ import annotations

from typing import cast

from toolkit.foundation.lazy import load_object
from toolkit.learning.catalog import parse_method
from toolkit.learning.methods.base import Method


def build_method(spec: str, *, label_smoothing: float = 0.0) -> Method:
    """The method of a spec.

    Raises:
        UsageError: unknown method or parameter.
    """
    kind, values = parse_method(spec)
    return cast(Method, load_object(kind.implementation)(**values, label_smoothing=label_smoothing))
