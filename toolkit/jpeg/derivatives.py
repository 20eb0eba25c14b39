"""Functions with custom derivatives, for autograd, forward-mode AD, ``torch.func`` and compilers."""

from __future__ import annotations

import functools
from typing import Any

import torch
from torch.autograd import forward_ad


class Derived(torch.autograd.Function):
    """A function for :func:`apply`, with ``forward``, ``setup_context``, ``backward`` and ``tangent``.

    ``vmap`` runs through all of them: they only write into tensors computed from their inputs.
    """

    generate_vmap_rule = True

    @staticmethod
    def tangent(ctx: Any, *tangents: Any) -> torch.Tensor:
        """torch's ``jvp``; the tangent of an input without one is None."""
        raise NotImplementedError


def apply(function: type[Derived], *inputs: Any) -> torch.Tensor:
    """``function.apply``, without ``jvp`` under a compiler, which refuses functions that have one."""
    return (function if torch.compiler.is_compiling() else _both_ways(function)).apply(*inputs)


@functools.cache
def _both_ways(function: type[Derived]) -> type[Derived]:
    return type(function.__name__, (function,), {"jvp": staticmethod(function.tangent)})


def is_transformed(*tensors: torch.Tensor | None) -> bool:
    """Whether ``torch.func`` is active, under which values cannot be read, or a tensor carries a tangent."""
    if torch._C._are_functorch_transforms_active():  # the check of torch.autograd.Function itself
        return True
    return any(one is not None and forward_ad.unpack_dual(one).tangent is not None for one in tensors)
