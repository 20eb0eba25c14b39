"""Methods: what changes in the loss, the classifier and after a stage. One file a method."""

from __future__ import annotations

from collections.abc import Callable
from typing import Protocol

from torch import nn

from toolkit.foundation.errors import UsageError
from toolkit.learning.methods.replay import Replay
from toolkit.training.loop import Loss


class Method(Protocol):
    """One class-incremental method; it never trains by itself."""

    def loss_for(self, network: nn.Module, stage: int) -> Loss:
        """The loss of ``stage``, asked for once before its training; ``network`` is as the last stage left it."""


METHODS: dict[str, Callable[..., Method]] = {"replay": Replay}


def build_method(name: str, *, label_smoothing: float = 0.0) -> Method:
    """The method called ``name``.

    Raises:
        UsageError: unknown name.
    """
    if name not in METHODS:
        raise UsageError(f"unknown method {name!r}: choose one of {', '.join(METHODS)}")
    return METHODS[name](label_smoothing=label_smoothing)
