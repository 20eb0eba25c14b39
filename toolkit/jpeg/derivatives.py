"""Functions with derivatives of their own, for autograd, forward-mode AD, ``torch.func`` and compilers alike."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.autograd import forward_ad


class Derived(torch.autograd.Function):
    """A function for :func:`apply`: has ``forward``, ``setup_context``, ``backward`` and ``tangent``.

    ``vmap`` runs through all of them: they write into no tensor that was not computed from their inputs.
    """

    generate_vmap_rule = True

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> torch.Tensor:
        """What torch calls ``jvp``; a tangent is None where an input has none."""
        raise NotImplementedError


def apply(function: type[Derived], *inputs: Any) -> torch.Tensor:
    """``function.apply``. A compiler gets it without ``jvp``: it refuses functions that have one."""
    return (function if torch.compiler.is_compiling() else _both_ways(function)).apply(*inputs)


@functools.cache
def _both_ways(function: type[Derived]) -> type[Derived]:
    return type(function.__name__, (function,), {"jvp": staticmethod(function.tangent)})


def is_transformed(*tensors: torch.Tensor | None) -> bool:
    """Whether ``torch.func`` is at work, under which values cannot be looked at, or a tensor carries a tangent."""
    if torch._C._are_functorch_transforms_active():  # what torch.autograd.Function itself asks
        return True
    return any(one is not None and forward_ad.unpack_dual(one).tangent is not None for one in tensors)
