"""The bounds that every method lies between: no memory at all, and no forgetting to prevent.

``finetune`` trains on the new classes' images only. ``joint`` trains, for as many steps a stage as any other method,
on all training images of all classes so far; like them it goes on from the last stage's network. Both differ from
replay in what they are given, which :mod:`toolkit.learning.catalog` says, and in nothing else.
"""

from __future__ import annotations

from toolkit.learning.methods.base import Method


class Finetune(Method):
    """The lower bound."""


class Joint(Method):
    """The upper bound."""
