"""The bounds of all methods: no memory, and all training data.

``finetune`` trains only on the new classes' images. ``joint`` trains on all training images of all classes so far, with
as many steps per stage as the other methods; like them, it continues from the last stage's network. Both differ from
replay only in their training data, which :mod:`toolkit.learning.catalog` defines.
"""

from __future__ import annotations

from toolkit.learning.methods.base import Method


class Finetune(Method):
    """The lower bound."""


class Joint(Method):
    """The upper bound."""
