"""Experience replay: cross entropy on new images and exemplars (Ratcliff, 1990)."""

from __future__ import annotations

from toolkit.learning.methods.base import Method


class Replay(Method):
    """No distillation, no bias correction: the effect of the memory alone."""
