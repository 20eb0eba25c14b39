"""GPUs as reported by the driver's own library, without torch or extra processes."""

from __future__ import annotations

import ctypes
import os
from functools import lru_cache


@lru_cache(maxsize=1)
def _library() -> ctypes.CDLL | None:
    """NVIDIA's management library (NVML), initialised; None if it is not installed."""
    try:
        library = ctypes.CDLL("libnvidia-ml.so.1")
        return library if library.nvmlInit_v2() == 0 else None
    except (OSError, AttributeError):
        return None


def _devices() -> list[tuple[ctypes.CDLL, ctypes.c_void_p]]:
    library = _library()
    if library is None:
        return []
    count = ctypes.c_uint()
    if library.nvmlDeviceGetCount_v2(ctypes.byref(count)) != 0:
        return []
    devices = []
    for index in range(count.value):
        handle = ctypes.c_void_p()
        if library.nvmlDeviceGetHandleByIndex_v2(index, ctypes.byref(handle)) == 0:
            devices.append((library, handle))
    return devices


def gpu_names() -> list[str]:
    """Names of all GPUs of the machine."""
    names = []
    for library, handle in _devices():
        name = ctypes.create_string_buffer(96)
        if library.nvmlDeviceGetName(handle, name, 96) == 0:
            names.append(name.value.decode(errors="replace"))
    return names


def gpu_joules() -> float | None:
    """Energy all GPUs have used since their driver was loaded, in joules; None if it cannot be read."""
    total = 0.0
    devices = _devices()
    for library, handle in devices:
        millijoules = ctypes.c_ulonglong()
        if library.nvmlDeviceGetTotalEnergyConsumption(handle, ctypes.byref(millijoules)) != 0:
            return None
        total += millijoules.value / 1000
    return total if devices else None


def visible_gpus() -> list[str]:
    """Values for ``CUDA_VISIBLE_DEVICES``, one per GPU that this process may use."""
    chosen = os.environ.get("CUDA_VISIBLE_DEVICES")
    if chosen is None:
        return [str(index) for index in range(len(_devices()))]
    return [name.strip() for name in chosen.split(",") if name.strip() and name.strip() != "-1"]
