"""Experience replay: cross entropy on new images and exemplars alike (Ratcliff, 1990)."""

from __future__ import annotations

from toolkit.learning.methods.base import Method


class Replay(Method):
    """No distillation, no bias correction: what the memory alone achieves."""
