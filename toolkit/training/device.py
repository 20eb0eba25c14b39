"""Devices, precision and device memory."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext

import psutil
import torch

from toolkit.foundation import threads
from toolkit.foundation.errors import UsageError
from toolkit.runs import usage

DEVICES = ("auto", "cpu", "cuda")


def resolve_device(name: str) -> torch.device:
    """The device named ``auto`` (CUDA if available), ``cpu`` or ``cuda``; also sets torch's CPU threads.

    Raises:
        UsageError: unknown name, or CUDA is not available.
    """
    if name not in DEVICES:
        raise UsageError(f"device must be one of {', '.join(DEVICES)}, got {name!r}")
    if name == "cuda" and not torch.cuda.is_available():
        raise UsageError("device cuda was requested, but torch finds no CUDA device; use cpu or auto")
    torch.set_num_threads(threads.thread_count())
    return torch.device("cuda" if name != "cpu" and torch.cuda.is_available() else "cpu")


def runs_bfloat16(device: torch.device) -> bool:
    """Whether the hardware multiplies bfloat16 matrices natively (AMX or AVX-512 BF16 on a CPU)."""
    if device.type == "cuda":
        return torch.cuda.is_bf16_supported(including_emulation=False)
    capabilities = torch.backends.cpu.get_cpu_capability()
    return capabilities.startswith("AVX512") and bool(torch.ops.mkldnn._is_mkldnn_bf16_supported())


def autocast(device: torch.device, enabled: bool = True) -> AbstractContextManager[object]:
    """bfloat16 autocast if the hardware supports it, else a null context."""
    if enabled and runs_bfloat16(device):
        return torch.autocast(device.type, torch.bfloat16)
    return nullcontext()


def random_state(device: torch.device) -> list[torch.Tensor]:
    """The states of the CPU's random generator and, for a GPU, of its generator."""
    return [torch.get_rng_state()] + ([torch.cuda.get_rng_state(device)] if device.type == "cuda" else [])


def set_random_state(states: list[torch.Tensor]) -> None:
    """Restore the states from :func:`random_state`."""
    torch.set_rng_state(states[0].cpu())
    for state in states[1:]:
        torch.cuda.set_rng_state(state.cpu())


def free_memory(device: torch.device) -> int:
    """Available bytes on a device: of the GPU, or of the machine."""
    if device.type == "cuda":
        cached = torch.cuda.memory_reserved(device) - torch.cuda.memory_allocated(device)  # by torch, for new tensors
        return int(torch.cuda.mem_get_info(device)[0]) + cached
    return int(psutil.virtual_memory().available)


def peak_device_memory_bytes(device: torch.device) -> int | None:
    """Peak memory use: of torch on a GPU, otherwise of this process, including libraries.

    None if the platform does not report it.
    """
    return int(torch.cuda.max_memory_allocated(device)) if device.type == "cuda" else usage.peak_memory_bytes()


def beside_workers() -> AbstractContextManager[None]:
    """Use half of the CPU threads for torch while worker threads use the cores as well.

    If both used all threads, they would be several times slower: OpenMP threads wait for each other by spinning.
    """
    return torch_threads(max(1, torch.get_num_threads() // 2))


@contextmanager
def torch_threads(count: int) -> Iterator[None]:
    """Use ``count`` CPU threads for torch, and as many as before afterwards."""
    before = torch.get_num_threads()
    torch.set_num_threads(count)
    try:
        yield
    finally:
        torch.set_num_threads(before)
