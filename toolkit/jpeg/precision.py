"""What the layer computes in: float32, or float64 where it is given that, whatever its images and its tables are in.

bfloat16 has 8 bits for coefficients of 11 bits, and float16 rounds a coefficient of 1000 to a half.
"""

from __future__ import annotations

from contextlib import AbstractContextManager, nullcontext

import torch


def computing_type(*tensors: torch.Tensor) -> torch.dtype:
    """float64 if any of the tensors is, else float32."""
    return torch.float64 if any(one.dtype == torch.float64 for one in tensors) else torch.float32


def without_autocast(device: torch.device) -> AbstractContextManager[object]:
    """A block that autocast leaves alone; there is none on the meta device."""
    available = torch.amp.is_autocast_available(device.type)
    return torch.autocast(device.type, enabled=False) if available else nullcontext()
