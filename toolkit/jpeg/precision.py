"""The layer's computing type: float32, or float64 for float64 inputs, whatever the types of images and tables.

bfloat16 has 8 bits for 11-bit coefficients, and float16 rounds a coefficient of 1000 to multiples of a half.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def computing_type(*tensors: torch.Tensor) -> torch.dtype:
    """float64 if any of the tensors is, else float32."""
    return torch.float64 if any(one.dtype == torch.float64 for one in tensors) else torch.float32


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A context without autocast; a null context on the meta device, which has none."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()
